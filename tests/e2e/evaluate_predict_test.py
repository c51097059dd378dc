# SPDX-License-Identifier: Apache-2.0
"""What is said about a model, against numpy: evaluate's figures from predict's scores, predict's scores from the tensors in
model.safetensors. Also inspect's hash, status, check, divergence, early stopping and the best model; alike on any ranks."""
import json
import os
import re
import shutil
import struct

import h5py
import numpy
from sklearn.datasets import load_diabetes

from common import (DENSE, SMALL, TRAIN, checkpoints, contents, in_parallel, ledger, make_deck, make_digits, metrics, run,
                    same_run, train)

VALIDATED = """
[data]
file = "digits.h5"
train = { inputs = "train/images", targets = "train/labels", fraction = 0.8 }
validation = { fraction = 0.15 }
test  = { inputs = "test/images",  targets = "test/labels" }
normalize = "standardize"
"""
REGRESSION = """
[model]
loss = "mse"
layers = [{ type = "dense", units = 16, activation = "tanh" }, { type = "dense", units = 1 }]
[optimizer]
learning_rate = 0.02
"""


def read_safetensors(path):
    """By the published format: length of the header, JSON header, bytes of the tensors."""
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8:8 + length]), data[8 + length:]
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        assert entry["dtype"] == "F32", entry
        begin, end = entry["data_offsets"]
        tensors[name] = numpy.frombuffer(body[begin:end], dtype="<f4").reshape(entry["shape"]).astype("f8")
    assert all(isinstance(value, str) for value in metadata.values())
    return tensors, metadata


def layer(tensors, name, x):
    weight = tensors[f"{name}.weight"]
    return x @ (weight.T if weight.shape[1] == x.shape[1] else weight) + tensors[f"{name}.bias"]


def read(path, name):
    with h5py.File(path) as file:
        return file[name][:]


def close(a, b, what, tolerance=1e-5):
    assert numpy.allclose(a, b, rtol=tolerance, atol=tolerance), f"{what}: {a} against {b}"


def evaluate(deck, directory, ranks=None, split="test", **sets):
    result = run("evaluate", deck, "--json", "--split", split, ranks=ranks, sets={"run.dir": directory, **sets})
    return json.loads(result.out)


def predict(directory, inputs, output, deck="deck.toml", ranks=None, per_node=None, **sets):
    run("predict", deck, "--inputs", inputs, "--output", output, ranks=ranks, per_node=per_node,
        sets={"run.dir": directory, **sets})
    return output


def model_in_numpy(scores):
    """The network from its tensors alone."""
    tensors, metadata = read_safetensors("run/model.safetensors")
    assert metadata["step"] == "18", metadata
    images = read("digits.h5", "train/images")[:601].astype("f8")
    x = ((read("digits.h5", "test/images") - images.mean()) / images.std()).reshape(-1, 64)
    x = numpy.maximum(layer(tensors, "dense_1", x), 0)
    x = numpy.maximum(layer(tensors, "dense_2", x), 0)
    close(layer(tensors, "dense_3", x), scores, "scores", 2e-4)


