# SPDX-License-Identifier: Apache-2.0
"""Ranks that really compute and are really throttled, for tools/balance_bench: by a CPU quota (a control group for each
rank, version 1 or 2, where this machine lets us make some), else by stopping and continuing the ranks' processes in turns.
What each rank can do is measured alone first, under the same throttle; the sum of these speeds is what is compared with."""
import contextlib
import os
import pathlib
import signal
import statistics
import threading
import time

from balance_runs import Work
from bench_lepton import Failed

SHARES = (0.4, 0.4, 0.4, 0.1)  # of a core, by rank: together less than two
PERIOD_US = 10000
WORK = Work(64, 24, 128, "images", (1024,))  # some milliseconds a unit: a quota is served in pieces of a period
WARM_UP = 8
POLICIES = ("static", "proportional", "steal")
ENTER = 'echo $$ > "$0-${OMPI_COMM_WORLD_RANK:-0}/cgroup.procs" && exec "$@"'


# ---- By control groups --------------------------------------------------------------------------------------------

def own_group(version):
    """The folder of this process's control group, in which groups with quotas can be made."""
    lines = pathlib.Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if version == 1 and "cpu" in controllers.split(","):
            for name in (controllers, "cpu"):
                if (group := pathlib.Path(f"/sys/fs/cgroup/{name}{path}")).is_dir():
                    return group
        if version == 2 and controllers == "":
            group = pathlib.Path(f"/sys/fs/cgroup{path}")
            with contextlib.suppress(OSError):
                if "cpu" in (group / "cgroup.subtree_control").read_text(encoding="utf-8").split():
                    return group
    return None


def set_quota(group, version, share):
    if version == 1:
        (group / "cpu.cfs_period_us").write_text(str(PERIOD_US), encoding="utf-8")
        (group / "cpu.cfs_quota_us").write_text(str(int(share * PERIOD_US)), encoding="utf-8")
    else:
        (group / "cpu.max").write_text(f"{int(share * PERIOD_US)} {PERIOD_US}", encoding="utf-8")


@contextlib.contextmanager
def groups(shares):
    """Yields (what they are, common beginning of their paths), or nothing where none can be made."""
    for version in (2, 1):
        parent = own_group(version)
        if not parent:
            continue
        stem, made = parent / f"lepton-balance-{os.getpid()}", []
        try:
            for rank, share in enumerate(shares):
                group = pathlib.Path(f"{stem}-{rank}")
                group.mkdir()
                made.append(group)
                set_quota(group, version, share)
        except OSError:
            for group in made:
                group.rmdir()
            continue
        try:
            yield f"CPU quotas (control groups version {version}, periods of {PERIOD_US / 1000:.0f} ms)", str(stem)
        finally:
            for group in made:
                remove(group)
        return
    yield None


def remove(group):
    for _ in range(50):  # a process that has ended leaves its group a little later
        with contextlib.suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.1)


# ---- By stopping --------------------------------------------------------------------------------------------------

def rank_of(pid):
    with open(f"/proc/{pid}/environ", encoding="utf-8", errors="replace") as file:
        found = [entry[21:] for entry in file.read().split("\0") if entry.startswith("OMPI_COMM_WORLD_RANK=")]
    return int(found[0]) if found else 0


def duty_cycles(shares, process, ranks):
    """Until the run ends: rank i runs for its share of each 20 ms."""
    period_s = 2 * PERIOD_US / 1e6

    def keep(pid, share):
        with contextlib.suppress(ProcessLookupError):
            while process.poll() is None:
                os.kill(pid, signal.SIGCONT)
                time.sleep(share * period_s)
                os.kill(pid, signal.SIGSTOP)
                time.sleep((1 - share) * period_s)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    end = time.monotonic() + 30
    while len(ranks()) < len(shares) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    with contextlib.suppress(OSError):
        pids = {rank_of(pid): pid for pid in ranks()}
        for rank, pid in pids.items():
            threading.Thread(target=keep, args=(pid, shares[rank]), daemon=True).start()


# ---- The scenario -------------------------------------------------------------------------------------------------

class Throttle:
    """How the ranks of a run get their shares."""

    def __init__(self, stem):
        self.stem = stem

    def run(self, bench, policy, ranks):
        """A run of these ranks of SHARES."""
        if self.stem:
            stem = self.stem
            if len(ranks) == 1:  # alone, but in its own group
                return bench.run(WORK, 1, policy, wrapper=("sh", "-c", ENTER.replace("${OMPI_COMM_WORLD_RANK:-0}", str(ranks[0])), stem))
            return bench.run(WORK, len(ranks), policy, wrapper=("sh", "-c", ENTER, stem))
        shares = [SHARES[rank] for rank in ranks]
        return bench.run(WORK, len(ranks), policy, wrapper=("env",), beside=lambda process, pids: duty_cycles(shares, process, pids))


def measure(bench, heading, wanted):
    with groups(SHARES) if wanted != "stop" else contextlib.nullcontext() as found:
        if not found and wanted == "group":
            raise Failed("no control group with a CPU quota can be made here")
        what, stem = found or ("SIGSTOP and SIGCONT", None)
        heading("quota", f"four ranks that compute, with {', '.join(f'{share:.0%}' for share in SHARES)} of a core by {what}")
        bench.reference(WORK)
        throttle = Throttle(stem)
        speeds = {}
        for share in sorted(set(SHARES)):
            run = throttle.run(bench, "static", [SHARES.index(share)]).after(WARM_UP)
            speeds[share] = WORK.units / statistics.median(run.whole_s)
            print(f"  alone with {share:.0%} of a core: {speeds[share]:.0f} units/s", flush=True)
        total = sum(speeds[share] for share in SHARES)
        for policy in POLICIES:
            run = throttle.run(bench, policy, list(range(len(SHARES)))).after(WARM_UP)
            step_s = statistics.median(run.whole_s)
            measured = statistics.median(line["efficiency"] for line in run.balance)
            print(f"  {policy:12} {1e3 * step_s:6.1f} ms, {WORK.units / total / step_s:.1%} of the sum of what they do alone, "
                  f"{measured:.1%} by measured speeds while units run, {run.moved()} units moved", flush=True)
