# SPDX-License-Identifier: Apache-2.0
"""The state that stays in memory when the processes die: a killed run loses the step in flight and nothing else, on any number of
nodes that come back; where a part is gone or damaged, another node's, copies with parity or the newest checkpoint are used; a run
that ends leaves nothing."""
import os
import re
import shutil
import signal

from common import (DATA, SMALL, TRAIN, WIDE, checkpoints, ended, ledger, make_deck, make_digits, run, run_cases, same_run, train,
                    training, wait_for_step, write)

ADAM, SGD = "wide.toml", "small.toml"
hashes = {}


def memory(name):
    """A run's own directory of shared memory, without copies."""
    path = os.path.join(os.environ["LEPTON_TEST_SHM"], name)
    os.makedirs(path, exist_ok=True)
    return {"run.shm_dir": path, "run.redundancy": 0}


def files(name):
    path = memory(name)["run.shm_dir"]
    return sorted(os.path.join(path, file) for file in os.listdir(path))


def killed(name, deck, ranks, per_node, step, **sets):
    train(name, deck=deck, ranks=ranks, per_node=per_node, code=137, sets={**memory(name), **sets},
          fault=f"point=check,rank={(ranks or 1) - 1},step={step},action=kill")
    return len(ledger(name))


def goes_on(name, deck, ranks, per_node=None, expected=None, **sets):
    """`expected`: the step that is gone on from in memory; None: not from memory."""
    result = train(name, deck=deck, ranks=ranks, per_node=per_node, sets={**memory(name), **sets})
    found = re.search(r"continuing from the state of step (\d+), which the last start left in memory", result.err)
    assert (int(found.group(1)) if found else None) == expected, result.told(f"{name}: not from {expected}")
    ends_as_expected(name, deck, result)


def ends_as_expected(name, deck, result):
    assert result.hash() == hashes[deck], result.told(name)
    same_run(name, f"reference-{deck}", name)
    assert not files(name), f"{name}: the finished run leaves {files(name)}"


def other_nodes(name, deck, before, after):
    """Killed in step 8 on some nodes, gone on with on others from step 7, with no checkpoint at all."""
    assert killed(name, deck, *before, 8, **{"checkpoint.every": "end"}) in (6, 7)
    assert not checkpoints(name)
    goes_on(name, deck, *after, expected=7)


def killed_again(name):
    """Also while it recovers, and in the first step after it."""
    killed(name, ADAM, 3, 1, 5)
    for ranks, per_node, step in ((2, 1, 6), (2, 1, 6), (None, None, 9), (4, 2, 12)):
        killed(name, ADAM, ranks, per_node, step)
    goes_on(name, ADAM, 3, 1, expected=11)


def part_is_gone(name, deck, expected):
    """One node's memory wiped: parameters are on all nodes, moments only here."""
    killed(name, deck, 3, 1, 8)
    os.remove(files(name)[1])
    goes_on(name, deck, 2, expected=expected)


def all_is_gone(name):
    killed(name, ADAM, 3, 1, 8)
    for file in files(name):
        os.remove(file)
    goes_on(name, ADAM, 2)


def flip(path):
    """Bits all over it."""
    with open(path, "r+b") as file:
        for at in range(os.path.getsize(path) // 3, os.path.getsize(path), 40961):
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 4]))