def classification(hashed):
    labels = read("digits.h5", "test/labels").astype(int)
    predict("run", "digits.h5:test/images", "one.h5")
    scores, classes = read("one.h5", "scores"), read("one.h5", "classes")
    assert scores.dtype == "float32" and scores.shape == (359, 10) and (classes == scores.argmax(1)).all()
    model_in_numpy(scores)
    report = evaluate("deck.toml", "run")
    assert report == evaluate("deck.toml", "run", ranks=3), "evaluate depends on the ranks"
    assert report["samples"] == 359 and report["accuracy"] == (classes == labels).mean(), report
    top5 = [(row > row[label]).sum() < 5 for row, label in zip(scores, labels)]
    assert report["top5"] == numpy.mean(top5), (report["top5"], numpy.mean(top5))
    wide = scores.astype("f8")
    losses = numpy.log(numpy.exp(wide).sum(1)) - wide[numpy.arange(359), labels]
    close(report["loss"], losses.mean(), "loss")
    close(report["loss"], metrics("run", "test")[-1]["loss"], "the loss of training's own evaluation", 1e-12)
    confusion = numpy.zeros((10, 10), dtype=int)
    numpy.add.at(confusion, (labels, classes), 1)
    assert report["confusion"] == confusion.tolist(), "confusion[label][prediction]"
    for c, row in enumerate(report["classes"]):
        hit, said, there = confusion[c, c], confusion[:, c].sum(), confusion[c].sum()
        assert row["support"] == there
        precision, recall = hit / said if said else 0, hit / there
        close([row["precision"], row["recall"]], [precision, recall], f"class {c}", 1e-12)
        close(row["f1"], 2 * precision * recall / (precision + recall) if hit else 0, f"f1 of {c}", 1e-12)
    people = run("evaluate", "deck.toml", sets={"run.dir": "run"}).out
    assert "accuracy" in people and "precision" in people and "359" in people, people
    for place in (checkpoints("run")[18], "run", "run/model.safetensors"):
        again = json.loads(run("evaluate", "deck.toml", "--json", "--checkpoint", place, ranks=2).out)
        assert again["accuracy"] == report["accuracy"] and again["loss"] == report["loss"], again
    early = json.loads(run("evaluate", "deck.toml", "--json", "--checkpoint", checkpoints("run")[3]).out)
    assert early["step"] == 3 and early["loss"] > report["loss"], early
    for place in ("run", checkpoints("run")[18], "run/model.safetensors"):
        assert run("inspect", place).hash() == hashed, f"inspect {place}"
        told = json.loads(run("inspect", place, "--json").out)
        assert told["parameters_hash"] == hashed and told["intact"], told


def prediction():
    """Row i to row i, the same bytes from any ranks, threads, chunks and compression."""
    with open("one.h5", "rb") as file:
        one = file.read()
    for i, (ranks, per_node, threads) in enumerate([(3, None, 1), (None, None, 2), (4, 2, 2)]):
        predict("run", "digits.h5:test/images", f"other-{i}.h5", ranks=ranks, per_node=per_node, **{"train.threads": threads})
        with open(f"other-{i}.h5", "rb") as file:
            assert file.read() == one, f"predict on {ranks} ranks writes other bytes"
    run("predict", "deck.toml", "--inputs", "digits.h5:test/images", "--output", "model.h5", "--checkpoint",
        "run/model.safetensors", ranks=2)
    with open("model.h5", "rb") as file:
        assert file.read() == one, "the model file gives other scores than the checkpoint"
    images = read("digits.h5", "test/images")
    order = numpy.random.default_rng(5).permutation(len(images))
    with h5py.File("new.h5", "w") as file:
        file.create_dataset("chunked", data=images.astype(">u2"), chunks=(7, 8, 8), compression="gzip")
        file["wide"] = images.astype(">i8")
        file["deep/permuted"] = images[order].astype("f8")
        file["few"] = images[:3]
        wrong = images.astype("f4")
        wrong[100, 3, 3] = numpy.nan
        file["nan"] = wrong
    scores = read("one.h5", "scores")
    assert (read(predict("run", "new.h5:chunked", "chunked.h5", ranks=2), "scores") == scores).all(), "chunked"
    close(read(predict("run", "new.h5:wide", "wide.h5"), "scores"), scores, "wide numbers are converted in double")
    close(read(predict("run", "new.h5:deep/permuted", "permuted.h5", ranks=2), "scores"), scores[order], "order", 1e-4)
    close(read(predict("run", "new.h5:few", "few.h5", ranks=4), "scores"), scores[:3], "few rows", 1e-4)
    for name, rows in (("part-10.h5", images[:100]), ("part-9.h5", images[100:103]), ("part-a.h5", images[103:])):
        with h5py.File(name, "w") as file:
            file["x"] = rows
    with open(predict("run", "part-*.h5:x", "parts.h5", ranks=3), "rb") as file:
        assert file.read() == one, "the files of a glob, sorted bytewise, give other bytes than one file"
    result = run("predict", "deck.toml", "--inputs", "new.h5:nan", "--output", "nan.h5", ranks=2, code=65)
    assert len(result.errors()) == 1 and "row 100" in result.errors()[0] and not os.path.exists("nan.h5") and \
        not os.path.exists("nan.h5.tmp"), result.told("nan")
    predict("run", "new.h5:nan", "nan.h5", **{"data.bad_rows": "skip"})  # no row is left out: row i is row i
    bad, classes = numpy.isnan(read("nan.h5", "scores")).any(1), read("nan.h5", "classes")
    assert bad.nonzero()[0].tolist() == [100] and classes[100] == -1 and len(bad) == 359, "the bad row"


