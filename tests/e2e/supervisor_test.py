# SPDX-License-Identifier: Apache-2.0
"""tools/lepton-run: crashes, hangs and a killed launcher are followed by another start and the same bits; a stop saves and ends
with 75; errors that would come again, and runs that come no further, end it; nothing is left behind."""
import contextlib
import os
import re
import signal
import subprocess
import time

from common import (LEPTON, SOURCE_DIR, TIMEOUT_S, Result, digits_reference, ended, environment, ledger, popen, run, run_cases,
                    same_run, train, wait_for_step, wait_until)

SLOW = "point=unit,action=delay:10ms"


def command_of(name, ranks, *arguments):
    return [os.path.join(SOURCE_DIR, "tools", "lepton-run"), "-n", str(ranks), "--launcher", "mpirun --oversubscribe", LEPTON,
            "train", "deck.toml", "--set", f"run.dir={name}", *arguments]


@contextlib.contextmanager
def supervised(name, ranks=2, fault=None, arguments=()):
    process = popen(command_of(name, ranks, *arguments), environment(fault=fault))
    try:
        yield process
    finally:
        process.kill()
        for pid in pids_of(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()


def result_of(process):
    out, err = process.communicate(timeout=TIMEOUT_S)
    return Result(process.args, process.returncode, out, err)


def pids_of(name, program=None):
    """The ranks of a run, or its launcher. (Other tests may have runs of this name, elsewhere.)"""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{entry}/cmdline", "rb") as file:
            words = file.read().decode(errors="replace").split("\0")
            here = os.readlink(f"/proc/{entry}/cwd") == os.getcwd()
            if here and f"run.dir={name}" in words and os.path.basename(words[0]) == (program or "lepton"):
                found.append(int(entry))
    return found


def complete(name, result, starts):
    assert result.code == 0 and result.hash() == reference, result.told(name)
    same_run(name, "reference", name)
    lines = open(f"{name}/supervisor.log", encoding="utf-8").read().splitlines()
    assert len(lines) == starts and all(re.match(r"\d{4}-\d\d-\d\dT\S+ lepton-run: ", line) for line in lines), lines
    assert all(f"start {i + 1} " in line for i, line in enumerate(lines)), lines
    assert not pids_of(name) and not pids_of(name, "mpirun"), "something is left"
    return lines


def crashes(name, action, ranks):
    fault = f"{SLOW};point=unit,rank=0,restart=0,step=6,action={action};point=checkpoint.sync,restart=1,count=5,action={action}"
    with supervised(name, ranks, fault) as process:
        lines = complete(name, result_of(process), 3)
    told = {"kill": "died of SIGKILL", "segv": "died of SIGSEGV", "hang": "ended with 75"}[action]
    assert told in lines[0] and "starting again" in lines[0], lines


def hangs(name):
    with supervised(name, 2, f"{SLOW};point=check,rank=1,restart=0,step=6,action=hang", ("--set", "run.watchdog=2s")) as process:
        lines = complete(name, result_of(process), 2)
    assert "ended with 75" in lines[0], lines


def launcher_killed(name):
    with supervised(name, 3, SLOW) as process:
        wait_for_step(name, 5, process)
        os.kill(pids_of(name, "mpirun")[0], signal.SIGKILL)
        lines = complete(name, result_of(process), 2)
    assert "died of SIGKILL" in lines[0], lines


def stopped(name, number):
    with supervised(name, 2, "point=unit,action=delay:20ms") as process:
        wait_for_step(name, 4, process)
        process.send_signal(number)
        result = result_of(process)
    assert result.code == 75, result.told(name)
    step = int(re.search(r"as it was told to; the state of step (\d+) is saved", result.err).group(1))
    assert step == len(ledger(name)), result.told(f"{name}: not all steps are saved")
    with supervised(name, 3) as process:
        result = result_of(process)
    assert result.code == 0 and result.hash() == reference, result.told(name)
    same_run(name, "reference", name)


def stopped_twice(name):
    """At once: what is lost is what came after the last checkpoint."""
    with supervised(name, 2, "point=unit,action=delay:20ms;point=checkpoint.sync,count=3,action=hang") as process:
        wait_for_step(name, 6, process)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        result = result_of(process)
    assert result.code == 75 and "again: ending it at once" in result.err, result.told(name)
    assert not pids_of(name), "something is left"


def poison(name):
    with supervised(name, 2, "point=unit,step=2,action=kill") as process:
        result = result_of(process)
    assert result.code == 74 and "3 starts in a row made no new step: giving up" in result.err, result.told(name)
    assert len(open(f"{name}/supervisor.log", encoding="utf-8").read().splitlines()) == 4, "the first one made a step"


def final_errors(name):
    for arguments, code in ((("--set", "train.epochs=none"), 78), (("--set", "data.file=nowhere.h5"), 66)):
        with supervised(name, 2, arguments=arguments) as process:
            result = result_of(process)
        assert result.code == code and "starting again" not in result.err, result.told(name)
    usage = subprocess.run([command_of(name, 2)[0], LEPTON, "check", "deck.toml"], capture_output=True, text=True)
    assert usage.returncode == 64 and "lepton train DECK" in usage.stderr, usage


def main():
    global reference
    reference = digits_reference()
    run_cases([
        (crashes, "kill", "kill", 2), (crashes, "segv", "segv", 1), (hangs, "hang"), (launcher_killed, "launcher"),
        (stopped, "int", signal.SIGINT), (stopped, "usr1", signal.SIGUSR1),
        (stopped_twice, "twice"), (poison, "poison"), (final_errors, "final")])
    wait_until(lambda: not pids_of("kill"), "the end")


main()
