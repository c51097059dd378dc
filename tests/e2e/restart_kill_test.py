# SPDX-License-Identifier: Apache-2.0
"""A run that cannot be lost: killed again and again at random places and started again on other numbers of ranks and
nodes, it ends with the ledger and the parameters of the undisturbed run, and its checkpoints are the same bytes.
LEPTON_TEST_SEED repeats a campaign, LEPTON_TEST_KILLS says how often in a row each of them kills (6)."""
import os
import random
import signal
import time

from common import (CONVOLUTIONAL, TRAIN, checkpoints, contents, ended, in_parallel, ledger, make_deck, make_digits, rank_pids,
                    run, same_run, train, training, wait_for_step, wait_until, write)

KILLS = int(os.environ.get("LEPTON_TEST_KILLS", 6))
STEPS_PER_EPOCH = 9
# Between two kills a run comes at most five steps further, and behind the last one there is something left to do.
EPOCHS = -(-(5 * KILLS + 6) // STEPS_PER_EPOCH)
STEPS = EPOCHS * STEPS_PER_EPOCH
# {point: passes per start up to which it kills}; each is passed on rank 0 in at most five steps so often, and the
# points of a step on every rank.
IN_STEPS = {"unit": 6, "forward": 6, "backward": 6, "accumulate": 60, "check": 4, "optimizer": 4}
ON_RANK_0 = {"snapshot": 2, "checkpoint.write": 4, "checkpoint.sync": 4, "checkpoint.manifest": 1,
             "checkpoint.rename": 1, "ledger": 4, "evaluate": 4}
# Every unit takes longer, so that checkpoints come when they are due and a signal finds the run in its middle.
SLOW = "point=unit,action=delay:4ms"
VERY_SLOW = "point=unit,action=delay:20ms"
seed = int(os.environ.get("LEPTON_TEST_SEED", random.randrange(10**6)))
print(f"LEPTON_TEST_SEED={seed} LEPTON_TEST_KILLS={KILLS}: {STEPS} steps")


def same_checkpoints(directory, reference):
    mine, theirs = checkpoints(directory), checkpoints(reference)
    common = sorted(mine.keys() & theirs.keys())
    assert STEPS in common and len(common) >= 2, f"{directory} has {sorted(mine)}, {reference} has {sorted(theirs)}"
    for step in common:
        a, b = contents(mine[step]), contents(theirs[step])
        assert a.keys() == b.keys(), f"{directory}, step {step}: {sorted(a)} against {sorted(b)}"
        for name in a:
            assert a[name] == b[name], f"{directory}, step {step}: {name} differs from {reference}'s"


def random_job(chance):
    ranks = chance.choice([None, 2, 3, 4])
    return ranks, None if ranks is None else chance.choice([None, 1, 2])


def killed_by_failpoint(directory, chance, restart):
    ranks, per_node = random_job(chance)
    point, passes = chance.choice(sorted({**IN_STEPS, **ON_RANK_0}.items()))
    rank = chance.randrange(ranks or 1) if point in IN_STEPS else 0
    where = f"point={point},rank={rank},restart={restart},count={chance.randint(1, passes)}"
    print(f"{directory}: {ranks} ranks, {per_node} per node, {len(ledger(directory))} steps so far: {where}")
    os.makedirs(f"{directory}-shm", exist_ok=True)
    train(directory, ranks=ranks, per_node=per_node, code=137, fault=f"{SLOW};{where},action=kill",
          sets={"run.shm_dir": f"{directory}-shm"})
    left = [name for name in os.listdir(f"{directory}-shm") if "-state-" not in name]
    assert not left, f"a killed run leaves {left} beside its state"


def killed_by_signal(directory, chance, restart):
    ranks, per_node = random_job(chance)
    target = max(checkpoints(directory), default=0) + chance.randint(1, 5)
    with training(directory, ranks=ranks, per_node=per_node, fault=VERY_SLOW) as process:
        wait_for_step(directory, target, process)  # at once where the ledger is ahead of its checkpoint: killed at start
        time.sleep(chance.uniform(0, 0.1))
        wait_until(lambda: rank_pids(process), "ranks")
        os.kill(chance.choice(rank_pids(process)), signal.SIGKILL)
        result = ended(process)
    print(f"{directory}: {ranks} ranks, {per_node} per node, start {restart}: SIGKILL after step {len(ledger(directory))}")
    assert result.code != 0, result.told(f"{directory}: exit code after SIGKILL")


def campaign(directory, kill):
    chance = random.Random(f"{seed} {directory}")
    for restart in range(KILLS):
        kill(directory, chance, restart)
    assert len(ledger(directory)) < STEPS, f"{directory}: {len(ledger(directory))} steps after the last kill"
    result = train(directory, ranks=2, per_node=1, fault=SLOW)
    same_run(directory, "one")
    same_checkpoints(directory, "one")
    return result.hash()


def undisturbed(directory, ranks, per_node):
    return train(directory, ranks=ranks, per_node=per_node, fault=SLOW).hash()


def main():
    make_digits()
    make_deck(network=CONVOLUTIONAL, train=TRAIN.replace("epochs = 2", f"epochs = {EPOCHS}"),
              more='[evaluation]\nevery = "5 steps"\n')
    hashes = in_parallel(undisturbed, [("one", None, None), ("three", 3, None), ("four", 4, 1)])
    for directory in ("three", "four"):
        same_run(directory, "one")
        same_checkpoints(directory, "one")
    hashes += in_parallel(campaign, [("failpoints", killed_by_failpoint), ("more", killed_by_failpoint),
                                     ("signals", killed_by_signal)], workers=3)
    assert len(set(hashes)) == 1, hashes


main()
