#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trained networks go to ONNX and come back: same graph, same scores, and onnxruntime gives them too.

onnxruntime is no Debian package: where Python does not have it (LEPTON_ONNX_PYTHON names another one that does),
what it computes is not compared, and the test says so.
"""
import os
import subprocess
import sys

import h5py
import numpy as np

from common import run

NETWORKS = {
    "mlp": (["{ type = 'dense', units = 24, activation = 'gelu' }", "{ type = 'rms_norm' }",
             "{ type = 'dense', units = 8, activation = 'swish' }", "{ type = 'layer_norm' }"], (64,), 10),
    "cnn": (["{ type = 'conv2d', filters = 6, kernel = 3, padding = 'same', bias = false }", "{ type = 'batch_norm' }",
             "{ type = 'relu' }", "{ type = 'max_pool2d' }",
             "{ type = 'residual', layers = [{ type = 'conv2d', filters = 6, kernel = 3, padding = 1 },"
             " { type = 'mish' }] }", "{ type = 'avg_pool2d' }", "{ type = 'flatten' }",
             "{ type = 'dropout', rate = 0.2 }"], (3, 8, 8), 10),
    "gpt": (["{ type = 'embedding', rows = 12, width = 16 }", "{ type = 'positional_embedding' }",
             "{ type = 'transformer_block', heads = 4, key_heads = 2, causal = true }",
             "{ type = 'transformer_block', heads = 2, norm = 'rms_norm', causal = true }", "{ type = 'layer_norm' }"],
            (9,), 12),
    "lstm": (["{ type = 'embedding', rows = 12, width = 6 }",
              "{ type = 'lstm', units = 5, bidirectional = true, layers = 2, output = 'sequence', name = 'both',"
              " from = ['embedding_1', 'input.length'] }",
              "{ type = 'gru', units = 7, from = ['both', 'input.length'] }"], (9,), 3),
    "bert": (["{ type = 'embedding', rows = 12, width = 8 }",
              "{ type = 'transformer_block', heads = 2, from = ['embedding_1', 'mask'] }",
              "{ type = 'attention', heads = 4, key_heads = 2, causal = true, from = ['transformer_block_1', 'mask'] }",
              "{ type = 'global_max_pool1d' }"], (9,), 3),
    "unet": (["{ type = 'conv2d', filters = 4, kernel = 3, padding = 'same', name = 'fine' }", "{ type = 'max_pool2d' }",
              "{ type = 'group_norm', groups = 2 }", "{ type = 'upsample2d', scale = 2, mode = 'linear' }",
              "{ type = 'max_pool2d' }", "{ type = 'upsample2d', scale = 2, name = 'up' }",
              "{ type = 'concat', from = ['up', 'fine'] }", "{ type = 'flatten' }"], (2, 6, 8), 4),
}
FUNCTIONS = ("relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "selu", "silu", "swish", "mish", "softplus", "sigmoid",
             "hard_sigmoid", "tanh", "softmax", "log_softmax")
NETWORKS["functions"] = ([line for name in FUNCTIONS for line in ("{ type = 'dense', units = 12 }", f"{{ type = '{name}' }}")],
                         (12,), 4)
# Every other layer that has more than one dimension: which are sequences, images and volumes.
NETWORKS["lines"] = (
    ["{ type = 'reshape', shape = [12, 4] }", "{ type = 'conv1d', filters = 6, kernel = 3, dilation = 2 }", "{ type = 'prelu' }", "{ type = 'zero_pad1d', padding = 2 }",
     "{ type = 'max_pool1d', size = 3, stride = 2 }", "{ type = 'conv1d_transpose', filters = 5, kernel = 3, stride = 2 }",
     "{ type = 'upsample1d', scale = 2, mode = 'linear' }", "{ type = 'avg_pool1d', size = 2 }", "{ type = 'layer_norm' }",
     "{ type = 'permute', order = [2, 1], name = 'turned' }", "{ type = 'permute', order = [2, 1] }",
     "{ type = 'rnn', units = 6, output = 'sequence', name = 'steps' }", "{ type = 'dense', units = 6, name = 'rows' }",
     "{ type = 'multiply', from = ['steps', 'rows'] }", "{ type = 'add', from = ['multiply_1', 'rows'], name = 'sum' }",
     "{ type = 'global_avg_pool1d', name = 'mean' }", "{ type = 'global_max_pool1d', from = 'sum', name = 'most' }",
     "{ type = 'concat', from = ['mean', 'most'] }"], (48,), 3)
NETWORKS["volumes"] = (
    ["{ type = 'reshape', shape = [1, 4, 6, 5] }", "{ type = 'conv3d', filters = 4, kernel = 2, padding = 'same' }",
     "{ type = 'instance_norm' }", "{ type = 'prelu' }",
     "{ type = 'zero_pad3d', padding = [1, 0, 2] }", "{ type = 'max_pool3d', size = 2 }", "{ type = 'batch_norm' }",
     "{ type = 'conv3d_transpose', filters = 3, kernel = 2, stride = 2, groups = 1 }", "{ type = 'avg_pool3d', size = 2 }",
     "{ type = 'upsample3d', scale = [2, 1, 2] }", "{ type = 'group_norm', groups = 3, name = 'end' }",
     "{ type = 'global_avg_pool3d', name = 'mean' }", "{ type = 'global_max_pool3d', from = 'end', name = 'most' }",
     "{ type = 'concat', from = ['mean', 'most'] }"], (120,), 3)
NETWORKS["images"] = (
    ["{ type = 'zero_pad2d', padding = [1, 2] }", "{ type = 'conv2d', filters = 4, kernel = 3, stride = 2, padding = 'same' }",
     "{ type = 'instance_norm' }", "{ type = 'conv2d_transpose', filters = 4, kernel = 3, stride = 2, output_padding = 1 }",
     "{ type = 'layer_norm' }", "{ type = 'rms_norm' }", "{ type = 'reshape', shape = [2, 10, 14, 2] }",
     "{ type = 'reshape', shape = [4, 10, 14] }", "{ type = 'avg_pool2d', size = 3, stride = 2, padding = 1, name = 'end' }",
     "{ type = 'global_avg_pool2d', name = 'mean' }", "{ type = 'global_max_pool2d', from = 'end', name = 'most' }",
     "{ type = 'concat', from = ['mean', 'most'] }"], (3, 6, 8), 3)
EXPORTED = ("unet", "functions", "lines", "volumes", "images")  # and no more
PLAIN = ('inputs = "x"', "x")
SOURCES = {  # of networks with more than one input, or with lengths: in decks, and for predict
    "lstm": ('inputs = "x", lengths = "lengths"', "x,input.lengths=lengths"),
    "bert": ('inputs = { input = "x", mask = "mask" }', "input=x,mask=mask"),
}
COMPARE = """
import sys, h5py, numpy as np, onnxruntime
file = h5py.File(sys.argv[1])
scores = h5py.File(sys.argv[2])["scores"][:]
for model in sys.argv[3:]:
    session = onnxruntime.InferenceSession(model)
    names = {"input": "x", "input.length": "lengths", "mask": "mask"}
    inputs = {i.name: file[names[i.name]][:].astype("i8" if "int64" in i.type else "f4") for i in session.get_inputs()}
    given = session.run(None, inputs)[0]
    error = abs(given - scores).max() / (1 + abs(scores).max())
    print(model, error)
    assert given.shape == scores.shape and error < 1e-5, (model, error)