def outputs():
    """What --output may replace, and what --json says."""
    what = ("predict", "deck.toml", "--inputs", "digits.h5:test/images", "--output")
    before = contents("run")
    shard = f"{checkpoints('run')[18]}/shard-00000.h5"
    os.link("digits.h5", "digits-too.h5")
    for path in ("run", ".", "digits.h5", "digits-too.h5", "deck.toml", "run/model.safetensors", shard):
        for ranks in (None, 3):
            result = run(*what, path, ranks=ranks, code=64)
            assert len(result.errors()) == 1 and path in result.errors()[0], result.told(path)
    assert contents("run") == before and os.path.exists("digits.h5"), "a refused predict changed something"
    with open("replaced.h5", "wb"):
        pass  # as of mktemp
    for _ in range(2):
        told = json.loads(run(*what, "replaced.h5", "--json", ranks=2).out)
        assert told["output"] == "replaced.h5" and told["rows"] == 359 and told["outputs"] == 10, told
        assert read("replaced.h5", "scores").shape == (359, 10)
    for value in ("none", "unit"):
        result = run(*what, "other.h5", ranks=2, code=78, sets={"data.normalize": value})
        assert len(result.errors()) == 1 and "data.normalize" in result.errors()[0], result.told(value)
    assert not os.path.exists("other.h5")


def binary():
    """One output of binary_cross_entropy is a logit."""
    random = numpy.random.default_rng(7)
    x = random.normal(size=(400, 4)).astype("f4")
    with h5py.File("binary.h5", "w") as file:
        file["x"], file["y"] = x, (x.sum(1) > 0).astype("u1")
    make_deck("binary.toml", '\n[model]\nloss = "binary_cross_entropy"\nlayers = [{ type = "dense", units = 1 }]\n'
              '[optimizer]\nlearning_rate = 0.05\n',
              '\n[data]\nfile = "binary.h5"\ntrain = { inputs = "x", targets = "y", rows = [0, 300] }\n'
              'test = { rows = [300, 400] }\n', TRAIN.replace("epochs = 2", "epochs = 20"))
    train("binary", deck="binary.toml", ranks=2)
    predict("binary", "binary.h5:x", "classes.h5", deck="binary.toml", ranks=2)
    classes = read("classes.h5", "classes")
    assert (classes == (read("classes.h5", "scores")[:, 0] > 0)).all(), "a class is 1 where the logit is above 0"
    accuracy = (classes == read("binary.h5", "y"))[300:].mean()
    assert accuracy > 0.9 and evaluate("binary.toml", "binary")["accuracy"] == accuracy, accuracy


