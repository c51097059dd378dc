# SPDX-License-Identifier: Apache-2.0
"""The campaigns of tools/fault_campaign. A try is a run directory, the exit codes of its disturbed starts, and what went wrong, if
anything; at its end the run is finished undisturbed and must have the reference's ledger and parameters."""
import contextlib
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy
from common import (CONVOLUTIONAL, DENSE, LEPTON, SOURCE_DIR, WIDE, Result, checkpoints, ended, environment, ledger, make_deck,
                    make_digits, popen, rank_pids, run, train, training, wait_for_step, write)
from lost_nodes import lost_nodes

SLOW = "point=unit,action=delay:4ms"
RANKS = (None, 2, 3, 4, 7)
# Points that every training passes on every rank, on rank 0, and where nodes speak with each other.
IN_STEPS = ("unit", "forward", "backward", "accumulate", "check", "optimizer")
ON_RANK_0 = ("snapshot", "checkpoint.write", "checkpoint.sync", "checkpoint.manifest", "checkpoint.rename", "checkpoint.prune",
             "ledger", "evaluate", "finalize")
BETWEEN_NODES = ("reduce", "gather", "redundancy", "steal.request", "steal.grant")
DECKS = {"dense": DENSE, "wide": WIDE, "conv": CONVOLUTIONAL}
PROGRAMS = os.environ["LEPTON_TEST_PROGRAMS"]


class Campaign:
    def __init__(self, table, lost_text, first_seed):
        self.table, self.lost_text, self.first_seed = table, lost_text, first_seed
        self.lost = []  # (steps, seconds) of each kill
        make_digits()
        self.hash = {}
        for name, network in DECKS.items():
            make_deck(f"{name}.toml", network)
            self.hash[name] = train(f"reference-{name}", deck=f"{name}.toml").hash()

    def tries(self, fault, work, items, workers=2, note=""):
        """work(*item) gives the exit codes of the disturbed starts; whatever it raises is a failure."""

        def attempt(item):
            try:
                return work(*item), None
            except (AssertionError, OSError, subprocess.SubprocessError) as error:
                return [], f"{item}: {error}"

        with ThreadPoolExecutor(workers) as pool:
            outcomes = list(pool.map(attempt, items))
        self.table.add(fault, outcomes, note() if callable(note) else note)

    def finish(self, name, deck="dense", chance=None, sets=None):
        """Undisturbed to the end, on any ranks; same ledger, same parameters."""
        ranks = chance.choice(RANKS) if chance else 2
        before = len(ledger(name))
        begin = time.monotonic()
        for _ in range(30):  # orphans of a killed launcher may still be ending
            result = train(name, deck=f"{deck}.toml", ranks=ranks, sets=sets, code=None)
            if result.code != 73:
                break
            time.sleep(0.2)
        assert result.code == 0, result.told(name)
        found = re.search(r"continuing from (?:\S*step-|the state of step )(\d+)", result.err)
        self.lost.append((max(0, before - int(found.group(1) if found else 0)), time.monotonic() - begin))
        with open(f"reference-{deck}/ledger.txt", "rb") as a, open(f"{name}/ledger.txt", "rb") as b:
            assert a.read() == b.read(), result.told(f"{name}: another ledger")
        assert result.hash() == self.hash[deck], result.told(f"{name}: other parameters")
        shutil.rmtree(name, ignore_errors=True)


def per_node(chance, ranks):
    return None if ranks is None else chance.choice([None, 1, 2])


# ---- kill

