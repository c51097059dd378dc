# SPDX-License-Identifier: Apache-2.0
"""Networks that are no chain, and fine-tuning: a language model whose embedding gives the scores too has the same ledger on
1, 2 and 3 ranks, on the debug device and after a stop; a run that begins with another run's weights keeps what is frozen to
the bit, has the same ledger everywhere, and names all tensors that do not fit; check tells what would be placed."""
import json
import struct

import numpy

from common import make_deck, make_digits, metrics, run, same_run, train, write

TEXT = """
[data]
file = "text.h5"
train = { inputs = "train/tokens" }
validation = { inputs = "validation/tokens" }
sequence = 16
"""
TIED = """
[model]
layers = [
  { type = "embedding", rows = 256, width = 16 },
  { type = "positional_embedding" },
  { type = "attention", heads = 2, causal = true, name = "look" },
  { type = "attention", heads = 2, causal = true, weights_of = "look", from = "positional_embedding_1", name = "again" },
  { type = "add", from = ["look", "again", "positional_embedding_1"] },
  { type = "layer_norm" },
  { type = "dense", units = 256, weights_of = "embedding_1" },
]
[optimizer]
type = "adamw"
learning_rate = 1e-2
weight_decay = 0.1
"""
TEXT_TRAIN = """
[train]
max_steps = 20
batch_size = 21
unit_size = 4
threads = 1
[evaluation]
every = "10 steps"
[checkpoint]
every = "6 steps"
"""
BASE = """
[model]
layers = [
  { type = "conv2d", filters = 8, kernel = 3, padding = "same", bias = false },
  { type = "batch_norm" },
  { type = "relu" },
  { type = "max_pool2d" },
  { type = "flatten" },
  { type = "dense", units = 40, activation = "relu" },
  { type = "dense", units = 10, name = "head" },
]
[optimizer]
type = "adamw"
learning_rate = 3e-3
weight_decay = 0.01
"""
WEIGHTS = 'weights = "base/model.safetensors"\nweights_rename = ["head -> old"]\n' \
          'weights_missing = "initialise"\nweights_unexpected = "ignore"\n'


def freeze(network):
    for layer in ('"conv2d"', '"batch_norm"', '"dense", units = 40'):
        network = network.replace(f"type = {layer}", f"type = {layer}, frozen = true")
    return network


def tensors(path):
    with open(path, "rb") as file:
        content = file.read()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:8 + size])
    header.pop("__metadata__", None)
    return {name: numpy.frombuffer(content[8 + size:][slice(*entry["data_offsets"])], "<f4").reshape(entry["shape"])
            for name, entry in header.items()}


def shared_weights():
    words = " ".join(f"{a} and {b} are {a + b}." for a in range(30) for b in range(30))
    run("prepare", "text.h5", "--text", write("text.txt", words), "--tokens", "bytes", "--validation", "0.1")
    make_deck("tied.toml", network=TIED, data=TEXT, train=TEXT_TRAIN)
    train("tied", deck="tied.toml")
    for ranks, sets in ((2, {}), (3, {"train.threads": 2}), (2, {"train.device": "debug", "train.share_devices": "true"})):
        name = f"tied-{ranks}-{len(sets)}"
        train(name, deck="tied.toml", ranks=ranks, sets=sets, per_node=1 if ranks == 2 else None)
        same_run(name, "tied", f"on {ranks} ranks {sets}")
    train("tied-stopped", "--max-steps", "9", deck="tied.toml", ranks=2)
    train("tied-stopped", deck="tied.toml", ranks=3)
    same_run("tied-stopped", "tied", "stopped and gone on with")
    found = tensors("tied/model.safetensors")
    assert found["embedding_1.weight"].shape == (256, 16) and "dense_1.weight" not in found, found.keys()
    assert found["dense_1.bias"].shape == (256,) and not [name for name in found if name.startswith("again")], found.keys()
    losses = [line["loss"] for line in metrics("tied", "validation")]
    assert losses[-1] < 0.9 * losses[0] < 5, f"it learns nothing: {losses}"  # log 256 is 5.5


def fine_tuning():
    make_deck("base.toml", network=BASE)
    train("base", deck="base.toml")
    tuned = make_deck("tuned.toml", network=freeze(BASE).replace("[model]\n", "[model]\n" + WEIGHTS))
    told = json.loads(run("check", tuned, "--json").out)["weights"]
    assert "7 tensors" in told and "head.weight, head.bias" in told, told
    train("tuned", deck=tuned)
    for ranks, sets in ((2, {}), (3, {}), (1, {"train.device": "debug"})):
        name = f"tuned-{ranks}-{len(sets)}"
        train(name, deck=tuned, ranks=ranks, sets=sets, per_node=1)
        same_run(name, "tuned", f"on {ranks} ranks {sets}")
    base, after = tensors("base/model.safetensors"), tensors("tuned/model.safetensors")
    assert base.keys() == after.keys(), after.keys()
    for name, values in base.items():
        same = values.tobytes() == after[name].tobytes()
        assert same == (not name.startswith("head")), f"{name} {'stayed' if same else 'changed'}"
    refused = train("refused", deck=tuned, sets={"model.weights_missing": "error", "model.weights_unexpected": "error"},
                    ranks=2, code=65).errors()
    assert len(refused) == 1 and "head.weight, head.bias" in refused[0] and "old.bias, old.weight" in refused[0], refused


def main():
    make_digits()
    shared_weights()
    fine_tuning()


main()
