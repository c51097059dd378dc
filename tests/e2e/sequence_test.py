# SPDX-License-Identifier: Apache-2.0
"""A language model from text to text: prepare makes the same file on any number of ranks; training has the same ledger on 1,
2, 3 and 7 ranks, on the debug device and after a kill; evaluate and predict agree with training, position by position;
generate continues; tokens that the embedding has no row for are refused by name. Recurrent networks: whole sequences classified,
and text, with the same ledger on 1, 2 and 3 ranks and on the debug device."""
import json
import os
import shutil

import h5py
import numpy

from common import SOURCE_DIR, checkpoints, in_parallel, make_deck, metrics, run, same_run, train

DATA = """
[data]
file = "text.h5"
train = { inputs = "train/tokens" }
validation = { inputs = "validation/tokens" }
sequence = 24
sequence_stride = 5
"""
NETWORK = """
[model]
layers = [
  { type = "embedding", rows = {size}, width = 16 },
  { type = "positional_embedding" },
  { type = "transformer_block", heads = 4, key_heads = 2, causal = true, dropout = 0.1 },
  { type = "transformer_block", heads = 2, causal = true, norm = "rms_norm", activation = "silu" },
  { type = "layer_norm" },
  { type = "dense", units = {size} },
]
[optimizer]
type = "adamw"
learning_rate = 3e-3
weight_decay = 0.1
clip_norm = 1.0
"""
TRAIN = """
[train]
max_steps = 24
batch_size = 35
unit_size = 6
threads = 1
[evaluation]
every = "12 steps"
[checkpoint]
every = "5 steps"
"""


RECURRENT = """
[model]
layers = [
  { type = "embedding", rows = 9, width = 8, init_deviation = 0.5 },
  { type = "lstm", units = 10, layers = 2, dropout = 0.1, bidirectional = true, output = "sequence" },
  { type = "rnn", units = 9, output = "sequence" },
  { type = "gru", units = 12 },
  { type = "dense", units = 3 },
]
[optimizer]
type = "adam"
learning_rate = 1e-2
"""
CONTINUING = """
[model]
layers = [
  { type = "embedding", rows = {size}, width = 16 },
  { type = "gru", units = 20, reset_after = false, output = "sequence" },
  { type = "lstm", units = 20, output = "sequence" },
  { type = "dense", units = {size} },
]
[optimizer]
type = "adam"
learning_rate = 1e-2
"""


def prepared():
    """The project's own texts: words by many ranks, then the characters that the others need."""
    texts = [word for name in ("README.md", "CHANGELOG.md") for word in ("--text", os.path.join(SOURCE_DIR, name))]
    for kind, ranks in (("words", (None, 2, 7)), ("characters", (None, 3))):
        made = []
        for n in ranks:
            limit = ("--vocabulary", "500") if kind == "words" else ()
            run("prepare", "text.h5", *texts, "--tokens", kind, "--validation", "0.1", *limit, ranks=n)
            with open("text.h5", "rb") as file:
                made.append(file.read())
        assert all(other == made[0] for other in made), f"{kind}: other bytes on other numbers of ranks"
    with h5py.File("text.h5") as file:
        size = len(file["vocabulary/offsets"]) - 1
        assert file["train/tokens"][:].max() < size
    return size


def trained(ranks, device, reference):
    name = f"lm-{ranks}-{device}"
    result = train(name, ranks=ranks, per_node=2 if ranks == 7 else None, sets={"train.device": device})
    same_run(name, "reference", "against one rank")
    assert result.hash() == reference.hash(), result.told("other parameters")


def killed(reference):
    train("killed", ranks=2, fault="point=unit,rank=1,step=9,action=kill", code=None)
    result = train("killed", ranks=3)
    same_run("killed", "reference", "after a kill")
    assert result.hash() == reference.hash(), result.told("other parameters after a kill")


def figures(size):
    """Each token counts: evaluate's loss is the mean over all of them, by predict's scores too."""
    told = metrics("reference", "validation")[-1]
    evaluated = json.loads(run("evaluate", "deck.toml", "--split", "validation", "--json", ranks=2,
                               sets={"run.dir": "reference"}).out)
    for key in ("loss", "accuracy", "perplexity"):
        assert abs(evaluated[key] - told[key]) < 1e-9, f"{key}: {evaluated[key]} and {told[key]}"
    assert abs(evaluated["perplexity"] - numpy.exp(evaluated["loss"])) < 1e-9
    run("predict", "deck.toml", "--inputs", "text.h5:validation/tokens", "--output", "scores.h5", ranks=3,
        sets={"run.dir": "reference"})
    with h5py.File("scores.h5") as scores, h5py.File("text.h5") as text:
        z, classes, tokens = scores["scores"][:].astype("f8"), scores["classes"][:], text["validation/tokens"][:]
    rows = evaluated["samples"]
    assert z.shape[1:] == (24, size) and classes.shape == z.shape[:2] and len(z) in (rows, rows + 1), z.shape
    targets = numpy.stack([tokens[24 * i + 1:24 * i + 25] for i in range(rows)]).astype(int)
    z = z[:rows] - z[:rows].max(axis=2, keepdims=True)
    chosen = numpy.take_along_axis(z, targets[:, :, None], axis=2)[:, :, 0]
    loss = (numpy.log(numpy.exp(z).sum(axis=2)) - chosen).mean()
    assert abs(loss - evaluated["loss"]) < 1e-4, f"loss {loss} by predict, {evaluated['loss']} by evaluate"
    assert abs((classes[:rows] == targets).mean() - evaluated["accuracy"]) < 1e-3
    assert evaluated["loss"] < numpy.log(size) - 0.5, "nothing was learned"