def regression():
    data = load_diabetes()
    with h5py.File("diabetes.h5", "w") as file:
        file["x"], file["y"] = data.data.astype("f4"), (data.target / 100).astype("f8")
    make_deck("regression.toml", REGRESSION, '\n[data]\nfile = "diabetes.h5"\nnormalize = "standardize"\ntrain = { inputs = "x", targets = "y", rows = [0, 300] }\n'
              'test = { rows = [300, 442] }\n', TRAIN.replace("epochs = 2", "epochs = 12"))
    train("regression", deck="regression.toml", ranks=2)
    scores = read(predict("regression", "diabetes.h5:x", "regression.h5", deck="regression.toml", ranks=2), "scores")
    assert scores.shape == (442, 1)
    with h5py.File("regression.h5") as file:
        assert "classes" not in file
    y, p = data.target[300:] / 100, scores[300:, 0].astype("f8")
    report = evaluate("regression.toml", "regression", ranks=3)
    assert report == evaluate("regression.toml", "regression"), "evaluate depends on the ranks"
    close(report["mae"], abs(p - y).mean(), "mae")
    close(report["rmse"], numpy.sqrt(((p - y) ** 2).mean()), "rmse")
    close(report["r2"], 1 - ((p - y) ** 2).sum() / ((y - y.mean()) ** 2).sum(), "r2")
    close(report["loss"], ((p - y) ** 2).mean(), "loss")
    assert report["r2"] > 0.2 and report["samples"] == 142, report


def divergence():
    """Named by step, unit and layer, the same on any ranks; the last good checkpoint stays."""
    sets = {"optimizer.learning_rate": 1e20, "optimizer.clip_norm": 0, "checkpoint.every": '"1 steps"'}
    messages = set()
    for ranks, per_node in ((None, None), (3, None), (3, 1)):
        directory = f"diverged-{ranks}-{per_node}"
        result = train(directory, ranks=ranks, per_node=per_node, sets=sets, code=76)
        assert len(result.errors()) == 1, result.told("one message")
        messages.add(result.errors()[0])
        assert checkpoints(directory).keys() == {1}, f"{directory}: the checkpoint in flight is kept: {checkpoints(directory)}"
        told = json.loads(run("status", directory, "--json").out)
        assert told["state"] == "failed" and told["exit"] == 76, told
    assert len(messages) == 1, messages
    assert re.search(r"step \d+, unit \d+.*\n?.*dense_\d", messages.pop()), messages