def damaged(name, deck, whole_file, expected):
    """A flipped bit, or a file that is cut."""
    killed(name, deck, 2, 1, 8)
    path = files(name)[0]
    if whole_file:
        os.truncate(path, os.path.getsize(path) // 2)
    else:
        flip(path)
    goes_on(name, deck, 3, expected=expected)


def checkpoint_is_newer(name):
    """A stop saves, and leaves nothing in memory; so does a run that keeps nothing."""
    with training(name, deck=ADAM, ranks=2, sets=memory(name), fault="point=unit,action=delay:10ms") as process:
        wait_for_step(name, 4, process)
        assert len(files(name)) == 1, files(name)
        process.send_signal(signal.SIGUSR1)
        assert ended(process).code == 75
    assert not files(name)
    killed(name, ADAM, 2, None, 10, **{"run.keep_state": "false"})
    assert not files(name)
    goes_on(name, ADAM, 2)


def refused_and_fresh(name):
    """Changed mathematics are refused as with a checkpoint, and the state stays; --fresh removes it."""
    killed(name, ADAM, 2, None, 8)
    before = files(name)
    refused = train(name, deck=ADAM, ranks=2, code=78, sets={**memory(name), "optimizer.learning_rate": 0.5})
    assert "optimizer.learning_rate" in refused.err and files(name) == before, refused.told(f"{before}, {files(name)}")
    result = train(name, "--fresh", deck=ADAM, ranks=2, sets=memory(name))
    assert result.hash() == hashes[ADAM] and not files(name), result.told(f"{files(name)}")


def of_an_older_run(name):
    """What another machine has kept of a run that was started over is no state of the new one, although it has come further."""
    killed(name, ADAM, 2, None, 12, **{"run.seed": 9})
    old = files(name)[0]
    shutil.move(old, "elsewhere")
    train(name, "--fresh", "--max-steps", 9, deck=ADAM, sets={**memory(name), "checkpoint.every": "end"})
    assert len(ledger(name)) == 9
    killed(name, ADAM, 2, None, 15, **{"checkpoint.every": "end", "run.keep_state": "false"})  # its ledger has reached step 14
    shutil.move("elsewhere", old)
    goes_on(name, ADAM, 2)


def nodes_lost(name, nodes, redundancy, lost, after, rebuilt, damaged_node=None, device=None):
    """Killed in step 12 with a copy of every other step; all that some nodes had is gone. `rebuilt`: whether the copies give it back."""
    wanted = {"run.redundancy": redundancy, "run.redundancy_every": "2 steps", "checkpoint.every": "end"}
    sets = {"train.device": device} if device else {}
    train(name, deck=ADAM, ranks=nodes, per_node=1, code=137, sets={**memory(name), **wanted, **sets},
          fault=f"point=unit,action=delay:10ms;point=check,rank={nodes - 1},step=12,action=kill")
    assert len(files(name)) == (1 if device else 2) * nodes, files(name)
    if device:  # a start that dies before it has copies of its own leaves those that it went on from
        again = train(name, deck=ADAM, ranks=nodes, per_node=1, code=137, sets={**memory(name), **wanted, **sets}, fault="point=unit,action=kill")
        assert "which the last start left in memory" in again.err, again.told(name)
    for path in files(name):
        if re.search(rf"-1-({'|'.join(map(str, lost))})(-copy)?$", path):
            os.remove(path)
    if damaged_node is not None:
        flip(next(path for path in files(name) if path.endswith(f"-1-{damaged_node}-copy")))
    result = train(name, deck=ADAM, ranks=after, per_node=1, sets={**memory(name), **sets})
    text = (rf"continuing from the state of step (\d+), which the last start left in memory; the parts of {len(lost)} of its {nodes} nodes "
            r"come from the parity of others\." if lost else r"continuing from the state of step (\d+), which the last start left in memory\.")
    found = re.search(text, result.err)
    assert bool(found) == rebuilt, result.told(f"{name}: rebuilt {bool(found)}")
    assert not found or 1 <= int(found.group(1)) <= 11, result.told(name)
    ends_as_expected(name, ADAM, result)


def evaluation_due(name):
    """Killed in the evaluation after step 9: the restart does it, and the step is not made again."""
    train(name, deck=ADAM, ranks=2, code=137, sets={**memory(name), "checkpoint.every": "end"}, fault="point=evaluate,action=kill")
    goes_on(name, ADAM, 3, expected=9)


def main():
    make_digits()
    make_deck(ADAM, WIDE, DATA, TRAIN)
    make_deck(SGD, SMALL, DATA, TRAIN)
    for deck in (ADAM, SGD):
        hashes[deck] = train(f"reference-{deck}", deck=deck).hash()
    run_cases([
        (other_nodes, "shared", ADAM, (3, None), (2, 1)), (other_nodes, "nodes", ADAM, (4, 1), (3, 1)), (other_nodes, "sgd", SGD, (3, 1), (2, None)),
        (killed_again, "again"), (part_is_gone, "part-adam", ADAM, None), (part_is_gone, "part-sgd", SGD, 7), (all_is_gone, "all"),
        (damaged, "flipped-adam", ADAM, False, None), (damaged, "cut-adam", ADAM, True, None), (damaged, "cut-sgd", SGD, True, 7),
        (checkpoint_is_newer, "newer"), (refused_and_fresh, "refused"), (of_an_older_run, "older"), (evaluation_due, "evaluation"),
        (nodes_lost, "one-of-four", 4, 1, [1], 2, True), (nodes_lost, "first-of-two", 2, 1, [0], 3, True),
        (nodes_lost, "two-of-five", 5, 2, [1, 3], 1, True), (nodes_lost, "two-of-four", 4, 1, [0, 2], 2, False),
        (nodes_lost, "damaged-copy", 3, 1, [0], 2, False, 1), (nodes_lost, "whole-device", 1, 1, [], 2, True, None, "debug"),
        (nodes_lost, "device", 2, 1, [1], 2, True, None, "debug")])


main()
