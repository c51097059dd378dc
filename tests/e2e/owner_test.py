# SPDX-License-Identifier: Apache-2.0
"""Two jobs on one run directory: the second exits with 73 and names the first, with and without locks of the file system; a
job that was stopped, replaced and woken writes nothing any more and leaves with 73; the run is none the worse."""
import os
import re
import signal

from common import contents, digits_reference, ended, ledger, rank_pids, run, run_cases, same_run, train, training, wait_for_step

SLOW = "point=unit,action=delay:20ms"
NO_LOCKS = "point=owner.lock,action=error"


def second_job(name, fault):
    slower = "point=unit,action=delay:100ms"  # so that it lasts until the second one has been refused
    with training(name, ranks=2, fault=f"{slower};{fault}") as process:
        wait_for_step(name, 2, process)
        refused = train(name, ranks=2, code=73, fault=fault)
        assert re.search(r"in use by host \S+, pid \d+.*, 2 ranks", refused.err), refused.told(name)
        result = ended(process)
    assert result.code == 0 and result.hash() == reference, result.told(name)
    same_run(name, "reference", name)


def replaced(name, ranks):
    """Where no lock tells, who is silent is taken for dead."""
    with training(name, ranks=ranks, fault=f"{SLOW};{NO_LOCKS}", sets={"run.watchdog": "off"}) as process:
        wait_for_step(name, 4, process)
        pids = rank_pids(process)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        second = train(name, ranks=3, fault=NO_LOCKS)
        assert "was not given back by host" in second.err, second.told(name)
        before = contents(name)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        first = ended(process)
    assert first.code == 73 and "this job was replaced by host" in first.err, first.told(name)
    assert contents(name) == before, "a job that was replaced has written"
    assert second.hash() == reference
    same_run(name, "reference", name)


def compared():
    """`compare` on what the others left."""
    same = run("compare", "reference", "lock")
    assert "the same in all 18 steps" in same.out, same.told("compare")
    train("other", sets={"run.seed": 4})
    parted = run("compare", "reference", "other", code=1)
    assert "part at step 1:" in parted.out and re.search(r"run.seed +3 +\| +4", parted.out), parted.told("compare")
    train("reduced", sets={"run.seed": 4}, ranks=2)
    assert '"same": true' in run("compare", "other", "reduced", "--json").out
    assert "there is no ledger" in run("compare", "reference", "nowhere", code=66).err


def main():
    global reference
    reference = digits_reference()
    run_cases([
        (second_job, "lock", ""), (second_job, "no-lock", NO_LOCKS), (replaced, "replaced", 2), (replaced, "alone", None)])
    compared()


main()