def skipped_steps():
    """One sample whose loss overflows: the step that it is in, once per epoch, changes nothing and is marked."""
    with h5py.File("rare.h5", "w") as file:
        random = numpy.random.default_rng(2)
        file["x"], file["y"] = random.normal(size=(300, 5)), numpy.where(numpy.arange(300) == 117, 3e38, 1)
    deck = make_deck("rare.toml", REGRESSION, '\n[data]\nfile = "rare.h5"\ntrain = { inputs = "x", targets = "y" }\n',
                     TRAIN.replace("epochs = 2", "epochs = 3"))
    message = train("rare", deck=deck, code=76, ranks=2).errors()
    assert len(message) == 1 and "step" in message[0], message
    hashes = {train(f"skipped-{ranks}", deck=deck, ranks=ranks, sets={"train.on_non_finite": "skip"}).hash()
              for ranks in (None, 3)}
    same_run("skipped-3", "skipped-None")
    lines = ledger("skipped-3")
    marked = [i for i, line in enumerate(lines) if "skip" in line]
    assert len(hashes) == 1 and len(lines) == 15 and [i // 5 for i in marked] == [0, 1, 2], lines
    parameters = [re.search(r"parameters=(\w+)", line).group(1) for line in lines]
    assert all((a == b) == (i + 1 in marked) for i, (a, b) in enumerate(zip(parameters, parameters[1:]))), parameters


def best_and_early():
    """The best model is that of the best validation; early stopping counts evaluations without improvement."""
    make_deck("validated.toml", SMALL, VALIDATED, more='[evaluation]\nevery = "2 steps"\n')
    sets = {"evaluation.patience": 2, "optimizer.learning_rate": 1e-20}
    for ranks in (None, 3):
        train(f"early-{ranks}", deck="validated.toml", ranks=ranks, sets=sets)
        assert len(ledger(f"early-{ranks}")) == 6, ledger(f"early-{ranks}")  # the first is best, then two in vain
        assert len(metrics(f"early-{ranks}", "validation")) == 3 and len(metrics(f"early-{ranks}", "test")) == 1
    again = train("early-3", deck="validated.toml", sets=sets)  # nothing more to do, and no error
    assert len(ledger("early-3")) == 6, again.told("went on after an early stop")
    train("early-3", "--max-steps", 9, deck="validated.toml", sets={"optimizer.learning_rate": 1e-20})
    assert len(ledger("early-3")) == 9, "without patience the run goes on"

    for ranks in (None, 2):
        train(f"best-{ranks}", deck="validated.toml", ranks=ranks, sets={"optimizer.learning_rate": 3})
    with open("best-None/best.safetensors", "rb") as a, open("best-2/best.safetensors", "rb") as b:
        assert a.read() == b.read(), "another best model"
    rows = metrics("best-2", "validation")
    best = max(rows, key=lambda row: (row["accuracy"], -row["step"]))
    _, metadata = read_safetensors("best-2/best.safetensors")
    assert best["step"] != rows[-1]["step"] and metadata["step"] == str(best["step"]), (best, metadata)
    report = json.loads(run("evaluate", "validated.toml", "--json", "--split", "validation", "--checkpoint",
                            "best-2/best.safetensors").out)
    assert report["accuracy"] == best["accuracy"], (report, best)


def check_and_status():
    told = json.loads(run("check", "validated.toml", "--json", ranks=2).out)
    samples = told["samples"] if "samples" in told else told["data"]["samples"]
    assert samples["train"] + samples["validation"] <= 1438 and samples["test"] == 359, samples
    assert samples["train"] == round(1438 * 0.8) or abs(samples["train"] - 1438 * 0.8) < 1, samples
    assert told["parameters"] == 650 and told["steps"]["last_batch"] > 0 and told["memory"]["node_bytes"] > 0, told
    text = run("check", "deck.toml").out
    assert "19420" in text and "units" in text and not os.path.exists("checked"), text
    for name, samples in (("train", 601), ("test", 359)):
        assert re.search(rf"{name} {samples}\b", text), text
    told = json.loads(run("status", "run", "--json").out)
    assert told["state"] == "finished" and told["step"] == 18 and told["exit"] == 0, told
    assert re.search(r"run: finished\n.*step 18", run("status", "run").out)
    told = json.loads(run("inspect", "digits.h5", "--json").out)
    assert told["intact"] and {a["path"].strip("/") for a in told["arrays"]} >= {"train/images", "test/labels"}, told
    assert not os.path.exists("run/checkpoints/.tmp")
    shutil.copytree("run", "harmed")
    with open(f"{checkpoints('harmed')[18]}/shard-00000.h5", "r+b") as file:
        file.truncate(1000)
    os.remove(f"{checkpoints('harmed')[18]}/shard-00000.h5.parity")
    damaged = run("inspect", checkpoints("harmed")[18], "--json", code=65)
    assert json.loads(damaged.out)["intact"] is False, damaged.out
    assert json.loads(run("inspect", "harmed", "--json").out)["newest_valid"] == checkpoints("harmed")[sorted(checkpoints("harmed"))[-2]]


def main():
    make_digits()
    make_deck()
    result = train("run", "--json", ranks=2, fault="point=unit,action=delay:5ms")
    hashed = result.hash()
    ended = json.loads(result.out)
    assert ended["run"] == "run" and ended["step"] == 18 and ended["state"] == "finished", ended
    assert ended["parameters_hash"] == run("inspect", "run").hash(), ended
    assert ended["evaluation"]["split"] == "test" and ended["evaluation"]["accuracy"] > 0.5, ended
    classification(hashed)
    in_parallel(lambda test: test(), [(prediction,), (outputs,), (binary,), (regression,), (divergence,), (skipped_steps,), (best_and_early,)],
                workers=3)
    check_and_status()


main()
