# SPDX-License-Identifier: Apache-2.0
"""A checkpoint that cannot be written costs nothing but itself: training goes on, older checkpoints stay intact, the bits
are the same. By failpoint everywhere; where a small file system can be mounted, on a disk that is really full."""
import os
import subprocess

from common import checkpoints, in_parallel, make_deck, make_digits, metrics, run, same_run, train

SLOW = "point=unit,action=delay:5ms"
hashes = {}


def intact(directory):
    for path in checkpoints(directory).values():
        run("inspect", path)
    left = [name for name in os.listdir(f"{directory}/checkpoints") if name.endswith(".tmp")]
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
    assert 18 in checkpoints(directory) and len(checkpoints(directory)) == 5, f"{directory}: {checkpoints(directory)}"
    intact(directory)


def full(ranks):
    """A file system with room for two checkpoints and a half: later ones fail, the last one's failure is an error (74)."""
    directory = f"full-{ranks}"
    os.makedirs(f"{directory}/checkpoints")
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", f"{directory}/checkpoints"]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        print(f"cannot mount a small file system here: {' '.join(mount)}")
        return
    try:
        result = train(directory, ranks=ranks, fault=SLOW, code=74)
        assert "No space left" in result.err and "training goes on" in result.err, result.told(directory)
        assert len(result.errors()) == 1 and "step 18" in result.errors()[0], result.told(directory)
        same_run(directory, "reference", directory)
        assert sorted(checkpoints(directory)) == [3, 6], checkpoints(directory)
        intact(directory)
        subprocess.run(["mount", "-o", "remount,size=10m", f"{directory}/checkpoints"], check=True)
        result = train(directory, ranks=ranks)
        assert "step-00000006" in result.err and result.hash() == hashes["reference"], result.told(directory)
        same_run(directory, "reference", "after room was made")
        assert 18 in checkpoints(directory) and metrics(directory, "test") == metrics("reference", "test")
        intact(directory)
    finally:
        subprocess.run(["umount", f"{directory}/checkpoints"], check=True)


def main():
    make_digits()
    make_deck()
    hashes["reference"] = train("reference", fault=SLOW).hash()
    in_parallel(failing, [("checkpoint.write", None, None, 0), ("checkpoint.write", 3, None, 0),
                          ("checkpoint.sync", 2, None, 0), ("checkpoint.manifest", 2, 1, 0),
                          ("checkpoint.rename", None, None, 0)])
    in_parallel(full, [(None,), (2,)])


main()