def killed(world, name, point, action, ranks, rank, seed):
    chance = random.Random(f"{name} {seed}")
    nodes = 1 if point in BETWEEN_NODES else per_node(chance, ranks)
    fault = f"{SLOW};point={point},rank={rank},restart=0,count={chance.randint(1, 4)},action={action}"
    if point in BETWEEN_NODES and ranks:
        fault = f"point=unit,rank=0,action=delay:20ms;{fault}"  # something to steal
    codes = [train(name, deck="wide.toml", ranks=ranks, per_node=nodes, fault=fault, code=None,
                   sets={"run.watchdog": "3s", "run.deadline": "8s", "run.redundancy_every": "1 steps"}).code]
    if chance.random() < 0.3:  # and once more while it recovers
        again = f"{SLOW};point={chance.choice(IN_STEPS)},rank=0,count={chance.randint(1, 3)},action=kill"
        codes.append(train(name, deck="wide.toml", ranks=chance.choice(RANKS), fault=again, code=None).code)
    assert set(codes) <= {0, 74, 75, 137, 139}, f"{name}: exit codes {codes}"
    world.finish(name, "wide", chance)
    return codes


def signalled(world, name, what, ranks, seed):
    """A signal, to the launcher or to a rank, at a random time."""
    chance = random.Random(f"{name} {seed}")
    with training(name, deck="dense.toml", ranks=ranks, fault="point=unit,action=delay:20ms") as process:
        wait_for_step(name, chance.randint(1, 10), process)
        time.sleep(chance.uniform(0, 0.1))
        pids = rank_pids(process)
        if what == "mpirun":
            os.kill(process.pid, signal.SIGKILL)
        elif what == "stop":
            victim = chance.choice(pids)
            os.kill(victim, signal.SIGSTOP)
            time.sleep(3)
            os.kill(victim, signal.SIGCONT)
        elif what == "term twice":
            process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        else:
            process.send_signal(signal.Signals[what])
        code = ended(process).code
    if what == "stop":
        assert code == 0, f"{name}: exit code {code} after a stop of 3 s"
    if what == "SIGUSR1":
        assert code == 75 and max(checkpoints(name)) == len(ledger(name)), f"{name}: {code}, {checkpoints(name)}"
    world.finish(name, "dense", chance)
    return [code]


