# SPDX-License-Identifier: Apache-2.0
"""Runs for tools/balance_bench: trainings whose ranks are made unequal by delays, what their steps took, whether their
bits are those of one rank, and what the best schedule of whole units would take."""
import dataclasses
import itertools
import json
import math
import os
import pathlib
import re
import signal
import statistics
import subprocess

from bench_lepton import Failed, mpi_environment, rank_processes

TIMEOUT_S = 180
QUIET = 0.003  # of the machine's time taken by its host: then sleeps of 8 ms take 8.14 ms in the mean; at 0.03 8.4, at 0.15 9.3
TRIES = 6
ROWS, CLASSES = 8192, 10
SIDES = {"tiny": 8, "images": 28}  # tiny ones, of which computing takes next to nothing, and such as MNIST's
DECK = """[data]
file = "random.h5"
train = {{ inputs = "train/{inputs}", targets = "train/labels", rows = [0, {rows}] }}
test = {{ inputs = "test/{inputs}", targets = "test/labels" }}
normalize = "unit"
[model]
layers = [{{ type = "flatten" }}, {layers}{{ type = "dense", units = {classes} }}]
[optimizer]
type = "adam"
[train]
epochs = {steps}
batch_size = {rows}
unit_size = {unit_size}
[evaluation]
every = "{evaluate}"
keep_best = false
[balance]
record_every = "1 steps"
[checkpoint]
every = "1h"
keep = 1
"""


@dataclasses.dataclass(frozen=True)
class Work:
    """What a training computes; its bits depend on nothing else. An epoch is one step, so that metrics.jsonl tells the
    time of each."""
    units: int
    steps: int
    unit_size: int = 4
    inputs: str = "tiny"
    hidden: tuple = (32,)
    evaluate: str = "end"

    def deck(self):
        layers = "".join(f'{{ type = "dense", units = {units}, activation = "relu" }}, ' for units in self.hidden)
        return DECK.format(inputs=self.inputs, rows=self.units * self.unit_size, layers=layers, classes=CLASSES, steps=self.steps,
                           unit_size=self.unit_size, evaluate=self.evaluate)


@dataclasses.dataclass
class Run:
    """A finished training, per step: the whole step and the part with units, in seconds, and its lines of balance."""
    whole_s: list
    units_s: list
    balance: list
    ledger: str
    hash: str
    directory: pathlib.Path
    stolen: float = 0.0  #: share of the machine's time that its host took away meanwhile
    same: bool = True  #: the bits of one rank with the static policy

    def after(self, warm_up):
        """Without the first steps, in which speeds are not known yet."""
        return dataclasses.replace(self, whole_s=self.whole_s[warm_up:], units_s=self.units_s[warm_up:],
                                   balance=self.balance[warm_up:])

    def moved(self):
        return sum(sum(line["given"]) for line in self.balance)


def make_data(path):
    """Random images, the same every time."""
    import h5py
    import numpy
    random = numpy.random.default_rng(1)
    with h5py.File(path, "w") as file:
        for split, rows in (("train", ROWS), ("test", 64)):
            for name, side in SIDES.items():
                file[f"{split}/{name}"] = random.integers(0, 256, (rows, side, side), dtype=numpy.uint8)
            file[f"{split}/labels"] = random.integers(0, CLASSES, rows, dtype=numpy.uint8)
            file[f"{split}/labels"][:CLASSES] = numpy.arange(CLASSES)


def delays_fault(delays_ms):
    """Each rank sleeps so long before each of its units."""
    return ";".join(f"rank={rank},point=unit,action=delay:{1000 * delay:.0f}us" for rank, delay in enumerate(delays_ms))


def best_s(units, unit_s):
    """When nodes that take so long for a unit can all be done with so many: the least time in which the whole units that
    each of them can finish are enough."""
    ends = sorted(k * s for s in unit_s for k in range(1, units + 1))
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        if sum(math.floor(ends[middle] / s + 1e-9) for s in unit_s) >= units:
            high = middle
        else:
            low = middle + 1
    return ends[low]