def generated():
    words = ("generate", "deck.toml", "--prompt", "The ", "--count", "40", "--top-k", "5")
    one = run(*words, sets={"run.dir": "reference"}).out
    assert one.startswith("The ") and len(one) >= 44, one
    assert run(*words, ranks=2, sets={"run.dir": "reference"}).out == one
    assert run(*words, "--seed", "2", sets={"run.dir": "reference"}).out != one


def bad_tokens(size):
    shutil.copy("text.h5", "bad.h5")
    with h5py.File("bad.h5", "r+") as file:
        file["train/tokens"][1000] = 200
    for ranks in (None, 3):
        result = train("bad", ranks=ranks, sets={"data.file": "bad.h5"}, code=65)
        error = "".join(result.errors())
        assert "bad.h5:train/tokens, row 196" in error and "200" in error and f"table of {size}" in error, result.told("unclear")
        assert len(result.errors()) == 1, result.told("more than one message")
    result = train("normalised", sets={"data.normalize": "unit"}, code=78)
    assert "data.normalize" in result.err, result.told("unclear")
    result = run("predict", "deck.toml", "--inputs", "bad.h5:train/tokens", "--output", "bad-scores.h5",
                 sets={"run.dir": "reference"}, code=65)
    assert "200" in result.err and not os.path.exists("bad-scores.h5"), result.told("unclear")


def last_of_three(rows, seed):
    """Sequences of tokens 0 to 8, and which of 0, 1 and 2 comes last in each."""
    tokens = numpy.random.default_rng(seed).integers(0, 9, (rows, 14))
    tokens[:, 0] = tokens[:, 1] % 3
    behind = 13 - (tokens[:, ::-1] < 3).argmax(axis=1)
    return tokens.astype("u1"), tokens[numpy.arange(rows), behind].astype("i4")


def recurrent_run(ranks, device, deck, reference):
    name = f"{deck[:-5]}-{ranks}-{device}"
    result = train(name, ranks=ranks, deck=deck, sets={"train.device": device})
    same_run(name, f"{deck[:-5]}-1-cpu", "against one rank")
    assert result.hash() == reference.hash(), result.told("other parameters")


def recurrent(size):
    with h5py.File("sequences.h5", "w") as file:
        for split, rows in (("train", 600), ("test", 200)):
            file[f"{split}/tokens"], file[f"{split}/labels"] = last_of_three(rows, rows)
    splits = "".join(f'{split} = {{ inputs = "{split}/tokens", targets = "{split}/labels" }}\n' for split in ("train", "test"))
    make_deck("sequences.toml", RECURRENT, f'\n[data]\nfile = "sequences.h5"\n{splits}',
              "\n[train]\nepochs = 8\nbatch_size = 35\nunit_size = 6\nthreads = 1\n")
    make_deck("continuing.toml", CONTINUING.replace("{size}", str(size)), DATA, TRAIN)
    for deck in ("sequences.toml", "continuing.toml"):
        reference = train(f"{deck[:-5]}-1-cpu", deck=deck)
        in_parallel(recurrent_run, [(ranks, device, deck, reference) for ranks, device in ((2, "cpu"), (3, "cpu"), (2, "debug"))])
    assert metrics("sequences-1-cpu", "test")[-1]["accuracy"] > 0.9, metrics("sequences-1-cpu", "test")[-1]
    words = ("generate", "continuing.toml", "--prompt", "The ", "--count", "20")
    assert run(*words, sets={"run.dir": "continuing-1-cpu"}).out.startswith("The ")


def main():
    size = prepared()
    make_deck(network=NETWORK.replace("{size}", str(size)), data=DATA, train=TRAIN)
    reference = train("reference")
    in_parallel(trained, [(2, "cpu", reference), (3, "cpu", reference), (7, "cpu", reference), (2, "debug", reference)])
    killed(reference)
    assert max(checkpoints("reference")) == 24
    figures(size)
    generated()
    bad_tokens(size)
    recurrent(size)


main()
