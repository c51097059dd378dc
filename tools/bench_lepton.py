# SPDX-License-Identifier: Apache-2.0
"""Runs of build/lepton for tools/bench: throughput and time split of a training, memory of its ranks, and the
benchmarks of parts (build/lepton_benchmarks). Nothing here knows PyTorch."""
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
PHASES = ("compute", "sum", "update", "data", "saving", "wait", "other")


class Failed(Exception):
    """A run that gave no figure; the text says why."""


def mpi_environment():
    """As root in containers, more ranks than cores, nothing of other benchmarks."""
    environment = {k: v for k, v in os.environ.items() if k != "LEPTON_FAULT"}
    environment.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                       OMPI_MCA_rmaps_base_oversubscribe="1", HDF5_USE_FILE_LOCKING="FALSE")
    return environment


@contextlib.contextmanager
def training(program, deck, ranks, threads, settings, environment=None):
    """A training that goes on until it is stopped: yields (process of mpirun, run directory)."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="lepton-bench-"))
    run = folder / "run"
    every = {"run.dir": f'"{run}"', "train.threads": threads, "train.epochs": 100000, "evaluation.every": '"end"',
             "evaluation.keep_best": "false", "checkpoint.every": '"1h"', "checkpoint.keep": 1, **settings}
    command = ["mpirun", "--bind-to", "none", "-n", str(ranks), str(program), "train", str(deck)]
    for key, value in every.items():
        command += ["--set", f"{key}={value}"]
    with open(folder / "output", "w", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT,
                                   env={**mpi_environment(), **(environment or {})})
        try:
            yield process, run
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            shutil.rmtree(folder, ignore_errors=True)


def train_lines(run):
    """The metrics of training so far; the last line may be torn."""
    try:
        lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return [line for line in found if line.get("kind") == "train"]


def wait_for(process, run, condition, limit_s, what):
    end = time.monotonic() + limit_s
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            output = (run.parent / "output").read_text(encoding="utf-8", errors="replace")
            raise Failed(f"{what}: code {process.poll()}\n{output[-2000:]}")
        time.sleep(0.02)


def stop(process, run):
    """SIGUSR1: the state is saved and the ranks end with 75. Returns all that was printed."""
    process.send_signal(signal.SIGUSR1)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(120)
    output = (run.parent / "output").read_text(encoding="utf-8", errors="replace")
    if process.poll() != 75:
        raise Failed(f"the run did not end with 75 after SIGUSR1 but with {process.poll()}\n{output[-2000:]}")
    return output


def shares(output):
    """Percent of each phase from the closing summary: of the mean of all ranks, or of the only one."""
    rows = re.findall(rf"^ *(\d+ +\d+|mean) +\d+ +\S.*?((?: +[\d.]+){{{len(PHASES)}}}) \|.*\|$", output, re.M)
    if not rows:
        raise Failed("no closing summary in the output:\n" + output[-2000:])
    return dict(zip(PHASES, (float(x) for x in re.findall(r"[\d.]+", rows[-1][1]))))


def throughput(program, deck, ranks, threads, seconds, settings, environment=None):
    """Steady-state samples per second (median of the lines of metrics.jsonl, start-up left out) and phase shares."""
    with training(program, deck, ranks, threads, settings, environment) as (process, run):
        wait_for(process, run, lambda: len(train_lines(run)) > 1, 120, "training did not start")
        first = len(train_lines(run))
        time.sleep(seconds)
        wait_for(process, run, lambda: len(train_lines(run)) > first, 120, "training stood still")
        rates = [line["samples_per_second"] for line in train_lines(run)[first:]]
        return {"samples_per_second": statistics.median(rates), "windows": len(rates), "shares": shares(stop(process, run))}


def rank_processes(mpirun):
    """Process ids of the ranks: the children of mpirun that run the program."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            fields = (path / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            if int(fields[1]) == mpirun:
                found.append(int(path.name))
    return found


def proportional_bytes(pids):
    """PSS of all these processes together, as a whole and by kind (shared memory, anonymous, file)."""
    total = {"Pss": 0, "Pss_Shmem": 0, "Pss_Anon": 0, "Pss_File": 0}
    for pid in pids:
        with contextlib.suppress(OSError):
            text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
            for name in total:
                match = re.search(rf"^{name}:\s+(\d+) kB", text, re.M)
                total[name] += int(match.group(1)) * 1024 if match else 0
    return total


def largest(a, b):
    return b if a is None or b["Pss"] > a["Pss"] else a


def memory(program, deck, ranks, settings, seconds):
    """Largest PSS of all ranks while training, and while the checkpoint at the stop is written."""
    with training(program, deck, ranks, 1, settings) as (process, run):
        wait_for(process, run, lambda: train_lines(run), 600, "training did not start")
        pids = rank_processes(process.pid)
        during = None
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            during = largest(during, proportional_bytes(pids))
            time.sleep(0.2)
        process.send_signal(signal.SIGUSR1)
        saving = during
        while process.poll() is None:
            saving = largest(saving, proportional_bytes(pids))
            time.sleep(0.02)
        if process.poll() != 75:
            raise Failed(f"the run ended with {process.poll()}")
        return {"ranks": ranks, "training": during, "saving": saving}


def parts(program, pattern, repetitions=1, environment=None):
    """build/lepton_benchmarks: name -> list of results, one per repetition, in random order of runs."""
    command = [str(program), f"--benchmark_filter={pattern}", "--benchmark_format=json", "--benchmark_min_time=0.1",
               f"--benchmark_repetitions={repetitions}", "--benchmark_enable_random_interleaving=true"]
    if not pathlib.Path(program).is_file():
        raise Failed(f"{program} is missing: build with Google Benchmark (apt-get install libbenchmark-dev)")
    result = subprocess.run(command, capture_output=True, text=True, check=False,
                            env={**mpi_environment(), **(environment or {})})
    if result.returncode != 0:
        raise Failed(result.stderr[-2000:])
    found = {}
    for row in json.loads(result.stdout)["benchmarks"]:
        if row.get("run_type") == "iteration" and not row.get("error_occurred"):
            found.setdefault(row["run_name"], []).append(row)
    return found


def fma_gflops(program):
    """Best of ten: (one core, two cores); other processes only ever take away."""
    found = parts(program, "^FmaPeak", 10)
    best = {name: max(row["GFLOP/s"] for row in rows) for name, rows in found.items()}
    one = next(value for name, value in best.items() if name.endswith("threads:1"))
    two = next(value for name, value in best.items() if name.endswith("threads:2"))
    return one, two
