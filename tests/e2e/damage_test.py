# SPDX-License-Identifier: Apache-2.0
"""What a restart finds: damaged checkpoints are named and heal from their parity; where that is too much, the one before is
used; with none left the run refuses (65) and
--fresh starts over, keeping the old run; changed mathematics are refused by name (78), changed operation is noted; --from
starts a new run from another's state; a recomputed step that differs from the ledger ends the run (70)."""
import json
import os
import re
import shutil

from common import checkpoints, contents, in_parallel, ledger, make_deck, make_digits, metrics, run, same_run, train, write

STOPPED_AT = 12


def flip(path):
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def truncate(path):
    os.truncate(path, os.path.getsize(path) - 1)


DAMAGES = {  # name: (file, what is done to it)
    "shard-flipped": ("shard-00000.h5", flip),
    "shard-truncated": ("shard-00000.h5", truncate),
    "shard-gone": ("shard-00000.h5", os.remove),
    "state-flipped": ("state.bin", flip),
    "manifest-gone": ("manifest.json", os.remove),
    "manifest-empty": ("manifest.json", lambda path: write(path, "")),
    "manifest-flipped": ("manifest.json", flip),
}


def copy_of_base(directory):
    shutil.copytree("base", directory)


def remove_parity(checkpoint, file):
    os.remove(f"{checkpoint}/{file}.parity")


def heals(damage, ranks):
    """Without a look back, and on disk too."""
    name = f"{damage}-heals"
    copy_of_base(name)
    file, damage = DAMAGES[damage]
    checkpoint = checkpoints(name)[STOPPED_AT]
    damage(f"{checkpoint}/{file}")
    inspected = run("inspect", checkpoint, code=65)
    assert "all of it heals" in inspected.out and f"heals: {file}" in inspected.out, inspected.told(name)
    evaluated = run("evaluate", "deck.toml", "--checkpoint", checkpoint, "--json")
    result = train(name, "--max-steps", STOPPED_AT + 1, ranks=ranks)
    log = open(f"{name}/log.txt", encoding="utf-8").read()
    for words in (f"step-{STOPPED_AT:08d} is damaged", f"healed {checkpoint}/{file}", f"continuing from {checkpoint}"):
        assert words in log and words in result.err, result.told(f"{name}: '{words}' is not in the log")
    assert contents(checkpoint) == contents(checkpoints("base")[STOPPED_AT]), "healed on disk, but not what it was"
    inspected = run("inspect", checkpoint)
    assert "intact" in inspected.out and re.search(rf"healed: \d\S+ step-{STOPPED_AT:08d}/{file}: ", inspected.out), inspected.told(name)
    assert "healed: " in run("inspect", name).out
    assert run("evaluate", "deck.toml", "--checkpoint", checkpoint, "--json").out == evaluated.out
    train(name)
    same_run(name, "reference", name)


def newest_damaged(name, ranks):
    copy_of_base(name)
    file, damage = DAMAGES[name]
    damage(f"{checkpoints(name)[STOPPED_AT]}/{file}")
    remove_parity(checkpoints(name)[STOPPED_AT], file)
    before = sorted(checkpoints(name))[-2]
    result = train(name, ranks=ranks)
    log = open(f"{name}/log.txt", encoding="utf-8").read()
    for words in (f"step-{STOPPED_AT:08d} is damaged", file, "continuing from", f"step-{before:08d}"):
        assert words in log and words in result.err, result.told(f"{name}: '{words}' is not in the log")
    same_run(name, "reference", name)
    assert result.hash() == reference_hash and max(checkpoints(name)) == 18, result.told(name)


def all_damaged():
    copy_of_base("all")
    for path in checkpoints("all").values():
        flip(f"{path}/shard-00000.h5")
        remove_parity(path, "shard-00000.h5")
    before = contents("all")
    for ranks in (None, 3):
        result = train("all", ranks=ranks, code=65)
        assert len(result.errors()) == 1 and "every checkpoint is damaged" in result.errors()[0], result.told("all damaged")
        assert all(f"step-{step:08d}" in result.errors()[0] for step in checkpoints("all")), result.told("not all are named")
    assert contents("all") == before, "the old run was touched"
    result = train("all", "--fresh", ranks=2)
    assert result.hash() == reference_hash, result.told("--fresh")
    same_run("all", "reference", "--fresh")
    assert contents("all/previous-1") == before, "--fresh does not keep the old run"
    before = contents("all")
    train("all", "--fresh", sets={"data.file": "nowhere.h5"}, code=66)
    assert contents("all") == before, "the old run is moved before it is known whether the new one can start"
    train("all", "--fresh", "--max-steps", 2)
    assert len(ledger("all")) == 2 and len(ledger("all/previous-2")) == 18 and "previous-1" in os.listdir("all")


