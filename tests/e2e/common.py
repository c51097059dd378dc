# SPDX-License-Identifier: Apache-2.0
"""What the whole-run tests share: tiny data, decks, starting the program (alone or under mpirun), reading what a run
leaves behind. Every test works in its own scratch directory (tests/run_e2e) and makes all data itself."""
import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

sys.dont_write_bytecode = True
SKIPPED = 77
try:
    import h5py  # noqa: F401
    import numpy  # noqa: F401
    import sklearn  # noqa: F401
except ImportError as missing:
    print(f"SKIPPED: {missing}")
    sys.exit(SKIPPED)

LEPTON, SOURCE_DIR = os.environ["LEPTON"], os.environ["SOURCE_DIR"]
TIMEOUT_S = 120  # of one run; a run takes about a second

# The sizes are odd on purpose: 601 samples, batches of 70 (the last has 41), units of 14 and 13.
DATA = """
[data]
file = "digits.h5"
train = { inputs = "train/images", targets = "train/labels", rows = [0, 601] }
test  = { inputs = "test/images",  targets = "test/labels" }
normalize = "standardize"
"""
TRAIN = """
[train]
epochs = 2
batch_size = 70
unit_size = 16
threads = 1
[checkpoint]
every = "3 steps"
keep = 100
"""
DENSE = """
[model]
layers = [
  { type = "flatten" },
  { type = "dense", units = 150, activation = "relu" },
  { type = "dense", units = 60, activation = "relu" },
  { type = "dense", units = 10 },
]
[optimizer]
type = "adam"
learning_rate = 3e-3
clip_norm = 0.5
"""
# A thread has several units of it in hand, and its update waits for no norm.
WIDE = """
[model]
layers = [
  { type = "flatten" },
  { type = "dense", units = 512, activation = "relu" },
  { type = "dense", units = 512, activation = "tanh" },
  { type = "dense", units = 10 },
]
[optimizer]
type = "adam"
"""
CONVOLUTIONAL = """
[model]
layers = [
  { type = "conv2d", filters = 8, kernel = 3, padding = "same" },
  { type = "batch_norm" },
  { type = "relu" },
  { type = "residual", activation = "relu", layers = [
      { type = "conv2d", filters = 8, kernel = 3, padding = "same" },
      { type = "batch_norm" } ] },
  { type = "max_pool2d", size = 2 },
  { type = "flatten" },
  { type = "dropout", rate = 0.25 },
  { type = "dense", units = 64, activation = "relu" },
  { type = "dense", units = 10 },
]
[optimizer]
type = "sgd"
learning_rate = 0.05
momentum = 0.9
"""
SMALL = """
[model]
layers = [{ type = "flatten" }, { type = "dense", units = 10 }]
[optimizer]
type = "sgd"
learning_rate = 0.1
"""


def make_digits():
    subprocess.run([sys.executable, os.path.join(SOURCE_DIR, "tools", "make_digits"), "digits.h5"], check=True,
                   stdout=subprocess.DEVNULL)


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def make_deck(path="deck.toml", network=DENSE, data=DATA, train=TRAIN, more=""):
    shm = os.environ.get("LEPTON_TEST_SHM")
    shm = f'shm_dir = "{shm}"\n' if shm else ""
    return write(path, "[run]\ndir = \"run\"\nseed = 3\n" + shm + data + network + train + more)


@dataclasses.dataclass
class Result:
    """A finished run: `code` as a shell sees it; `err` holds Lepton's log and what mpirun adds."""
    command: list
    code: int
    out: str
    err: str

    def errors(self):
        return re.findall(r"^(?:rank \d+: )?error: .*(?:\n  .*)*", self.err, re.M)

    def hash(self):
        found = re.search(r"parameters_hash: (\w+)", self.err + self.out)
        assert found, self.told("no parameters_hash")
        return found.group(1)

    def told(self, what):
        return f"{what}\n$ {' '.join(self.command)}\nexit code {self.code}\n{self.out}{self.err}"


def command_line(arguments, ranks, sets):
    words = [LEPTON, *map(str, arguments)]
    for key, value in sets.items():
        words += ["--set", f"{key}={value}"]
    return words if ranks is None else ["run_mpi", str(ranks), *words]