def median_interval(values):
    """Median, and the interval between order statistics that holds it with at least 95 %."""
    ordered, n = sorted(values), len(values)
    below, tail = 0, 0.0
    while below < n // 2 and tail + math.comb(n, below) / 2**n <= 0.025:
        tail += math.comb(n, below) / 2**n
        below += 1
    first = max(below - 1, 0)
    return statistics.median(ordered), ordered[first], ordered[n - 1 - first]


class Bench:
    """Starts trainings in one folder; keeps what one rank computes with the static policy, to compare bits with."""

    def __init__(self, build, folder):
        self.program = pathlib.Path(build).resolve() / "lepton"
        if not self.program.is_file():
            raise Failed(f"{self.program} is missing")
        self.folder = pathlib.Path(folder)
        self.references, self.compared, self.different, self.numbers = {}, 0, [], itertools.count()
        make_data(self.folder / "random.h5")

    def command(self, work, directory, ranks, policy, threads, wrapper):
        deck = self.folder / f"{directory.name}.toml"
        deck.write_text(work.deck(), encoding="utf-8")
        words = [str(self.program), "train", str(deck)]
        for key, value in (("run.dir", f'"{directory}"'), ("balance.policy", f'"{policy}"'), ("train.threads", threads)):
            words += ["--set", f"{key}={value}"]
        if ranks == 1 and not wrapper:
            return words
        return ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), *wrapper, *words]

    def run(self, work, ranks, policy, fault="", per_node=1, threads=1, wrapper=(), beside=None):
        """A training to its end, whose bits are compared. `beside` is called again and again with the ranks' processes."""
        directory = self.folder / f"run-{next(self.numbers)}"
        command = self.command(work, directory, ranks, policy, threads, list(wrapper))
        environment = {**mpi_environment(), "LEPTON_RANKS_PER_NODE": str(per_node)}
        if fault:
            environment["LEPTON_FAULT"] = fault
        told = f"LEPTON_RANKS_PER_NODE={per_node} LEPTON_FAULT='{fault}' {' '.join(command)}"
        before = cpu_times()
        output = finish(command, environment, told, beside)
        stolen, whole = (after - then for after, then in zip(cpu_times(), before))
        run = read(directory, output, told)
        run.stolen = stolen / max(whole, 1)
        if work in self.references:
            self.compare(run, self.references[work], told)
        return run

    def compare(self, run, reference, told):
        self.compared += 1
        run.same = run.ledger == reference.ledger and run.hash == reference.hash
        if not run.same:
            self.different.append(told)
            print(f"  OTHER BITS than one rank with the static policy:\n  {told}", flush=True)

    def quiet_run(self, *arguments):
        """The least disturbed of a few runs; the first that was not disturbed at all."""
        best = None
        for _ in range(TRIES):
            run = self.run(*arguments)
            if best is None or run.stolen < best.stolen:
                best = run
            if best.stolen <= QUIET:
                break
        return best

    def reference(self, work):
        """To be called before other runs of this work."""
        if work not in self.references:
            self.references[work] = self.run(work, 1, "static")


def cpu_times():
    """(what the host of a virtual machine took away, all) since the start, in ticks of all cores."""
    times = [int(word) for word in pathlib.Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:9]]
    return times[7], sum(times)


def finish(command, environment, told, beside):
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", start_new_session=True) as process:
        try:
            if beside:
                beside(process, lambda: rank_processes(process.pid))
            output, _ = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                output, _ = process.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                output, _ = process.communicate()
            raise Failed(f"still running after {TIMEOUT_S} s: {told}\n{output[-2000:]}") from None
    if process.returncode != 0:
        raise Failed(f"exit code {process.returncode}: {told}\n{output[-3000:]}")
    return output


def read(directory, output, told):
    hashed = re.search(r"parameters_hash: (\w+)", output)
    if not hashed:
        raise Failed(f"no parameters_hash: {told}\n{output[-2000:]}")
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    deck = (directory / "deck.toml").read_text(encoding="utf-8")
    batch = int(re.search(r"batch_size *= *(\d+)", deck).group(1))
    whole = [batch / line["samples_per_second"] for line in lines if line["kind"] == "train"]
    balance = [line for line in lines if line["kind"] == "balance"]
    ledger = (directory / "ledger.txt").read_text(encoding="utf-8")
    return Run(whole, [line["units_s"] for line in balance], balance, ledger, hashed.group(1), directory)
