# SPDX-License-Identifier: Apache-2.0
"""A residual network with batch norm and a transformer encoder with a class token, exported from PyTorch: 50 steps of SGD
give PyTorch's losses (tests/onnx/training, made once) to 1e-4, the trained networks its scores, and any number of ranks the
same ledger; frozen tensors stay."""
import json
import os
import shutil
import struct
import sys

import h5py
import numpy

from common import SOURCE_DIR, in_parallel, run, same_run, write

TRAINING = os.path.join(SOURCE_DIR, "tests", "onnx", "training")
sys.path.insert(0, TRAINING)
import numbers_of_test as numbers  # noqa: E402

DECK = """
[run]
dir = "{name}"
seed = 1
[data]
file = "{name}.h5"
train = {{ inputs = "x", targets = "y" }}
shuffle = "none"
[model]
onnx = "{name}.onnx"
[optimizer]
type = "sgd"
learning_rate = {rate}
momentum = {momentum}
[train]
epochs = 1000
max_steps = {steps}
batch_size = {batch}
unit_size = {unit}
threads = 1
"""


def make(name, unit):
    with open(os.path.join(TRAINING, f"{name}.json"), encoding="ascii") as file:
        told = json.load(file)
    shutil.copy(os.path.join(TRAINING, f"{name}.onnx"), f"{name}.onnx")
    with h5py.File(f"{name}.h5", "w") as file:
        file["x"], file["y"] = numbers.data(told["shape"], told["vocabulary"])
    write(f"{name}.toml", DECK.format(name=name, rate=numbers.RATE, momentum=numbers.MOMENTUM, steps=numbers.STEPS,
                                      batch=numbers.BATCH, unit=unit))
    return told


def losses(name):
    with open(f"{name}/ledger.txt", encoding="ascii") as file:
        return [float(word[5:]) for line in file for word in line.split() if word.startswith("loss=")]


def as_pytorch(name, unit):
    """Batch norm's statistics are those of a unit here and of the batch in PyTorch: a unit is a batch then."""
    told = make(name, unit)
    run("train", f"{name}.toml")
    found = losses(name)
    assert len(found) == numbers.STEPS, found
    for step, (ours, theirs) in enumerate(zip(found, told["losses"])):
        assert abs(ours - theirs) <= 1e-4 * theirs, f"{name}, step {step}: {ours}, in PyTorch {theirs}"
    assert sum(found[-6:]) < 0.97 * sum(found[:6]), f"{name} learned nothing: {found}"
    run("predict", f"{name}.toml", "--inputs", f"{name}.h5:x", "--output", f"{name}.scores.h5")
    with h5py.File(f"{name}.scores.h5") as file:
        scores = file["scores"][:5]
    error = abs(scores - numpy.array(told["scores"])).max() / abs(scores).max()
    assert error < 1e-3, f"{name}: the trained network's scores differ from PyTorch's by {error}"


def on_ranks(name):
    def trained(ranks):
        directory = f"{name}-{ranks}"
        sets = {"run.dir": directory, "train.unit_size": 3, "train.max_steps": 7}
        return run("train", f"{name}.toml", ranks=ranks, sets=sets).hash()
    hashes = in_parallel(trained, [(1,), (2,), (3,), (7,)])
    assert len(set(hashes)) == 1, hashes
    for ranks in (2, 3, 7):
        same_run(f"{name}-{ranks}", f"{name}-1", f"on {ranks} ranks")


def tensors(path):
    with open(path, "rb") as file:
        content = file.read()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:8 + size])
    header.pop("__metadata__", None)
    return {name: content[8 + size:][slice(*entry["data_offsets"])] for name, entry in header.items()}


def frozen():
    """Convolutions and batch norm as they were; the head learns."""
    frozen_names = '["stem.", "layers."]'
    for name, steps in (("before", 1), ("after", 9)):
        sets = {"run.dir": name, "train.max_steps": steps, "model.onnx_frozen": frozen_names}
        run("train", "resnet.toml", sets=sets)
    before, after = tensors("before/model.safetensors"), tensors("after/model.safetensors")
    assert before.keys() == after.keys()
    for name, content in before.items():
        assert (content == after[name]) == name.startswith(("stem.", "layers.")), name
    sets = {"run.dir": "refused", "model.onnx_frozen": '["head."]'}
    assert '"head."' in run("train", "resnet.toml", sets=sets, code=78).err


def main():
    in_parallel(as_pytorch, [("resnet", numbers.BATCH), ("encoder", 5)])
    on_ranks("resnet")
    on_ranks("encoder")
    frozen()


main()
