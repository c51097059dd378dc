# SPDX-License-Identifier: Apache-2.0
"""PyTorch DDP beside Lepton for tools/balance_bench: the same dense network (784, 512, 256, 10; Adam), ranks, samples of a
unit and of a step, and delays per unit; DDP gives each process the same share. The script of the peer is not part of this
project: it takes --model mlp --batch N --procs N --threads 1 --seconds S --delays 8,8,8,32 --unit N, sleeps each process's
delay for each unit's samples, and prints a line of JSON with samples_per_s."""
import json
import os
import pathlib
import statistics
import subprocess
import tempfile

from balance_runs import Work, delays_fault
from bench_lepton import Failed

PAIRS = 3
SECONDS = 8
# More processes than cores: the peer may pin each to cores of its own, of which the last ones have none.
TOLERANT = """import os
pin = os.sched_setaffinity
os.sched_setaffinity = lambda pid, cores: pin(pid, cores) if cores else None
"""


def samples_per_second(arguments, work, delays_ms):
    command = [arguments.peer_python, str(arguments.peer), "--model", "mlp", "--batch", str(work.units * work.unit_size), "--procs",
               str(len(delays_ms)), "--threads", "1", "--seconds", str(SECONDS), "--unit", str(work.unit_size), "--delays",
               ",".join(map(str, delays_ms))]
    with tempfile.TemporaryDirectory(prefix="lepton-balance-") as folder:
        (pathlib.Path(folder) / "sitecustomize.py").write_text(TOLERANT, encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": folder, "OMP_NUM_THREADS": "1"}
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    if result.returncode != 0:
        raise Failed(f"{' '.join(command)}\n{result.stderr[-2000:]}")
    return json.loads(result.stdout.splitlines()[-1])["samples_per_s"]


def measure(bench, arguments, delays_ms, warm_up):
    if not arguments.peer or not arguments.peer.is_file():
        print("SKIPPED PyTorch DDP: " + (f"{arguments.peer} is missing" if arguments.peer else "no --peer SCRIPT"))
        return
    work = Work(16 * len(delays_ms), 40, 4, "images", (512, 256))
    bench.reference(work)
    samples, rates = work.units * work.unit_size, {"PyTorch DDP": [], "Lepton static": [], "Lepton steal": []}
    for _ in range(PAIRS):
        rates["PyTorch DDP"].append(samples_per_second(arguments, work, delays_ms))
        for policy in ("static", "steal"):
            run = bench.run(work, len(delays_ms), policy, delays_fault(delays_ms)).after(warm_up)
            rates[f"Lepton {policy}"].append(samples / statistics.median(run.whole_s))
    for name, found in rates.items():
        ratio = statistics.median(a / b for a, b in zip(found, rates["PyTorch DDP"]))
        print(f"  {name:14} {statistics.median(found):8.0f} samples/s ({min(found):.0f} .. {max(found):.0f}), {ratio:.2f} x PyTorch", flush=True)
