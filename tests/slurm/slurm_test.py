# SPDX-License-Identifier: Apache-2.0
"""The scripts of jobs/ on a real Slurm (cluster.py): whatever ends the job, the run goes on and has the ledger and the parameters
of the undisturbed run. SLURM_SCENARIOS names some of them, default: time_limit; `all`: all. Prints a table."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.environ["SOURCE_DIR"], "tests", "e2e"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
os.environ.pop("LEPTON_TEST_SHM", None)  # each node has a /dev/shm of its own
from common import LEPTON, SKIPPED, SOURCE_DIR, ledger, make_deck, make_digits, train  # noqa: E402
import cluster as slurm  # noqa: E402

# Each of its 270 steps takes a tenth of a second or more, so that what ends a job finds the run in its middle.
TRAIN = """
[train]
epochs = 30
batch_size = 70
unit_size = 16
threads = 1
[checkpoint]
every = "2s"
[evaluation]
every = "end"
"""
SLOW = "point=unit,action=delay:{}ms"


class Scenario:
    """A run directory, the jobs that made it, and how long its steps take."""

    def __init__(self, cluster, name, unit_ms=40):
        self.cluster, self.name, self.jobs, self.more = cluster, name, [], {}
        self.notes_differ = False  # in the ledger; parameters are compared alone
        self.fault = SLOW.format(unit_ms)

    def submit(self, script, *options, words=()):
        job = self.cluster.sbatch(*options, os.path.join(SOURCE_DIR, "jobs", script), "deck.toml", "--set", f"run.dir={self.name}", *words,
                                  env=self.environment())
        self.jobs.append(job)
        return job

    def environment(self):
        return {"LEPTON": LEPTON, "LEPTON_FAULT": self.fault, **self.more}

    def reach(self, step, seconds=60):
        self.cluster.wait(lambda: len(ledger(self.name)) >= step, f"step {step} of {self.name}", seconds)

    def restarts(self):
        return sum(int(self.cluster.field(job, "Restarts") or 0) for job in self.jobs)

    def log(self):
        return "".join(path.read_text(errors="replace") for path in sorted(pathlib.Path(".").glob("*.log")) if any(
            f"-{job}.log" in path.name for job in self.jobs))

    def told(self, what):
        return f"{self.name}: {what}\n{self.log()[-6000:]}"

    def finished(self):
        with open("reference/ledger.txt", "rb") as a, open(f"{self.name}/ledger.txt", "rb") as b:
            same = a.read() == b.read() or self.notes_differ
        assert same, self.told("another ledger than the undisturbed run's")
        with open("reference/model.safetensors", "rb") as a, open(f"{self.name}/model.safetensors", "rb") as b:
            assert a.read() == b.read(), self.told("other parameters than the undisturbed run's")

    def complete(self, job, seconds=180):
        state = self.cluster.wait_state(job, "COMPLETED", "FAILED", "TIMEOUT", "NODE_FAIL", "CANCELLED", seconds=seconds)
        assert state == "COMPLETED", self.told(f"the job is {state}\n" + self.cluster.command("scontrol", "show", "job", job, check=False))
        self.finished()


def time_limit(cluster, name):
    """The signal before the limit saves; the job queues itself again and goes on."""
    run = Scenario(cluster, name, unit_ms=60)
    job = run.submit("cpu.sbatch", "--time=1", "--signal=B:USR1@40")  # Slurm looks at limits twice a minute, early
    run.reach(5)
    cluster.wait(lambda: "queueing job" in run.log(), "the job to queue itself again", 90)
    saved = int(re.search(r"the state of step (\d+) is saved", run.log()).group(1))
    run.fault = ""
    run.complete(job)
    assert run.restarts() >= 1 and saved > 0, run.told("the job did not start again")
    return run


def requeued(cluster, name):
    run = Scenario(cluster, name)
    job = run.submit("cpu.sbatch")
    run.reach(40)
    cluster.command("scontrol", "requeue", job)
    run.complete(job)
    assert run.restarts() == 1
    return run


def preempted(cluster, name, *options):
    run = Scenario(cluster, name)
    job = run.submit("preemptible.sbatch", "--nodes=4", *options, words=("--set", "checkpoint.every=2s"))
    run.reach(40)
    urgent = cluster.sbatch("--partition=urgent", "--nodes=4", "--ntasks-per-node=2", "--output=urgent.out", "--wrap", "sleep 2")
    cluster.wait_state(urgent, "COMPLETED", seconds=60)
    run.complete(job)
    assert run.restarts() == 1, run.told(f"{run.restarts()} restarts")
    return run


def without_grace(cluster, name):
    return preempted(cluster, name)


def with_grace(cluster, name):
    run = preempted(cluster, name, "--partition=graced", "--signal=B:USR1@5")
    assert "as it was told to; the state of step" in run.log(), run.told("it did not save in its grace time")
    return run


def node_lost(cluster, name, script):
    run = Scenario(cluster, name)
    job = run.submit(script, "--nodes=3")
    run.reach(40)
    lost = cluster.command("scontrol", "show", "hostnames", cluster.field(job, "NodeList")).split()[-1]
    cluster.kill_node(lost)
    try:
        run.complete(job)
    finally:
        cluster.revive_node(lost)
    return run


def node_lost_mpirun(cluster, name):
    run = node_lost(cluster, name, "cpu.sbatch")
    assert "starting again" in run.log() and run.restarts() == 0, run.told("it did not go on inside the allocation")
    return run


def node_lost_srun(cluster, name):
    return node_lost(cluster, name, "srun.sbatch")


def node_down(cluster, name):
    run = Scenario(cluster, name)
    job = run.submit("cpu.sbatch", "--nodes=3")
    run.reach(40)
    down = cluster.command("scontrol", "show", "hostnames", cluster.field(job, "NodeList")).split()[-1]
    cluster.command("scontrol", "update", f"NodeName={down}", "State=DOWN", "Reason=test")
    try:
        run.complete(job)
    finally:
        cluster.command("scontrol", "update", f"NodeName={down}", "State=RESUME", check=False)  # it may be back by itself
    return run


def other_nodes(cluster, name):
    """Each start on another number of nodes."""
    run = Scenario(cluster, name)
    for nodes, steps in ((1, 30), (4, 60), (2, None)):
        job = run.submit("cpu.sbatch", f"--nodes={nodes}", words=("--max-steps", str(steps)) if steps else ())
        state = cluster.wait_state(job, "COMPLETED", "FAILED", seconds=120)
        assert state == "COMPLETED" and (not steps or len(ledger(name)) == steps), run.told(f"the job is {state}")
    run.finished()
    return run


def by_srun(cluster, name):
    run = Scenario(cluster, name, unit_ms=60)
    job = run.submit("srun.sbatch", "--time=1", "--signal=B:USR1@40")
    cluster.wait(lambda: "queueing job" in run.log(), "the job to queue itself again", 90)
    run.complete(job)
    return run


def chain(cluster, name):
    """Short jobs, one after the other; the last ones find nothing to do."""
    run = Scenario(cluster, name, unit_ms=60)
    out = cluster.command(os.path.join(SOURCE_DIR, "jobs", "chain"), "4", "deck.toml", "--set", f"run.dir={name}",
                          env={**run.environment(), "SBATCH_TIMELIMIT": "1", "SBATCH_SIGNAL": "B:USR1@40"})
    run.jobs = out.split()
    for job in run.jobs:
        cluster.wait_state(job, "COMPLETED", "FAILED", "TIMEOUT", seconds=120)
    run.finished()
    return run


def evaluated(cluster, name):
    """A job evaluates what another one is training."""
    run = Scenario(cluster, name)
    job = run.submit("cpu.sbatch", "--nodes=1")
    cluster.wait(lambda: list(pathlib.Path(name, "checkpoints").glob("step-????????")), f"a checkpoint of {name}", 60)
    evaluation = run.submit("evaluate.sbatch")
    state = cluster.wait_state(evaluation, "COMPLETED", "FAILED", seconds=60)
    assert state == "COMPLETED" and "accuracy" in run.log(), run.told(f"the evaluation is {state}")
    assert cluster.field(job, "JobState") == "RUNNING", run.told("the run was over before it was evaluated")
    run.complete(job)
    return run


def with_devices(cluster, name, script, devices, *words):
    """Debug devices for GPUs, of which there are none; queued again in the middle."""
    run = Scenario(cluster, name)
    run.more = {"LEPTON_DEBUG_DEVICES": str(devices)}
    run.notes_differ = "balance.classes=free" in words  # the ledger says so; debug devices have the host's arithmetic
    job = run.submit(script, f"--gres=gpu:{devices}", "--nodes=2", "--ntasks-per-node=2", words=("--set", "train.device=debug", *words))
    run.reach(40)
    cluster.command("scontrol", "requeue", job)
    run.complete(job)
    assert run.restarts() == 1
    return run


def gpus(cluster, name):
    return with_devices(cluster, name, "gpu.sbatch", 2)


def mixed(cluster, name):
    run = with_devices(cluster, name, "mixed.sbatch", 1, "--set", "balance.classes=free")
    assert "more ranks than devices" in run.log(), run.told("it was not mixed")
    return run


SCENARIOS = {"time_limit": time_limit, "requeued": requeued, "without_grace": without_grace, "with_grace": with_grace,
             "node_lost_mpirun": node_lost_mpirun, "node_lost_srun": node_lost_srun, "node_down": node_down,
             "other_nodes": other_nodes, "by_srun": by_srun, "chain": chain, "evaluated": evaluated,
             "gpus": gpus, "mixed": mixed}


def main():
    if missing := slurm.missing():
        print(f"SKIPPED: {', '.join(missing)} not found (packages slurm-wlm, munge)")
        sys.exit(SKIPPED)
    names = os.environ.get("SLURM_SCENARIOS", "time_limit").split()
    names = list(SCENARIOS) if names == ["all"] else names
    make_digits()
    make_deck(train=TRAIN)
    train("reference")
    os.symlink(os.path.join(SOURCE_DIR, "tools"), "tools")  # jobs are submitted from the source's folder
    directory = f"/tmp/lepton-slurm-{os.getpid()}"
    failed = 0
    print(f"{'scenario':20}{'jobs':>5}{'restarts':>10}{'starts':>8}{'seconds':>9}  = G")
    with slurm.Cluster(directory) as cluster:
        for name in names:
            begin = time.monotonic()
            try:
                run = SCENARIOS[name](cluster, name)
                starts = len(re.findall(r'"begin"', pathlib.Path(name, "run.json").read_text()))
                print(f"{name:20}{len(run.jobs):5}{run.restarts():10}{starts:8}{time.monotonic() - begin:9.1f}  yes", flush=True)
            except (AssertionError, subprocess.SubprocessError) as error:
                failed += 1
                print(f"{name:20}{'':32}  NO: {error}", flush=True)
                cluster.command("scancel", "-u", cluster.command("id", "-un").strip(), check=False)
    shutil.rmtree(directory, ignore_errors=True)
    sys.exit(1 if failed else 0)


main()
