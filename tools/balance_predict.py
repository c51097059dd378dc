# SPDX-License-Identifier: Apache-2.0
"""For tools/balance_bench: what `lepton simulate` says of jobs, measured by a run of two of their nodes, against these jobs."""
import json
import statistics
import subprocess

from balance_runs import Failed, Work, delays_fault

MEASURED_MS = (8, 8)
EVEN = (1, 2, 4, 8)
NETWORK = "\n[network]\nlatency_us = 50\n"
CLUSTERS = {"even": "[[nodes]]\ncount = 8\nnoise = 0.01\n" + NETWORK,
            "four": "[[nodes]]\ncount = 3\nnoise = 0.01\n[[nodes]]\nspeed = 0.25\nnoise = 0.01\n" + NETWORK}


def measure(bench, warm_up):
    """Yields (what, seconds that a step took, seconds that were predicted)."""
    work = Work(64, 24)
    bench.reference(work)
    measuring = bench.quiet_run(work, len(MEASURED_MS), "steal", delays_fault(MEASURED_MS))
    jobs = [(f"{nodes} nodes alike", "even", "steal", [8] * nodes) for nodes in EVEN]
    jobs += [(f"four nodes, {policy}", "four", policy, [8, 8, 8, 32]) for policy in ("static", "proportional", "steal")]
    for what, cluster, policy, delays_ms in jobs:
        predicted_s = predict(bench, measuring, cluster, policy, len(delays_ms))
        run = bench.quiet_run(work, len(delays_ms), policy, delays_fault(delays_ms))
        yield what, statistics.median(run.after(warm_up).whole_s), predicted_s


def predict(bench, measuring, cluster, policy, nodes):
    description = bench.folder / f"{cluster}.toml"
    description.write_text(CLUSTERS[cluster], encoding="utf-8")
    command = [str(bench.program), "simulate", f"{measuring.directory}.toml", "--cluster", str(description), "--from",
               str(measuring.directory), "--sizes", str(nodes), "--json", "--set", f'balance.policy="{policy}"']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)["sizes"][0]["step"]["seconds"]
