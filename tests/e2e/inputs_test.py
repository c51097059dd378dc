# SPDX-License-Identifier: Apache-2.0
"""Several named inputs with transforms, rows with lengths of their own (padded or flat, the same rows), and volumes: the
same ledger on 1, 2, 3 and 7 ranks, on the debug device, after a kill, and from flat as from padded rows; check names the
inputs; evaluate and predict agree with training; what is impossible is refused by name."""
import json
import os

import h5py
import numpy

from common import checkpoints, in_parallel, make_deck, metrics, run, same_run, train

ROWS, TESTED, LONGEST = 403, 101, 11
DATA = """
[data]
file = "inputs.h5"
train = { inputs = { image = "train/images", table = "train/table", text = "train/padded" }, lengths = { text = "train/lengths" }, targets = "train/labels" }
test = { inputs = { text = "test/padded", table = "test/table", image = "test/images" }, lengths = { text = "test/lengths" }, targets = "test/labels" }
[data.inputs.image]
normalize = "standardize"
transforms = [{ type = "clip", low = 0, high = 900 }, { type = "log1p" }, { type = "random_crop", padding = 1, size = [5, 6] }, { type = "random_flip" }]
[data.inputs.table]
normalize = "unit"
[data.inputs.text]
length = 8
"""
VOLUMES = """
[data]
file = "inputs.h5"
train = { inputs = "volumes/x", targets = "volumes/y", fraction = 0.8 }
test = { fraction = 0.2 }
layout = "cdhw"
normalize = "standardize"
transforms = [{ type = "scale", factor = 0.5, offset = 1 }, { type = "random_flip", axis = "depth" }]
"""
NETWORK = """
[model]
layers = [
  { type = "flatten" },
  { type = "dense", units = 24, activation = "relu" },
  { type = "dense", units = 3 },
]
[optimizer]
type = "adam"
learning_rate = 1e-2
"""
TRAIN = """
[train]
epochs = 4
batch_size = 45
unit_size = 8
threads = 1
[checkpoint]
every = "5 steps"
keep = 100
"""


def make_split(file, name, rows, random):
    """A bright row, column or nothing tells the class; some images hold outliers that clip takes away."""
    labels = random.integers(0, 3, rows)
    images = random.integers(0, 200, (rows, 6, 6))
    for image, label in zip(images, labels):
        if label:
            image[(slice(None), 3) if label == 1 else (2, slice(None))] += 500
    images[::17, 0, 0] = 30000
    lengths = random.integers(0, LONGEST + 1, rows)
    lengths[0] = LONGEST
    padded = random.integers(1, 50, (rows, LONGEST))
    group = file.create_group(name)
    group["images"], group["labels"] = images.astype("i2"), labels.astype("u1")
    group["table"] = random.normal(size=(rows, 4))
    group["padded"], group["lengths"] = padded.astype("u1"), lengths.astype("i4")
    group["flat"] = numpy.concatenate([row[:length] for row, length in zip(padded, lengths)]).astype("u1")
    group["offsets"] = numpy.concatenate([[0], numpy.cumsum(lengths)])


def make_data():
    random = numpy.random.default_rng(5)
    with h5py.File("inputs.h5", "w") as file:
        make_split(file, "train", ROWS, random)
        make_split(file, "test", TESTED, random)
        labels = random.integers(0, 3, 200)
        volumes = random.integers(-90, 90, (200, 2, 3, 4, 5)) + labels[:, None, None, None, None] * 40
        file["volumes/x"], file["volumes/y"] = volumes.astype(">i2"), labels


def flat_deck():
    """The same deck with the same rows as flat values."""
    with open("deck.toml") as file:
        text = file.read()
    text = text.replace("/padded", "/flat").replace("lengths = {", "offsets = {").replace("/lengths", "/offsets")
    with open("flat.toml", "w") as file:
        file.write(text)


def trained(ranks, device, reference):
    name = f"inputs-{ranks}-{device}"
    result = train(name, ranks=ranks, per_node=2 if ranks == 7 else None, sets={"train.device": device})
    same_run(name, "reference", "against one rank")
    assert result.hash() == reference.hash(), result.told("other parameters")


def killed(reference):
    train("killed", ranks=2, fault="point=unit,rank=1,step=9,action=kill", code=None)
    result = train("killed", ranks=3)
    same_run("killed", "reference", "after a kill")
    assert result.hash() == reference.hash(), result.told("other parameters after a kill")


def stolen(reference):
    """Rows of uneven nodes move, all columns of them."""
    result = train("stolen", ranks=3, per_node=1,
                   fault="point=unit,action=delay:2ms;rank=1,point=unit,action=delay:9ms")
    same_run("stolen", "reference", "where units were stolen")
    assert result.hash() == reference.hash(), result.told("other parameters")