"""


def write_data(name, shape, classes):
    random = np.random.default_rng(3)
    with h5py.File(f"{name}.h5", "w") as file:
        if name == "gpt":
            tokens = random.integers(0, classes, (96, shape[0] + 1)).astype(np.uint8)
            file["x"], file["y"] = tokens[:, :-1], tokens[:, 1:].astype(np.int32)
        elif name in SOURCES:
            file["x"] = random.integers(0, 12, (96, *shape)).astype(np.uint8)
            file["lengths"] = random.integers(1, shape[0] + 1, 96).astype(np.int32)
            file["lengths"][0] = shape[0]
            file["mask"] = random.integers(0, 3, (96, *shape)) > 0
            file["mask"][5] = False
            file["y"] = random.integers(0, classes, 96).astype(np.int32)
        else:
            file["x"] = (4 * random.standard_normal((96, *shape)) + 2).astype(np.float32)
            file["y"] = random.integers(0, classes, 96).astype(np.int32)


def write_deck(name, network, directory):
    path = f"{directory}.toml"
    data = "" if name in SOURCES else 'target_kind = "classes"' if name == "gpt" else 'normalize = "standardize"'
    source = SOURCES.get(name, PLAIN)[0]
    with open(path, "w") as deck:
        deck.write(f"""[run]