def keys_changed():
    copy_of_base("keys")
    before = contents("keys")
    for key, value in {"optimizer.learning_rate": 0.01, "run.seed": 4, "train.unit_size": 20, "train.batch_size": 64,
                       "data.normalize": '"unit"', "optimizer.clip_norm": 0,
                       "data.train.rows": "[0, 600]"}.items():
        for ranks in (None, 2) if key == "run.seed" else (None,):
            result = train("keys", sets={key: value}, ranks=ranks, code=78)
            assert len(result.errors()) == 1 and key in result.errors()[0], result.told(key)
    assert contents("keys") == before, "a refused start changed the run"
    result = train("keys", sets={"train.threads": 2, "checkpoint.keep": 2, "balance.policy": '"static"'})
    for key in ("train.threads", "checkpoint.keep", "balance.policy"):
        assert f"{key} changed from" in result.err, result.told(f"{key} is not noted")
    same_run("keys", "reference", "other operational keys")
    assert len(checkpoints("keys")) == 2


def changed_data():
    copy_of_base("data")
    import h5py
    shutil.copy("digits.h5", "other.h5")
    with h5py.File("other.h5", "r+") as file:
        file["train/images"][5, 0, 0] += 1
    result = train("data", sets={"data.file": "other.h5"}, code=78)
    assert len(result.errors()) == 1 and "data" in result.errors()[0], result.told("other data")


def from_another_run():
    before = contents("base")
    result = train("child", "--from", "base", sets={"optimizer.learning_rate": 0.001}, ranks=2)
    assert ledger("child")[0].startswith("step=1 ") and result.hash() != reference_hash, result.told("--from")
    assert json.load(open("child/run.json", encoding="utf-8"))["parent"] == "base"
    again = train("again", "--from", checkpoints("base")[STOPPED_AT], sets={"optimizer.learning_rate": 0.001})
    assert again.hash() == result.hash(), "a run directory and its newest checkpoint are not the same parent"
    first = lambda name: ledger(name)[0].split()[4]  # the loss of step 1, from the parent's parameters
    assert first("child") == first("again") != first("reference"), "the parameters are not the parent's"
    assert contents("base") == before, "--from changed the parent"
    result = train("child", "--fresh", "--from", "child")  # from the run that goes aside
    assert first("child") != first("child/previous-1") and result.hash() != again.hash(), result.told("--fresh --from")
    result = train("orphan", "--from", "nowhere", code=66)
    assert len(result.errors()) == 1 and "nowhere" in result.errors()[0], result.told("--from nowhere")


def ledger_differs(ranks):
    """Lines behind the state are there after a kill; one of them is not what the restart computes."""
    name = f"ledger-{ranks}"
    sets = {"checkpoint.every": '"6 steps"'}
    train(name, sets=sets, code=137, fault="point=unit,action=delay:5ms;point=ledger,step=11,action=kill")
    lines = ledger(name)
    assert len(lines) == 10 and set(checkpoints(name)) <= {6}, (len(lines), checkpoints(name))
    shutil.copytree(name, f"{name}-equal")
    lines[7] = re.sub(r"(gradient=)(.)", lambda found: found[1] + ("1" if found[2] != "1" else "2"), lines[7])
    write(f"{name}/ledger.txt", "".join(lines))
    result = train(name, ranks=ranks, sets=sets, code=70)
    errors = result.errors()
    assert len(errors) == 1 and "step 8" in errors[0] and "'gradient'" in errors[0], result.told("the ledger differs")
    train(f"{name}-equal", ranks=ranks)
    same_run(f"{name}-equal", "reference", "after equal lines")


def torn_ledger():
    copy_of_base("torn")
    with open("torn/ledger.txt", "a", encoding="utf-8") as file:
        file.write("step=13 epoch=2 sam")
    with open("torn/metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"kind": "train", "step": 13, "loss": 9}\n{"kind": "tra')
    train("torn")
    same_run("torn", "reference", "after a torn line")
    assert all(line.get("loss") != 9 for line in map(json.loads, open("torn/metrics.jsonl", encoding="utf-8")))


def line_missing():
    """The state holds its last line and appends it when it is missing."""
    copy_of_base("missing")
    write("missing/ledger.txt", "".join(ledger("base")[:-1]))
    train("missing", ranks=2)
    same_run("missing", "reference", "after a missing line")


def main():
    global reference_hash
    make_digits()
    make_deck()
    reference_hash = train("reference").hash()
    train("base", "--max-steps", STOPPED_AT, fault="point=unit,action=delay:5ms")
    assert STOPPED_AT in checkpoints("base") and len(checkpoints("base")) > 1, checkpoints("base")
    in_parallel(newest_damaged, [(name, 3 if i % 3 == 0 else None) for i, name in enumerate(DAMAGES)])
    in_parallel(heals, [(name, 3 if i % 3 == 1 else None) for i, name in enumerate(DAMAGES) if name != "shard-gone"])  # of several blocks
    in_parallel(lambda test, *arguments: test(*arguments),
                [(all_damaged,), (keys_changed,), (changed_data,), (ledger_differs, None), (ledger_differs, 3),
                 (torn_ledger,), (line_missing,)])
    from_another_run()


main()