def kill(world, seeds, short):
    cases = [(point, action, ranks, rank) for point in (*IN_STEPS, *ON_RANK_0, *BETWEEN_NODES)
             for action in ("kill", "segv", "error", "hang") for ranks in RANKS for rank in sorted({0, (ranks or 1) - 1})
             if not (point in ON_RANK_0 and rank) and not (point in BETWEEN_NODES and ranks is None)
             # What writes checkpoints, and the models at the end, may wait for the disk as long as that takes: nothing ends a run for it.
             and not (action == "hang" and point.startswith(("checkpoint.", "finalize")))]
    chance = random.Random(world.first_seed)
    for action in ("kill", "segv", "error", "hang"):
        chosen = [case for case in cases if case[1] == action]
        chosen = chosen if seeds is None else chance.sample(chosen, max(1, min(len(chosen), seeds // 4)))
        world.lost.clear()
        world.tries(f"kill: {action} at a failpoint", lambda i, case: killed(world, f"kill-{case[1]}-{i}", *case, world.first_seed),
                    list(enumerate(chosen)), note=lambda: world.lost_text(world.lost))
    count = 1 if short else 10
    for what in ("mpirun", "stop") if short else ("mpirun", "SIGUSR1", "SIGTERM", "term twice", "stop"):
        items = [(i, ranks) for i in range(count) for ranks in ((2,) if short else (2, 3, 4, 7))]
        world.tries(f"kill: {what}", lambda i, ranks, what=what: signalled(
            world, f"signal-{what.replace(' ', '-')}-{i}-{ranks}", what, ranks, world.first_seed + i), items)


# ---- storm

def stormy(world, seed):
    chance, name, codes = random.Random(f"storm {seed}"), f"storm-{seed}", []
    deck = chance.choice(list(DECKS))
    for start in range(chance.randint(1, 5)):
        ranks = chance.choice(RANKS)
        point, action = chance.choice((*IN_STEPS, *ON_RANK_0)), chance.choice(["kill", "kill", "segv", "error"])
        rank = chance.randrange(ranks or 1) if point in IN_STEPS else 0
        fault = f"{SLOW};point={point},rank={rank},count={chance.randint(1, 6)},action={action}"
        codes.append(train(name, deck=f"{deck}.toml", ranks=ranks, per_node=per_node(chance, ranks), fault=fault, code=None).code)
        assert codes[-1] in (0, 74, 75, 137, 139), f"{name}: start {start}: {fault}: exit code {codes[-1]}"
        if codes[-1] == 0:
            break
    world.finish(name, deck, chance)
    return codes


def storm(world, seeds, _short):
    world.lost.clear()
    first = world.first_seed
    world.tries("storm: 1 to 5 kills, other ranks each time", lambda seed: stormy(world, seed),
                [(seed,) for seed in range(first, first + (seeds or 1000))], note=lambda: world.lost_text(world.lost))


# ---- disk

@contextlib.contextmanager
def preloaded(io_fault, shift=None):
    """The environment of processes whose file system fails."""
    env = {"LD_PRELOAD": f"{PROGRAMS}/libio_faults.so", "LEPTON_IO_FAULT": io_fault}
    if shift:
        env["LEPTON_CLOCK_SHIFT"] = str(shift)
    yield env


def train_with(env, name, ranks, fault=SLOW, **sets):
    words = ["train", "dense.toml", "--set", f"run.dir={name}"]
    for key, value in sets.items():
        words += ["--set", f"{key.replace('_', '.', 1)}={value}"]
    command = [os.environ["LEPTON"], *words]
    command = ["env", *[f"{key}={value}" for key, value in env.items()], *command]
    command = command if ranks is None else ["run_mpi", str(ranks), *command]
    with popen(command, environment(fault=fault)) as process:
        out, err = process.communicate(timeout=180)
    code = process.returncode if process.returncode >= 0 else 128 - process.returncode
    return Result(command, code, out, err)


def failing_disk(world, name, call, what, nth, ranks):
    with preloaded(f"call={call},path={name}/,nth={nth},do={what}") as env:
        result = train_with(env, name, ranks)
    assert result.code in (0, 73, 74), result.told(name)
    if result.code == 0 and call != "rename":
        assert len(ledger(name)) == 18, result.told(name)
    for path in checkpoints(name).values():
        run("inspect", path)
    world.finish(name)
    return [result.code]


def harmless_disk(world, name, io_fault, ranks):
    """What a write must cope with."""
    with preloaded(io_fault) as env:
        result = train_with(env, name, ranks)
    assert result.code == 0 and "failed" not in result.err, result.told(name)
    world.finish(name)
    return [result.code]


def disk(world, seeds, short):
    cases = [(call, what, nth) for call in ("write", "fsync", "fallocate", "close", "rename") for what in ("ENOSPC", "EDQUOT", "EIO", "EROFS")
             for nth in range(1, 41, 2 if call == "write" else 3) if not (call == "close" and what == "EROFS")]
    if seeds is not None:
        cases = random.Random(world.first_seed).sample(cases, min(seeds, len(cases)))
    for call in ("write", "fsync", "fallocate", "close", "rename"):
        chosen = [case for case in cases if case[0] == call]
        if chosen:
            world.tries(f"disk: {call} fails once", lambda i, case, ranks: failing_disk(world, f"disk-{case[0]}-{i}", *case, ranks),
                        [(i, case, (None, 2, 3)[i % 3]) for i, case in enumerate(chosen)])
    world.tries("disk: EINTR, every third write", lambda i, ranks: harmless_disk(
        world, f"eintr-{i}", ";".join(f"call=write,path=eintr-{i}/,nth={n},do=EINTR" for n in range(1, 46, 3)), ranks),
        [(0, None)] if short else [(0, None), (1, 3)])
    world.tries("disk: short writes, all", lambda i, ranks: harmless_disk(world, f"short-{i}", f"call=write,path=short-{i}/,from=1,do=short", ranks),
                [(0, 2)] if short else [(0, None), (1, 3)])
    hang = 3 if short else 60
    world.tries(f"disk: a write hangs {hang} s", lambda i: harmless_disk(
        world, f"hang-{i}", f"call=fsync,path=hang-{i}/checkpoints,nth=3,do=hang:{hang}", 2), [(0,)])


# ---- damage

def program(name, *words):
    done = subprocess.run([f"{PROGRAMS}/{name}", *map(str, words)], capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, f"{name} {words}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout.strip().splitlines()[-1]


def memory_folder(name):
    """A copy in memory: there are hundreds of thousands of writes."""
    folder = pathlib.Path(f"/dev/shm/lepton-faults-{os.getpid()}-{name}")
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def damaged(kind, source, *words):
    """damage_sim on a copy; prints what it says."""
    folder = memory_folder(kind)
    try:
        if os.path.isdir(source):
            shutil.copytree(source, folder)
        else:
            folder.mkdir()
            shutil.copy(source, folder)
        target = folder if os.path.isdir(source) else folder / os.path.basename(source)
        print(f"    {kind}: {program('damage_sim', kind, target, *words)}", flush=True)
        return [0]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def damage(world, _seeds, short):
    newest = checkpoints("reference-dense")
    last = max(newest)
    world.tries("damage: truncated, flipped, through the reader", lambda: damaged("checkpoint", newest[last], 97 if short else 1), [()])
    world.tries("damage: every prefix of a commit", lambda: damaged("commit", "reference-dense/checkpoints", last), [()])
    world.tries("damage: mutated run states", lambda: damaged("state", f"{newest[last]}/state.bin", 20000 if short else 1000000,
                                                              world.first_seed), [()])
    world.tries("damage: files of another run or step", lambda i: swapped(world, i), [(i,) for i in range(4)])


def swapped(world, i):
    """A shard or a state that is intact, but not of this checkpoint."""
    name = f"swapped-{i}"
    shutil.copytree("reference-dense", name)
    other = f"reference-{'wide' if i % 2 else 'dense'}"
    steps = sorted(checkpoints(name))
    file = ("shard-00000.h5", "state.bin")[i // 2]
    source = checkpoints(other)[steps[-1 if i % 2 else -2]]
    shutil.copy(f"{source}/{file}", f"{checkpoints(name)[steps[-1]]}/{file}")
    inspected = run("inspect", checkpoints(name)[steps[-1]], code=65)
    assert file in inspected.out + inspected.err, inspected.told(name)
    world.finish(name)
    return [65]


# ---- input

def input_(world, _seeds, short):
    world.tries("input: truncated at every 4 KiB", lambda: damaged("dataset", "digits.h5"), [()])
    with h5py.File("chunked.h5", "w") as file:
        file.create_dataset("x", data=numpy.arange(200000, dtype="f4").reshape(2000, 100), chunks=(50, 100), compression="gzip", fletcher32=True)
    world.tries("input: chunked and compressed, truncated", lambda: damaged("dataset", "chunked.h5"), [()])
    world.tries("input: a flipped bit in a chunk", lambda i: flipped_chunk(i), [(i,) for i in range(4 if short else 100)])
    world.tries("input: the file is another one at the restart", lambda: [replaced_input()], [()])


def flipped_chunk(i):
    chance, name = random.Random(i), f"flipped-{i}.h5"
    shutil.copy("chunked.h5", name)
    with h5py.File(name) as file:
        chunk = file["x"].id.get_chunk_info(chance.randrange(40))
    with open(name, "r+b") as file:
        at = chunk.byte_offset + chance.randrange(chunk.size)
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << chance.randrange(8)]))
    write(f"flipped-{i}.toml", f'[run]\ndir = "flipped-{i}"\n[data]\nfile = "{name}"\ntrain = {{ inputs = "x", targets = "x" }}\n'
          '[model]\nloss = "mse"\nlayers = [{ type = "dense", units = 100 }]\n')
    result = run("train", f"flipped-{i}.toml", ranks=(None, 2)[i % 2], code=None)
    assert result.code in (65, 74) and name in result.err, result.told(name)
    return [result.code]


def replaced_input():
    deck = "other-data.toml"
    shutil.copy("digits.h5", "other.h5")
    with open("dense.toml", encoding="utf-8") as file:
        write(deck, file.read().replace("digits.h5", "other.h5"))
    train("other-data", "--max-steps", 6, deck=deck)
    with h5py.File("other.h5", "r+") as file:
        file["train/images"][17] = 255 - file["train/images"][17]
    result = train("other-data", deck=deck, code=None)
    assert result.code == 78 and "data" in result.err, result.told("another file")
    return result.code


# ---- memory

SOME = range(2, 18)  # of a run's 18 steps
FLIPS = {  # point: (ranks, per node, {steps: what must come of it})
    "accumulate": ((None, 2, 3), None, {SOME: 0}), "reduce": ((2, 3, 4), 1, {SOME: 0}), "gather": ((2, 3, 4), 1, {SOME: 74}),
    "state.parameters": ((None, 2, 3), None, {SOME: 74}), "state.moments": ((None, 2, 3), None, {SOME: 74}),
    "snapshot": ((None, 2, 3), 1, {(6, 12): 0, (18,): 74})}  # for the last checkpoint nothing comes after


def flipped(world, name, point, seed):
    chance = random.Random(f"{name} {seed}")
    choices, nodes, outcomes = FLIPS[point]
    ranks = chance.choice(choices)
    steps, expected = chance.choice(list(outcomes.items()))
    step = chance.choice(steps)
    fault = f"{SLOW};point={point},rank={chance.randrange(ranks or 1) if nodes else 0},step={step},action=flip"
    result = train(name, deck="wide.toml", ranks=ranks, per_node=nodes, fault=fault, code=None,
                   sets={"balance.policy": "static", "train.threads": 2, "checkpoint.every": "6 steps"})
    noticed = "checksum" in result.err or "flipped" in result.err
    assert result.code == expected and noticed, result.told(f"{name}: {fault}: not noticed")
    world.finish(name, "wide", chance)
    return [result.code]


def memory(world, seeds, _short):
    for point in FLIPS:
        count = max(1, seeds // len(FLIPS)) if seeds else 20
        world.tries(f"memory: a bit flips, {point}", lambda i, point=point: flipped(
            world, f"flip-{point}-{i}", point, world.first_seed + i), [(i,) for i in range(count)])


# ---- owner

def clock_moved(world, name, shift):
    """The wall clock of the second start, or of one rank, is a day away."""
    with preloaded("", shift) as env:
        first = train_with(env, name, 2, fault=f"{SLOW};point=unit,rank=0,restart=0,count=9,action=kill")
        second = train_with(env if shift < 0 else {}, name, 3)
    assert second.code == 0, second.told(name)
    world.finish(name)
    return [first.code]


def owner(world, _seeds, short):
    world.tries("owner: the wall clock moves by a day", lambda i, shift: clock_moved(world, f"clock-{i}", shift),
                list(enumerate((86400, -86400))))
    if short:
        return  # e2e.owner runs beside it
    script = os.path.join(os.environ["SOURCE_DIR"], "tests", "e2e", "owner_test.py")

    def two_jobs():
        os.makedirs("owner", exist_ok=True)
        done = subprocess.run([shutil.which("python3", path="/usr/bin") or "python3", script], cwd="owner", capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return [73]

    world.tries("owner: two jobs; stopped, replaced, woken", two_jobs, [()])


CAMPAIGNS = {"storm": storm, "kill": kill, "disk": disk, "damage": damage, "input": input_, "memory": memory, "owner": owner,
             "nodes": lost_nodes}