def checked():
    told = json.loads(run("check", "deck.toml", "--json").out)["data"]["inputs"]
    shapes = {item["name"]: item["shape"] for item in told}
    assert shapes == {"image": [1, 5, 6], "table": [4], "text": [8], "text.length": [1]}, shapes
    assert "text.length [1] int32" in run("check", "deck.toml").out
    log = train("cut", sets={"train.max_steps": 1}).err
    with h5py.File("inputs.h5") as file:
        longer = (file["train/lengths"][:] > 8).sum()
    assert f"{longer} of {ROWS} rows of" in log and "longer than 8" in log, log


def figures():
    told = metrics("reference", "test")[-1]
    evaluated = json.loads(run("evaluate", "deck.toml", "--json", ranks=2, sets={"run.dir": "reference"}).out)
    for key in ("loss", "accuracy"):
        assert abs(evaluated[key] - told[key]) < 1e-9, f"{key}: {evaluated[key]} and {told[key]}"
    assert evaluated["accuracy"] > 0.8, "nothing was learned"
    places = "inputs.h5:text=test/padded,text.lengths=test/lengths,table=test/table,image=test/images"
    scores = []
    for ranks in (None, 3):
        name = f"scores-{ranks}.h5"
        told = run("predict", "deck.toml", "--inputs", places, "--output", name, ranks=ranks, sets={"run.dir": "reference"})
        with h5py.File(name) as file, h5py.File("inputs.h5") as data:
            scores.append(file["scores"][:])
            accuracy = (file["classes"][:] == data["test/labels"][:]).mean()
        assert abs(accuracy - evaluated["accuracy"]) < 1e-9, f"predict is right in {accuracy}"
        assert "rows are longer than those that the model takes" in told.err, told.told("nothing of cut rows")
    assert (scores[0] == scores[1]).all(), "other scores on 3 ranks"


def augmented(reference):
    """Random transforms change training; their seed is the run's."""
    plain = "[{ type = 'clip', low = 0, high = 900 }, { type = 'log1p' }]"
    assert train("plain", sets={"data.inputs.image.transforms": plain}).hash() != reference.hash()
    flip = "[{ type = 'clip', low = 0, high = 900 }, { type = 'log1p' }, { type = 'random_flip' }]"
    assert train("flip", sets={"data.inputs.image.transforms": flip}).hash() != reference.hash()


def volumes():
    make_deck("volumes.toml", network=NETWORK, data=VOLUMES, train=TRAIN)
    reference = train("volumes-1", deck="volumes.toml")
    assert metrics("volumes-1", "test")[-1]["accuracy"] > 0.8, reference.told("nothing was learned")
    result = train("volumes-3", deck="volumes.toml", ranks=3, per_node=1)
    same_run("volumes-3", "volumes-1", "volumes on three nodes")
    assert result.hash() == reference.hash()


def refused():
    def refuses(code, text, sets, words=None):
        result = run(*(words or ("train", "deck.toml")), code=code, sets={"run.dir": "refused", **sets})
        assert text in result.err, result.told(f"no word of: {text}")

    refuses(78, "names other inputs than data.train.inputs", {"data.test.inputs.extra": "test/table"})
    refuses(78, "data.inputs.image.transforms[0].high is missing",
            {"data.inputs.image.transforms": "[{ type = 'clip', low = 0 }]"})
    refuses(65, "train/images, row 0: the row holds NaN or Inf, or becomes so",
            {"data.inputs.image.transforms": "[{ type = 'scale', offset = -5000 }, { type = 'log1p' }]"})
    refuses(65, "lengths have shape [N], this array has", {"data.train.lengths.text": "train/images"})
    refuses(64, "the input table is missing", {},
            ("predict", "deck.toml", "--inputs", "inputs.h5:text=a,text.lengths=b,image=c", "--output", "none.h5"))
    refuses(64, "rows of the input text have lengths of their own", {},
            ("predict", "deck.toml", "--inputs", "inputs.h5:text=a,table=b,image=c", "--output", "none.h5"))
    assert not os.path.exists("none.h5")


def main():
    make_data()
    make_deck(network=NETWORK, data=DATA, train=TRAIN)
    reference = train("reference")
    in_parallel(trained, [(2, "cpu", reference), (3, "cpu", reference), (7, "cpu", reference), (2, "debug", reference)])
    killed(reference)
    stolen(reference)
    assert max(checkpoints("reference")) == 36
    flat_deck()
    assert train("flat", deck="flat.toml").hash() == reference.hash(), "flat rows are other rows"
    checked()
    figures()
    augmented(reference)
    volumes()
    refused()


main()
