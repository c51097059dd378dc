# SPDX-License-Identifier: Apache-2.0
"""Bad input: for each case one clear error message, the right exit code, no rank left waiting, and an old run in the same
directory untouched, be it one that was killed before its first checkpoint; alone and under mpirun. Rows with NaN that are
to be skipped are left out alike on any ranks."""
import os
import re
import shutil
import socket
import stat
import subprocess

import h5py
import numpy

from common import (DENSE, LEPTON, SMALL, checkpoints, contents, in_parallel, ledger, make_deck, make_digits, run, same_run,
                    train, training, wait_for_step, write)

LAYERS = "[[model.layers]]\n"
HANGS_AFTER_S = 60


def make_files():
    """One file per way of being wrong; `good.h5` is what they are wrong against."""
    random = numpy.random.default_rng(1)
    inputs = random.normal(size=(60, 8)).astype("f4")
    labels = numpy.arange(60) % 4

    def file(name, x=inputs, y=labels):
        with h5py.File(name, "w") as h5:
            h5["x"], h5["y"] = x, y

    def changed(array, index, value, kind=None):
        copy = array.astype(kind or array.dtype)
        copy[index] = value
        return copy

    file("good.h5")
    file("other.h5", x=changed(inputs, (5, 3), 1.5))
    file("lengths.h5", y=labels[:-1])
    file("empty.h5", x=inputs[:0], y=labels[:0])
    file("scalar.h5", x=numpy.float32(1))
    file("text-type.h5", x=numpy.array([b"abc"] * 60))
    file("compound.h5", x=numpy.zeros(60, dtype=[("a", "f4"), ("b", "i4")]))
    file("targets-rank.h5", y=numpy.zeros((60, 2, 2), dtype="i4"))
    file("label-4.h5", y=changed(labels, 59, 4))
    file("label-negative.h5", y=changed(labels, 7, -1))
    file("label-half.h5", y=changed(labels, 7, 2.5, "f8"))
    file("label-nan.h5", y=changed(labels, 7, numpy.nan, "f8"))
    file("one-hot-two.h5", y=changed(numpy.eye(4)[labels], (9, slice(2)), 1))
    file("nan.h5", x=changed(changed(inputs, (13, 2), numpy.nan), (41, 0), numpy.inf))
    file("all-nan.h5", x=inputs * numpy.nan)
    file("chunked.h5")
    with h5py.File("chunked.h5", "w") as h5:  # 4 KiB of noise per chunk, so that cutting the file hits data
        h5.create_dataset("x", data=random.normal(size=(60, 1000)), chunks=(4, 1000), compression="gzip")
        h5["y"] = labels
    shutil.copy("chunked.h5", "damaged.h5")
    with open("damaged.h5", "r+b") as h5:
        h5.seek(os.path.getsize("damaged.h5") // 2)
        h5.write(b"\xff" * 4096)
    for name in ("good", "chunked"):
        shutil.copy(f"{name}.h5", f"{name}-cut.h5")
        os.truncate(f"{name}-cut.h5", os.path.getsize(f"{name}.h5") * 2 // 3)
    write("text.h5", "no HDF5 at all\n" * 100)
    write("zero.h5", "")
    os.makedirs("folder.h5", exist_ok=True)
    os.symlink("loop.h5", "loop.h5")
    shutil.copy("good.h5", "unreadable.h5")
    os.chmod("unreadable.h5", 0)


def make_decks():
    data = '\n[data]\nfile = "good.h5"\nclasses = 4\ntrain = { inputs = "x", targets = "y" }\n'
    network = SMALL.replace('{ type = "flatten" }, { type = "dense", units = 10 }', '{ type = "dense", units = 4 }')
    small = "[train]\nbatch_size = 20\nunit_size = 5\nthreads = 1\n"
    make_deck("good.toml", network, data, small)
    make_deck("one-hot.toml", network, data.replace("classes = 4", 'target_kind = "one_hot"'), small)
    make_deck("typo.toml", network, data, small + "bath_size = 3\n")
    make_deck("typo-table.toml", network, data, small, "[trian]\nepochs = 3\n")
    make_deck("syntax.toml", network, data, small, "[checkpoint\n")
    make_deck("layer-option.toml", network.replace("units = 4", "units = 4, activaton = \"relu\""), data, small)
    make_deck("no-targets.toml", network, data.replace(', targets = "y"', ""), small)
    for name, layers in {
            "outputs": '{ type = "dense", units = 7 }',
            "conv": '{ type = "conv2d", filters = 4, kernel = 3 }, { type = "flatten" }, { type = "dense", units = 4 }',
            "reshape": '{ type = "reshape", shape = [3, 3] }, { type = "flatten" }, { type = "dense", units = 4 }',
            "kernel": '{ type = "reshape", shape = [1, 2, 4] }, { type = "conv2d", filters = 4, kernel = 3 },'
                      '{ type = "flatten" }, { type = "dense", units = 4 }',
            "residual": '{ type = "residual", layers = [{ type = "dense", units = 9 }] }, { type = "dense", units = 4 }',
            "huge": '{ type = "dense", units = 1000000 }, { type = "dense", units = 1000000 }, { type = "dense", units = 4 }',
    }.items():
        make_deck(f"{name}.toml", network.replace('{ type = "dense", units = 4 }', layers), data, small)


def file(name):
    return {"data.file": name}


# name: (deck, --set pairs, exit code, what the message must say)
TRAINING = {
    "missing": ("good", file("nowhere.h5"), 66, r"nowhere\.h5.*(No such file|not exist)"),
    "missing-glob": ("good", file("nowhere-*.h5"), 66, r"nowhere-\*\.h5"),
    "truncated": ("good", file("good-cut.h5"), 65, r"good-cut\.h5.*truncated"),
    "truncated-chunked": ("good", file("chunked-cut.h5"), 65, r"chunked-cut\.h5.*truncated"),
    "damaged-chunk": ("good", file("damaged.h5"), 65, r"damaged\.h5"),
    "not-hdf5": ("good", file("text.h5"), 65, r"text\.h5.*HDF5"),
    "zero-bytes": ("good", file("zero.h5"), 65, r"zero\.h5"),
    "folder": ("good", file("folder.h5"), 66, r"folder\.h5"),
    "loop": ("good", file("loop.h5"), 66, r"loop\.h5.*symbolic links"),
    "unreadable": ("good", file("unreadable.h5"), 66, r"unreadable\.h5.*Permission denied"),
    "no-dataset": ("good", {"data.train.inputs": "xx"}, 65, r"good\.h5.*xx"),
    "no-test-dataset": ("good", {"data.test": '{inputs="x", targets="z"}'}, 65, r"good\.h5.*z"),
    "lengths": ("good", file("lengths.h5"), 65, r"60 rows.*59"),
    "zero-rows": ("good", file("empty.h5"), 65, r"empty\.h5.*no rows"),
    "scalar": ("good", file("scalar.h5"), 65, r"scalar\.h5"),
    "text-type": ("good", file("text-type.h5"), 65, r"text-type\.h5"),
    "compound": ("good", file("compound.h5"), 65, r"compound\.h5"),
    "targets-rank": ("good", file("targets-rank.h5"), 78, r"dense_1.*\[4\].*4 class ids per sample"),
    "rows-behind-end": ("good", {"data.train.rows": "[0, 61]"}, 78, r"\[0, 61\].*60 rows"),
    "label-4": ("good", file("label-4.h5"), 65, r"label-4\.h5.*59.*4"),
    "label-negative": ("good", file("label-negative.h5"), 65, r"label-negative\.h5.*7.*-1"),
    "label-half": ("good", file("label-half.h5"), 65, r"label-half\.h5.*7.*2\.5"),
    "label-nan": ("good", file("label-nan.h5"), 65, r"label-nan\.h5.*7.*nan"),
    "one-hot-two": ("one-hot", file("one-hot-two.h5"), 65, r"one-hot-two\.h5.*9"),
    "nan": ("good", file("nan.h5"), 65, r"nan\.h5.*13"),
    "all-nan-skipped": ("good", {"data.file": "all-nan.h5", "data.bad_rows": "skip"}, 65, r"all-nan\.h5|no .*rows"),
    "outputs": ("outputs", {}, 78, r"outputs\.toml:\d+.*7.*4"),
    "conv-on-vector": ("conv", {}, 78, r"conv\.toml:\d+:\d+.*\[8\]"),
    "reshape": ("reshape", {}, 78, r"reshape\.toml:\d+:\d+.*\[8\].*\[3, 3\]"),
    "kernel-too-large": ("kernel", {}, 78, r"kernel\.toml:\d+:\d+.*\[1, 2, 4\]"),
    "residual": ("residual", {}, 78, r"residual\.toml:\d+:\d+.*\[[89]\].*\[[89]\]"),
    "typo": ("typo", {}, 78, r"typo\.toml:\d+:\d+.*bath_size.*batch_size"),
    "typo-table": ("typo-table", {}, 78, r"typo-table\.toml:\d+:\d+.*trian.*train"),
    "typo-set": ("good", {"train.epoch": 3}, 78, r"train\.epoch.*\"epochs\""),
    "layer-option": ("layer-option", {}, 78, r"layer-option\.toml:\d+:\d+.*activaton.*activation"),
    "syntax": ("syntax", {}, 78, r"syntax\.toml:\d+:\d+"),
    "no-targets": ("no-targets", {}, 78, r"targets"),
    "wrong-type": ("good", {"train.batch_size": '"many"'}, 78, r"train\.batch_size"),
    "impossible": ("good", {"train.batch_size": -3}, 78, r"train\.batch_size.*-3"),
    "contradiction": ("good", {"train.unit_size": 21}, 78, r"unit_size = 21.*batch_size = 20"),
    "choice": ("good", {"balance.policy": "stael"}, 78, r"balance\.policy.*stael.*steal"),
    "no-deck": ("nowhere", {}, 66, r"nowhere\.toml"),
    "memory": ("huge", {}, 71, r"huge\.toml.* need [0-9]+ GiB, available are [0-9]+ GiB"),
}
# name: (words of the command line, exit code, what the message must say)
OTHERS = {
    "option": (["train", "good.toml", "--frehs"], 64, r"--frehs.*--fresh"),
    "command": (["trian", "good.toml"], 64, r"trian.*train"),
    "no-command": ([], 64, r"[Cc]ommand"),
    "deck-needed": (["train"], 64, r"DECK"),
    "set-form": (["train", "good.toml", "--set", "seed"], 64, r"KEY=VALUE"),
    "max-steps": (["train", "good.toml", "--max-steps", "0"], 64, r"max-steps"),
    "evaluate-nothing": (["evaluate", "good.toml", "--set", "run.dir=none", "--split", "train"], 66, r"none"),
    "evaluate-no-split": (["evaluate", "good.toml", "--set", "run.dir=old"], 78, r"no test split"),
    "predict-nothing": (["predict", "good.toml", "--inputs", "good.h5:x", "--output", "o.h5", "--set", "run.dir=none"], 66,
                        r"none"),
    "predict-form": (["predict", "good.toml", "--inputs", "good.h5", "--output", "o.h5", "--set", "run.dir=old"], 64,
                     r"FILE\.h5:PATH"),
    "predict-dataset": (["predict", "good.toml", "--inputs", "good.h5:z", "--output", "o.h5", "--set", "run.dir=old"], 65,
                        r"good\.h5.*z"),
    "predict-shape": (["predict", "good.toml", "--inputs", "chunked.h5:x", "--output", "o.h5", "--set", "run.dir=old"], 78,
                      r"chunked\.h5:x.*\[1000\]"),
    "predict-nan": (["predict", "good.toml", "--inputs", "nan.h5:x", "--output", "o.h5", "--set", "run.dir=old"], 65, r"nan\.h5.*13"),
    "predict-output": (["predict", "good.toml", "--inputs", "good.h5:x", "--output", "no/folder/o.h5", "--set", "run.dir=old"],
                       74, r"no/folder/o\.h5"),
    "check-missing": (["check", "good.toml", "--set", "data.file=nowhere.h5"], 66, r"nowhere\.h5"),
    "check-memory": (["check", "huge.toml"], 71, r"huge\.toml.* need [0-9]+ GiB, available are [0-9]+ GiB"),
    "inspect-missing": (["inspect", "nowhere"], 66, r"nowhere"),
    "inspect-text": (["inspect", "text.h5"], 65, r"text\.h5"),
    "status-missing": (["status", "nowhere"], 66, r"nowhere"),
}
WITHOUT_MPI = {"inspect-missing", "inspect-text", "status-missing"}
problems = []


def judge(name, ranks, result, code, pattern):
    wrong = []
    errors = result.errors()
    if result.code != code:
        wrong.append(f"exit code {result.code}, expected {code}")
    if len(errors) != 1:
        wrong.append(f"{len(errors)} error messages")
    elif not re.search(pattern, errors[0], re.S):
        wrong.append(f"the message does not say /{pattern}/")
    if re.search(r"bug in Lepton|what\(\)|Segmentation|\[ 0\]", result.err):
        wrong.append("taken for a bug")
    if wrong:
        problems.append(result.told(f"---- {name} on {ranks or 'one'}: {', '.join(wrong)}"))


def bad_training(name, ranks):
    deck, sets, code, pattern = TRAINING[name]
    directory = f"run-{name}-{ranks}"
    shutil.copytree("old", directory)
    before = contents(directory)
    try:
        result = train(directory, deck=f"{deck}.toml", sets=sets, ranks=ranks, code=None, timeout=HANGS_AFTER_S)
    except AssertionError as hang:
        problems.append(f"---- {name} on {ranks or 'one'}: {hang}")
        return
    judge(name, ranks, result, code, pattern)
    if contents(directory) != before:
        problems.append(f"---- {name} on {ranks or 'one'}: the old run was touched")


def nothing_is_made(ranks):
    """What the deck alone shows is refused before anything is touched."""
    for name in ("layer-option",):
        deck, sets, code, pattern = TRAINING[name]
        judge(name, ranks, train(f"untouched-{ranks}", deck=f"{deck}.toml", sets=sets, ranks=ranks, code=None), code, pattern)
    assert not os.path.exists(f"untouched-{ranks}"), "a run directory for a deck that is refused"


def bad_command(name, ranks):
    words, code, pattern = OTHERS[name]
    try:
        judge(name, ranks, run(*words, ranks=ranks, code=None, timeout=HANGS_AFTER_S), code, pattern)
    except AssertionError as hang:
        problems.append(f"---- {name} on {ranks or 'one'}: {hang}")


def run_directory_in_use(ranks):
    directory = f"used-{ranks}"
    with training(directory, deck="good.toml", fault="point=unit,action=delay:20ms", sets={"train.epochs": 1000}) as process:
        wait_for_step(directory, 1, process)
        owner = rf"host {re.escape(socket.gethostname())}, pid \d+, (Slurm job \w+, )?since 20\S+Z, 1 ranks"
        judge("in use", ranks, train(directory, deck="good.toml", ranks=ranks, code=None), 73,
              rf"{directory}.*in use by {owner}")
        status = run("status", directory).out
        assert "running" in status, status
        assert process.poll() is None, "the job that had the directory was disturbed"


def refused(name, ranks, directory, *arguments, code, says, sets=None):
    before = contents(directory)
    result = train(directory, *arguments, deck="good.toml", ranks=ranks, sets=sets, code=None)
    judge(name, ranks, result, code, says)
    if contents(directory) != before:
        problems.append(f"---- {name} on {ranks or 'one'}: the run that was there was touched")


def killed_early(directory, *arguments, ranks, sets=None):
    """Killed before its first checkpoint."""
    train(directory, *arguments, deck="good.toml", ranks=ranks, sets=sets, code=137, fault="point=ledger,step=2,action=kill")
    assert len(ledger(directory)) == 1 and not checkpoints(directory), (ledger(directory), checkpoints(directory))


def begun_without_checkpoint(ranks):
    """What a run is stands from its first start on; the undisturbed run is `old`."""
    directory = f"begun-{ranks}"
    killed_early(directory, ranks=ranks)
    ways_out = r".*run\.dir.*--fresh"
    for name, value in (("optimizer.learning_rate", 0.01), ("run.seed", 4), ("train.unit_size", 4)):
        refused(name, ranks, directory, sets={name: value}, code=78, says=rf"{re.escape(name)}.*{directory}{ways_out}")
    refused("other data", ranks, directory, sets=file("other.h5"), code=78, says=rf"data.*{directory}{ways_out}")
    refused("--from into a run", ranks, directory, "--from", "old", code=64, says=rf"old.*{directory}{ways_out}")
    with open(f"{directory}/run.json", encoding="utf-8") as record:
        computes_with_avx512 = "avx512" in record.read()
    if computes_with_avx512:
        refused("class", ranks, directory, sets={"run.isa": "avx2"}, code=78, says=r"avx512.*avx2.*--accept-new-arithmetic")
    result = train(directory, deck="good.toml", ranks=ranks, sets={"checkpoint.keep": 2})
    assert "checkpoint.keep changed from 3 to 2" in result.err, result.told("a changed operational key is not noted")
    same_run(directory, "old", "after a kill before the first checkpoint")


def begun_from_another(ranks):
    """A requeued batch script names the same --from again; others may leave it out."""
    whole, parent, sets = f"whole-{ranks}", f"parent-{ranks}", {"run.seed": 8}
    train(parent, "--max-steps", 2, deck="good.toml")
    train(whole, "--from", parent, deck="good.toml", sets=sets)
    children = (f"with-{ranks}", "--from", parent), (f"without-{ranks}",)
    for directory, *_ in children:
        killed_early(directory, "--from", parent, ranks=ranks, sets=sets)
    train(parent, deck="good.toml")  # its newest checkpoint is another one now
    for directory, *again in children:
        other = {"sets": sets, "code": 64, "says": rf"old.*{directory}.*{parent}"}
        refused("another --from", ranks, directory, "--from", "old", **other)
        for _ in range(2):  # from the parent once more; then there is nothing left to do
            train(directory, *again, deck="good.toml", ranks=ranks, sets=sets)
            same_run(directory, whole, "after going on from its parent")
        refused("another --from", ranks, directory, "--from", "old", **other)


def run_directory_not_writable(ranks):
    write(f"a-file-{ranks}", "")
    for path in (f"a-file-{ranks}", f"a-file-{ranks}/below"):
        judge(path, ranks, train(path, deck="good.toml", ranks=ranks, code=None), 73, rf"a-file-{ranks}")
    if os.geteuid() != 0:
        os.makedirs(f"closed-{ranks}", stat.S_IRUSR | stat.S_IXUSR)
        judge("closed", ranks, train(f"closed-{ranks}", deck="good.toml", ranks=ranks, code=None), 73, rf"closed-{ranks}")


def bad_environment(ranks):
    judge("fault", ranks, run("train", "good.toml", ranks=ranks, fault="point=unti,action=kill", code=None), 64, r"unti.*unit")
    judge("fault", ranks, run("train", "good.toml", ranks=ranks, fault="point=unit", code=None), 64, r"LEPTON_FAULT")
    judge("nodes", ranks, run("train", "good.toml", ranks=ranks, per_node=0, code=None), 64, r"LEPTON_RANKS_PER_NODE")


def skipped_rows():
    """The rows 13 and 41 are left out: 58 samples, wherever they lie."""
    sets = {"data.file": "nan.h5", "data.bad_rows": "skip"}
    reference = train("skip", deck="good.toml", sets=sets)
    assert re.search(r"\b2\b.*rows", reference.err), reference.told("the skipped rows are not told")
    for ranks, per_node in ((3, None), (3, 1)):
        result = train(f"skip-{per_node}", deck="good.toml", sets=sets, ranks=ranks, per_node=per_node)
        same_run(f"skip-{per_node}", "skip")
        assert result.hash() == reference.hash(), result.told("bad_rows = skip")
    assert "samples=18" in open("skip/ledger.txt", encoding="utf-8").read(), "not 58 samples"


def main():
    make_files()
    make_decks()
    train("old", deck="good.toml")
    cases = list(TRAINING)
    if os.geteuid() == 0:
        cases.remove("unreadable")  # root reads everything
    in_parallel(bad_training, [(name, ranks) for name in cases for ranks in (None, 3)], workers=4)
    in_parallel(bad_command, [(name, ranks) for name in OTHERS for ranks in ((None,) if name in WITHOUT_MPI else (None, 3))],
                workers=4)
    in_parallel(lambda test, ranks: test(ranks), [(test, ranks) for ranks in (None, 3) for test in
                                                  (nothing_is_made, run_directory_in_use, run_directory_not_writable, bad_environment,
                                                   begun_without_checkpoint, begun_from_another)])
    skipped_rows()
    assert not problems, "\n".join(problems) + f"\n{len(problems)} problems"


main()
