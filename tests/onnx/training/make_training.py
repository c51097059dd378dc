#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes what tests/e2e/onnx_training_test.py compares with: small networks as PyTorch exports them for training, and the
losses of 50 steps in PyTorch from the same weights. Needs torch and onnx; the files beside this script are committed.

Usage: tests/onnx/training/make_training.py
"""
import json
import pathlib
import sys

import onnx
import torch
from torch import nn

import numbers_of_test as numbers

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent.parent / "tools"))
from onnx_networks import Encoder, ResNet  # noqa: E402

NETWORKS = {
    "resnet": (lambda: ResNet(blocks=(1, 1), width=8, large=False), (3, 8, 8), 0),
    "encoder": (lambda: Encoder(vocabulary=12, length=9, width=16, heads=2, layers=1, class_token=True), (9,), 12),
}


def make(name):
    build, shape, vocabulary = NETWORKS[name]
    torch.manual_seed(3)
    model = build().train()
    x, y = map(torch.from_numpy, numbers.data(shape, vocabulary))
    state = {key: value.clone() for key, value in model.state_dict().items()}
    torch.onnx.export(model, (x[:numbers.BATCH],), str(HERE / f"{name}.onnx"), dynamo=False, opset_version=17,
                      training=torch.onnx.TrainingMode.TRAINING, do_constant_folding=False, input_names=["x"],
                      output_names=["scores"], dynamic_axes={"x": {0: "N"}, "scores": {0: "N"}})
    for tensor in onnx.load(HERE / f"{name}.onnx").graph.initializer:  # the tracer moved them
        if ".running_" in tensor.name:
            state[tensor.name] = torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
    model.load_state_dict(state)
    optimizer = torch.optim.SGD(model.parameters(), lr=numbers.RATE, momentum=numbers.MOMENTUM)
    losses, per_epoch = [], -(-len(x) // numbers.BATCH)
    for step in range(numbers.STEPS):
        rows = slice(step % per_epoch * numbers.BATCH, step % per_epoch * numbers.BATCH + numbers.BATCH)
        optimizer.zero_grad()
        loss = nn.CrossEntropyLoss()(model(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        scores = model(x[:5]).numpy().astype(float).round(7).tolist()
    told = {"torch": torch.__version__, "shape": shape, "vocabulary": vocabulary, "losses": losses, "scores": scores}
    (HERE / f"{name}.json").write_text(json.dumps(told) + "\n")


if __name__ == "__main__":
    for network in NETWORKS:
        make(network)