dir = "{directory}"
seed = 5
[data]
file = "{name}.h5"
train = {{ {source}, targets = "y" }}
{data}
[model]
{network}
[optimizer]
type = "sgd"
learning_rate = 0.05
[train]
epochs = 2
batch_size = 32
unit_size = 8
""")
    return path


def scores_of(deck, name, directory, *checkpoint):
    place = SOURCES.get(name, PLAIN)[1]
    run("predict", deck, "--inputs", f"{name}.h5:{place}", "--output", f"{directory}.scores.h5", *checkpoint,
        sets={"run.dir": directory})
    with h5py.File(f"{directory}.scores.h5") as file:
        return file["scores"][:]


def python_with_onnxruntime():
    for program in (os.environ.get("LEPTON_ONNX_PYTHON"), sys.executable):
        if program and subprocess.run([program, "-c", "import onnxruntime, h5py"], capture_output=True).returncode == 0:
            return program
    return None


def check(name, python):
    layers, shape, classes = NETWORKS[name]
    write_data(name, shape, classes)
    layers = ",\n".join(layers + [f"{{ type = 'dense', units = {classes} }}"])
    deck = write_deck(name, f"layers = [{layers}]", f"{name}_layers")
    run("train", deck)
    scores = scores_of(deck, name, f"{name}_layers")
    inside = [] if name == "gpt" or name in SOURCES else ["--normalize"]
    models = []
    for opset in ("13", "17", "21"):
        models.append(f"{name}_{opset}.onnx")
        run("export", deck, models[-1], "--opset", opset, *inside)
    if python:
        subprocess.run([python, "-c", COMPARE, f"{name}.h5", f"{name}_layers.scores.h5", *models], check=True)
    if name in EXPORTED:
        return
    run("export", deck, f"{name}.onnx")
    assert "opset: 17" in run("inspect", f"{name}.onnx").out
    # Its tensors are those of a network of the same layers, by name.
    tuned = write_deck(name, f'layers = [{layers}]\nweights = "{name}.onnx"', f"{name}_tuned")
    assert f"{name}.onnx: " in run("check", tuned).out
    # Back again: the same network, and a run that begins with the file has its parameters (statistics go on).
    back = write_deck(name, f'onnx = "{name}.onnx"', f"{name}_file")
    assert "valid" in run("check", back).out
    hashes = set()
    for ranks in (1, 3):
        sets = {"optimizer.learning_rate": "1e-30", "run.dir": f"{name}_file_{ranks}"}
        hashes.add(run("train", back, ranks=ranks, sets=sets).hash())
    assert len(hashes) == 1, hashes
    trained = ["--checkpoint", f"{name}_layers/model.safetensors"]
    assert np.array_equal(scores_of(back, name, f"{name}_file", *trained), scores), name
    if name != "cnn":
        assert np.array_equal(scores_of(back, name, f"{name}_file_3"), scores), name


def check_changed_file():
    """A run goes on with the network that it began with alone."""
    with open("mlp_file.toml") as deck:
        text = deck.read()
    with open("changed.toml", "w") as deck:
        deck.write(text.replace("mlp.onnx", "other.onnx"))
    run("export", "mlp_layers.toml", "other.onnx", "--opset", "13")
    sets = {"optimizer.learning_rate": "1e-30", "train.epochs": "3", "run.dir": "mlp_file_1"}
    assert "model.onnx_content" in run("train", "changed.toml", sets=sets, code=78).err
    with open("broken.onnx", "wb") as broken, open("mlp.onnx", "rb") as whole:
        broken.write(whole.read()[:200])
    with open("broken.toml", "w") as deck:
        deck.write(text.replace("mlp.onnx", "broken.onnx"))
    assert "broken.onnx" in run("check", "broken.toml", code=65).err


def main():
    python = python_with_onnxruntime()
    for name in NETWORKS:
        check(name, python)
    check_changed_file()
    if not python:
        print("onnxruntime is missing: its scores were NOT compared (pip install onnxruntime, LEPTON_ONNX_PYTHON=...)")


if __name__ == "__main__":
    main()