def environment(per_node=None, fault=None):
    env = {k: v for k, v in os.environ.items() if k not in ("LEPTON_FAULT", "LEPTON_RANKS_PER_NODE")}
    if per_node is not None:
        env["LEPTON_RANKS_PER_NODE"] = str(per_node)
    if fault is not None:
        env["LEPTON_FAULT"] = fault
    return env


def run(*arguments, ranks=None, sets=None, per_node=None, fault=None, code=0, timeout=TIMEOUT_S):
    """Runs Lepton to its end, by itself (ranks=None) or under mpirun, and requires the exit code (None: any)."""
    command = command_line(arguments, ranks, sets or {})
    with popen(command, environment(per_node, fault)) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            raise AssertionError(Result(command, -1, out, err).told(f"still running after {timeout} s")) from None
    status = process.returncode if process.returncode >= 0 else 128 - process.returncode
    result = Result(command, status, out, err)
    assert code is None or result.code == code, result.told(f"exit code {code} expected")
    return result


def popen(command, env):
    return subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True)


def train(directory, *arguments, deck="deck.toml", sets=None, **how):
    return run("train", deck, *arguments, sets={"run.dir": directory, **(sets or {})}, **how)


@contextlib.contextmanager
def training(directory, *arguments, deck="deck.toml", ranks=None, sets=None, per_node=None, fault=None):
    """A run in the background; its process group dies with the block."""
    command = command_line(["train", deck, *arguments], ranks, {"run.dir": directory, **(sets or {})})
    process = popen(command, environment(per_node, fault))
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def rank_pids(process):
    """The ranks below mpirun, or the process itself."""
    if process.args[0] != "run_mpi":
        return [process.pid]
    with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def ended(process):
    """The Result of a run in the background, when it ends by itself."""
    out, err = process.communicate(timeout=TIMEOUT_S)
    code = process.returncode
    return Result(process.args, code if code >= 0 else 128 - code, out, err)


def wait_until(condition, what):
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {TIMEOUT_S} s for {what}"
        time.sleep(0.005)


def ledger(directory):
    """The whole lines of a run's ledger."""
    with contextlib.suppress(FileNotFoundError), open(f"{directory}/ledger.txt", encoding="utf-8") as file:
        return [line for line in file.read().splitlines(keepends=True) if line.endswith("\n")]
    return []


def wait_for_step(directory, step, process=None):
    def reached():
        assert process is None or process.poll() is None, ended(process).told(f"ended before step {step}")
        return len(ledger(directory)) >= step
    wait_until(reached, f"step {step} of {directory}")


def checkpoints(directory):
    """{step: path} of what is committed."""
    with contextlib.suppress(FileNotFoundError):
        return {int(name[5:]): f"{directory}/checkpoints/{name}" for name in sorted(os.listdir(f"{directory}/checkpoints"))
                if re.fullmatch(r"step-\d+", name)}
    return {}


def contents(directory):
    """{relative path: bytes} of all files below a directory that no refused start may change: not the log and the lock."""
    found = {}
    for folder, _, names in os.walk(directory):
        for name in (name for name in names if name not in ("log.txt", ".lock") and not name.startswith(".owner-")):
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, directory)] = file.read()
    return found


def metrics(directory, kind):
    with open(f"{directory}/metrics.jsonl", encoding="utf-8") as file:
        return [line for line in map(json.loads, file) if line["kind"] == kind]


def same_run(directory, reference, why=""):
    assert ledger(reference), f"{reference} has no ledger"
    for a, b in zip(ledger(directory), ledger(reference)):
        assert a == b, f"{directory} {why}: ledgers differ\n{a}{b}"
    assert len(ledger(directory)) == len(ledger(reference)), f"{directory} {why}: ledgers differ in length"


def in_parallel(work, items, workers=2):
    """work(*item) for all items; most of a tiny run is start-up, so a few at once save time. Raises the first failure."""
    with ThreadPoolExecutor(workers) as pool:
        return [future.result() for future in [pool.submit(work, *item) for item in items]]


def run_cases(cases):
    """Cases (test, argument, ...), a few at once."""
    in_parallel(lambda test, *arguments: test(*arguments), cases)


def digits_reference():
    """The digits, deck.toml and an undisturbed run `reference`; its hash."""
    make_digits()
    make_deck()
    return train("reference").hash()
