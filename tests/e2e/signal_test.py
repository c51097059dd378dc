# SPDX-License-Identifier: Apache-2.0
"""Stopping and going on: SIGUSR1 to mpirun or to a lone process, SIGTERM and SIGINT to a lone process end the run with 75
and a saved state; --max-steps ends it with 0; each run then goes on to the bits of the run that was never stopped. A
stop inside an evaluation leaves it to the restart, which does it first."""
import json
import signal
import subprocess
import time

from common import (LEPTON, SMALL, checkpoints, ended, in_parallel, ledger, make_deck, make_digits, metrics, same_run,
                    train, training, wait_for_step)

SLOW = "point=unit,action=delay:15ms"
STEPS = 18
AT_THE_END = {"checkpoint.every": '"end"'}  # nothing but the stop itself saves
hashes = {}  # of the runs that are never stopped


def goes_on(directory, reference, deck, **how):
    result = train(directory, deck=deck, sets=AT_THE_END, **how)
    same_run(directory, reference, "after going on")
    assert result.hash() == hashes[reference], result.told(f"{directory}: another parameters_hash")
    assert "continuing from" in result.err, result.told("not continued")


def stopped(directory, sign, ranks, per_node, then_ranks):
    with training(directory, ranks=ranks, per_node=per_node, sets=AT_THE_END, fault=SLOW) as process:
        wait_for_step(directory, 3, process)
        process.send_signal(sign)
        result = ended(process)
    assert result.code == 75, result.told(f"{directory}: 75 expected")
    step = len(ledger(directory))
    assert 3 <= step < STEPS, result.told(f"{directory}: stopped after step {step}")
    assert list(checkpoints(directory)) == [step], f"{directory}: {checkpoints(directory)}, stopped after step {step}"
    status = json.loads(subprocess.run([LEPTON, "status", directory, "--json"], capture_output=True, check=True).stdout)
    assert status["state"] == "stopped" and status["step"] == step, status
    goes_on(directory, "reference", "deck.toml", ranks=then_ranks)


def counted(directory, ranks):
    for step in (7, 8, 5):  # the last is behind already: nothing to do, and no error
        result = train(directory, "--max-steps", step, ranks=ranks, sets=AT_THE_END)
        assert len(ledger(directory)) == max(7, step) if step > 5 else 8, result.told(f"--max-steps {step}")
        ranks = 3 if ranks is None else None
    goes_on(directory, "reference", "deck.toml", ranks=ranks)


def in_evaluation(directory, ranks):
    """The test split takes three rounds, of which the delay makes each long; the stop comes inside the second."""
    fault = "point=evaluate,step=6,action=delay:15ms"
    with training(directory, deck="parts.toml", ranks=ranks, sets=AT_THE_END, fault=fault) as process:
        wait_for_step(directory, 6, process)
        time.sleep(0.05)
        process.send_signal(signal.SIGUSR1)
        result = ended(process)
    assert result.code == 75, result.told("75 expected")
    assert len(ledger(directory)) == 6 and list(checkpoints(directory)) == [6], result.told(str(checkpoints(directory)))
    assert not [line for line in metrics(directory, "test") if line["step"] == 6], "the evaluation was not abandoned"
    goes_on(directory, "parts", "parts.toml")
    assert metrics(directory, "test") == metrics("parts", "test"), "the evaluations differ"


def main():
    make_digits()
    make_deck()
    hashes["reference"] = train("reference").hash()
    # Units of 4: a round of an evaluation has 128 samples, the test split 359.
    make_deck("parts.toml", SMALL, train="[train]\nbatch_size = 60\nunit_size = 4\nthreads = 1\n",
              more='[evaluation]\nevery = "6 steps"\n')
    hashes["parts"] = train("parts", deck="parts.toml").hash()
    in_parallel(stopped, [("usr1", signal.SIGUSR1, 3, None, None), ("usr1-nodes", signal.SIGUSR1, 3, 1, 2),
                          ("usr1-alone", signal.SIGUSR1, None, None, 2), ("term-alone", signal.SIGTERM, None, None, None),
                          ("int-alone", signal.SIGINT, None, None, 3)])
    in_parallel(counted, [("counted", None), ("counted-3", 3)])
    in_parallel(in_evaluation, [("evaluation", None), ("evaluation-2", 2)])


main()
