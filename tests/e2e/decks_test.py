# SPDX-License-Identifier: Apache-2.0
"""The decks of inputs/ as they are, on small data made here: check plans each of them, and those whose network no other test
trains have the same ledger, parameters and figures on 1, 2 and 3 ranks, one of them on 7. A deck without data here fails."""
import json
import os
import random
import subprocess
import sys

import h5py
import numpy

from common import SOURCE_DIR, in_parallel, make_digits, metrics, run, same_run, train, write

INPUTS = os.path.join(SOURCE_DIR, "inputs")


def tool(name, *arguments):
    subprocess.run([sys.executable, os.path.join(SOURCE_DIR, "tools", name), *map(str, arguments)], check=True,
                   stdout=subprocess.DEVNULL)


def synthetic(kind, count, size=0):
    tool("make_synthetic", kind, f"{kind}.h5", "--count", count, *(["--size", size] if size else []))


def polarity():
    """Sentences of made-up words, some of which tell the class."""
    chance = random.Random(3)
    for label, telling in (("neg", "dull"), ("pos", "bright")):
        sentences = [[chance.choice([telling, *(f"word{k}" for k in range(30))]) for _ in range(chance.randint(3, 12))]
                     for _ in range(60)]
        write(label, "".join(" ".join(words) + "\n" for words in sentences))
    run("prepare", "polarity.h5", "--tokens", "words", "--labelled", "--text", "neg", "--text", "pos")


def citeseer():
    """Nodes of six topics with words of their own, which mostly cite their like."""
    numbers = numpy.random.default_rng(4)
    nodes = 150
    topics = numpy.arange(nodes) % 6
    cites = numbers.random((nodes, nodes)) < numpy.where(topics[:, None] == topics, 0.1, 0.005)
    cites = cites | cites.T | numpy.eye(nodes, dtype=bool)
    starts = numpy.concatenate([[0], numpy.cumsum(cites.sum(axis=1))])
    words = (numbers.random((nodes, 48)) < numpy.where(topics[:, None] == numpy.arange(48) % 6, 0.3, 0.05)).astype("f4")
    with h5py.File("graph.h5", "w") as file:
        file["adjacency/indptr"], file["adjacency/indices"] = starts, numpy.nonzero(cites)[1]
        file["features"], file["labels"] = words, topics
        file["split/train"], file["split/validation"] = numpy.arange(0, 60), numpy.arange(60, 100)
        file["split/test"] = numpy.arange(nodes) >= 100  # a mask, as booleans
    run("prepare", "citeseer_nodes.h5", "--graph", "graph.h5", "--feature-shares")


def images(name, *shape):
    numbers = numpy.random.default_rng(5)
    with h5py.File(name, "w") as file:
        for split, rows in (("train", 40), ("test", 20)):
            file[f"{split}/images"] = numbers.integers(0, 256, (rows, *shape)).astype("u1")
            file[f"{split}/labels"] = (numpy.arange(rows) % 10).astype("u1")


def shakespeare():
    letters = "".join(chr(ord("!") + k) for k in range(64)) + "\n"  # 65 characters
    run("prepare", "shakespeare.h5", "--text", write("text.txt", letters * 20), "--validation", "0.2")


# How the data of each file are made.
DATA = {
    "polarity.h5": polarity,
    "citeseer_nodes.h5": citeseer,
    "volumes.h5": lambda: synthetic("volumes", 16, 32),
    "shapes.h5": lambda: synthetic("shapes", 40, 32),
    "table.h5": lambda: synthetic("table", 700),
    "ratings.h5": lambda: synthetic("ratings", 700),
    "digits.h5": make_digits,
    "friedman.h5": lambda: tool("make_friedman", "friedman.h5"),
    "mnist.h5": lambda: images("mnist.h5", 28, 28),
    "cifar10_10k.h5": lambda: images("cifar10_10k.h5", 3, 32, 32),
    "shakespeare.h5": shakespeare,
}
# Deck: its data and, where no other test trains such a network, what makes it short.
DECKS = {
    "polarity_cnn": ("polarity.h5", {"train.max_steps": 3}),
    "citeseer_gcn": ("citeseer_nodes.h5", {"train.max_steps": 6, "evaluation.every": "3 steps"}),
    "volumes_cosmoflow": ("volumes.h5", {"train.max_steps": 3, "train.batch_size": 5, "train.unit_size": 1}),
    "shapes_unet": ("shapes.h5", {"train.max_steps": 3}),
    "table_wide_and_deep": ("table.h5", {"train.max_steps": 4}),
    "ratings_recommender": ("ratings.h5", {"train.max_steps": 4}),
    "polarity_lstm": ("polarity.h5", None),
    "shakespeare_gpt": ("shakespeare.h5", None),
    "digits": ("digits.h5", {"train.max_steps": 3}),
    "digits_finetune": ("digits.h5", {"train.max_steps": 3, "model.weights": "digits-1/model.safetensors"}),
    "digits_onnx": ("digits.h5", {"train.max_steps": 3, "model.onnx": "digits.onnx"}),
    "friedman_regression": ("friedman.h5", None),
    "mnist_mlp": ("mnist.h5", None),
    "mnist_lenet": ("mnist.h5", None),
    "cifar10_resnet20": ("cifar10_10k.h5", None),
}
ON_SEVEN = "table_wide_and_deep"
OF_DIGITS = ("digits_finetune", "digits_onnx")  # begin with what the run of digits.toml leaves


def path_of(name):
    return os.path.join(INPUTS, f"{name}.toml")


def planned(name):
    data, short = DECKS[name]
    sets = {"data.file": data, "train.threads": 1, **(short or {})}
    told = json.loads(run("check", path_of(name), "--json", sets=sets).out)
    assert told["parameters"] > 0 and told["steps"]["total"] > 0, f"{name}: {told}"
    assert not told["warnings"], f"{name}: {told['warnings']}"


def trained(name, ranks):
    data, short = DECKS[name]
    sets = {"data.file": data, "train.threads": 1, "run.shm_dir": os.environ["LEPTON_TEST_SHM"], **short}
    return train(f"{name}-{ranks}", deck=path_of(name), sets=sets, ranks=None if ranks == 1 else ranks,
                 per_node={3: 1, 7: 2}.get(ranks))


def figures(directory):
    return metrics(directory, "validation") + metrics(directory, "test")


def same_everywhere(name):
    first = trained(name, 1)
    assert figures(f"{name}-1"), first.told("not evaluated")
    for ranks in (2, 3, *([7] if name == ON_SEVEN else [])):
        result = trained(name, ranks)
        same_run(f"{name}-{ranks}", f"{name}-1")
        assert result.hash() == first.hash(), result.told("other parameters")
        assert figures(f"{name}-{ranks}") == figures(f"{name}-1"), f"{name}: other figures"


def main():
    found = {entry[:-5] for entry in os.listdir(INPUTS) if entry.endswith(".toml")}
    assert found == set(DECKS), f"say here what data are made for: {sorted(found ^ set(DECKS))}"
    in_parallel(lambda make: make(), [(make,) for make in DATA.values()])
    in_parallel(same_everywhere, [(name,) for name in DECKS if DECKS[name][1] and name not in OF_DIGITS])
    run("export", path_of("digits"), "digits.onnx", sets={"run.dir": "digits-1", "data.file": "digits.h5"})
    in_parallel(same_everywhere, [(name,) for name in OF_DIGITS])
    in_parallel(planned, [(name,) for name in DECKS])


main()
