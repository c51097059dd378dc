# SPDX-License-Identifier: Apache-2.0
"""The watchdog: a thread that hangs and a process that is stopped are named, on any rank, the job ends with 75 and goes on from
there; a job that is suspended as a whole for longer than the limit is left alone, and so is who waits for a slow disk."""
import os
import re
import signal
import time

from common import digits_reference, ended, rank_pids, run, run_cases, same_run, train, training, wait_for_step

LIMIT = {"run.watchdog": "2s"}
KEEPS = {"balance.policy": "static"}  # on a busy machine a late rank's units would go to others, and its fault with them
# Every unit takes longer, so that a signal finds the run in its middle.
SLOW = "point=unit,action=delay:20ms"


def goes_on(name):
    result = train(name, ranks=2)
    assert result.hash() == reference, result.told(name)
    same_run(name, "reference", name)


def hangs(name, point, rank, ranks, per_node=None):
    result = train(name, ranks=ranks, per_node=per_node, sets={**LIMIT, **KEEPS}, code=75,
                   fault=f"point={point},rank={rank},step=7,action=hang")
    assert re.search(rf"rank {rank} has made no progress for \d+ s", result.err), result.told(name)
    assert "stack of thread" in result.err and "lepton" in result.err.split("stack of thread")[1], result.told("no stack")
    goes_on(name)


def rank_of(pid):
    with open(f"/proc/{pid}/environ", "rb") as file:
        return int(re.search(rb"OMPI_COMM_WORLD_RANK=(\d+)", file.read()).group(1))


def stopped(name, rank, per_node=None):
    with training(name, ranks=3, per_node=per_node, sets=LIMIT, fault=SLOW) as process:
        wait_for_step(name, 5, process)
        pid = next(pid for pid in rank_pids(process) if rank_of(pid) == rank)
        os.kill(pid, signal.SIGSTOP)
        result = ended(process)
    assert result.code == 75, result.told(name)
    # On other nodes one that has lent it units cannot come either.
    told = rf"rank {rank} did not come \(process {pid} is stopped\)" if per_node is None else rf"ranks? (\d, )*{rank} did not come"
    assert re.search(told, result.err), result.told(f"{name}: not '{told}'")
    goes_on(name)


def suspended(name):
    """Longer than the limit, all of it."""
    with training(name, ranks=2, sets=LIMIT, fault=SLOW) as process:
        wait_for_step(name, 5, process)
        ranks = rank_pids(process)
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for pid in ranks:
                os.kill(pid, number)
            time.sleep(6 if number == signal.SIGSTOP else 0)
        result = ended(process)
    assert result.code == 0 and result.hash() == reference, result.told(name)
    same_run(name, "reference", name)


def slow_disk(name):
    """A write that hangs for longer than the limit, in the middle and at the end: training goes on, and waits only at its end."""
    result = train(name, ranks=2, per_node=1, sets={**LIMIT, "checkpoint.every": "5 steps"},
                   fault="point=checkpoint.sync,count=2,action=delay:1500ms")
    assert result.hash() == reference, result.told(name)
    same_run(name, "reference", name)


def switched_off(name):
    with training(name, ranks=2, sets={"run.watchdog": "off"}, fault="point=check,rank=1,step=7,action=hang") as process:
        wait_for_step(name, 6, process)
        time.sleep(4)
        assert process.poll() is None, ended(process).told("ended although nobody watches")


def main():
    global reference
    reference = digits_reference()
    run_cases([
        (hangs, "hang-alone", "unit", 0, None), (hangs, "hang-0", "check", 0, 3), (hangs, "hang-2", "optimizer", 2, 3),
        (hangs, "hang-node", "unit", 1, 2, 1),
        (stopped, "stop-0", 0), (stopped, "stop-1", 1), (stopped, "stop-node", 2, 1),
        (suspended, "suspended"), (slow_disk, "slow-disk"), (switched_off, "off")])


main()
