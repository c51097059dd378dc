# SPDX-License-Identifier: Apache-2.0
"""A checkpoint that cannot be written costs nothing but itself: training goes on, older checkpoints stay intact, the bits
are the same. By failpoint everywhere; where a small file system can be mounted, on a disk that is really full."""
import contextlib
import os
import subprocess
import time

from common import (checkpoints, ended, in_parallel, make_deck, make_digits, metrics, run, same_run, train, training,
                    wait_for_step)

SLOW = "point=unit,action=delay:5ms"
LONG = {"train.epochs": 6, "checkpoint.keep": 2}
hashes = {}


def intact(directory):
    for path in checkpoints(directory).values():
        run("inspect", path)
    left = [name for name in os.listdir(f"{directory}/checkpoints") if ".tmp" in name]
    assert not left, f"{directory}: {left} is left"


def failing(point, ranks, per_node, rank):
    """The second checkpoint fails on one rank."""
    directory = f"{point}-{ranks}-{per_node}"
    count = 5 if rank == 0 and point in ("checkpoint.write", "checkpoint.sync") else 2
    result = train(directory, ranks=ranks, per_node=per_node,
                   fault=f"{SLOW};point={point},rank={rank},count={count},action=error")
    assert "failpoint " + point in result.err and "training goes on" in result.err, result.told(directory)
    same_run(directory, "reference", directory)
    assert result.hash() == hashes["reference"], result.told(directory)
    assert 18 in checkpoints(directory) and 2 <= len(checkpoints(directory)) <= 5, f"{directory}: {checkpoints(directory)}"
    intact(directory)


@contextlib.contextmanager
def small_disk(path, size):
    os.makedirs(path)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "tmpfs", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


def can_mount():
    try:
        with small_disk("try", "100k"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def full_checkpoints(ranks):
    """Room for two checkpoints and a half: later ones fail, and the last one's failure is an error (74)."""
    directory = f"full-{ranks}"
    with small_disk(f"{directory}/checkpoints", "700k"):
        on_disk = {"run.keep_state": "false"}
        result = train(directory, ranks=ranks, fault=SLOW, code=74, sets=on_disk)
        assert "No space left" in result.err and "training goes on" in result.err, result.told(directory)
        assert len(result.errors()) == 1 and "step 18" in result.errors()[0], result.told(directory)
        same_run(directory, "reference", directory)
        assert len(checkpoints(directory)) == 2, checkpoints(directory)
        newest = max(checkpoints(directory))
        intact(directory)
        subprocess.run(["mount", "-o", "remount,size=10m", f"{directory}/checkpoints"], check=True)
        result = train(directory, ranks=ranks, sets=on_disk)
        assert f"step-{newest:08d}" in result.err and result.hash() == hashes["reference"], result.told(directory)
        same_run(directory, "reference", "after room was made")
        assert 18 in checkpoints(directory) and metrics(directory, "test") == metrics("reference", "test")
        intact(directory)


def fill(path):
    with open(path, "ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def full_run_directory(ranks):
    """Not a byte is left for a while, not even for the ledger: its lines wait until there is room again."""
    directory, fault = f"all-{ranks}", "point=unit,action=delay:10ms"
    with small_disk(directory, "2m"):
        with training(directory, ranks=ranks, fault=fault, sets=LONG) as process:
            wait_for_step(directory, 17, process)  # a page of the file is almost full
            for _ in range(40):  # again and again, as the run removes an old checkpoint meanwhile
                fill(f"{directory}/fill")
                time.sleep(0.03)
            os.remove(f"{directory}/fill")
            result = ended(process)
        assert result.code == 0 and "lines wait in memory" in result.err, result.told(directory)
        same_run(directory, "long", directory)
        assert result.hash() == hashes["long"] and 54 in checkpoints(directory), result.told(directory)
        run("inspect", directory)


def main():
    make_digits()
    make_deck()
    hashes["reference"] = train("reference", fault=SLOW).hash()
    in_parallel(failing, [("checkpoint.write", None, None, 0), ("checkpoint.write", 3, None, 0),
                          ("checkpoint.sync", 2, None, 0), ("checkpoint.manifest", 2, 1, 0),
                          ("checkpoint.rename", None, None, 0)])
    if not can_mount():
        print("cannot mount a small file system here: no disk is really full")
        return
    hashes["long"] = train("long", sets=LONG).hash()
    in_parallel(lambda test, ranks: test(ranks), [(full_checkpoints, None), (full_checkpoints, 2),
                                                  (full_run_directory, None), (full_run_directory, 2)])


main()
