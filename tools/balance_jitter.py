# SPDX-License-Identifier: Apache-2.0
"""The runs with random delays of tools/balance_bench: each rank has its own in every step, in units, in messages of the
balancer and in other places, so that units move at all times. Only the seed decides what a run is given."""
import random
from concurrent.futures import ThreadPoolExecutor

from balance_runs import Work
from bench_lepton import Failed

# Each evaluates after every second step. Units and unit sizes are odd on purpose.
WORKS = [Work(units, 6, unit_size, "tiny", (32,), "2 steps") for units, unit_size in ((13, 3), (29, 5), (64, 2))]
PLACES = ("steal.request", "steal.grant", "evaluate", "reduce", "check", "accumulate")


def job(dice):
    """(work, ranks, ranks per node, threads, LEPTON_FAULT)"""
    ranks = dice.randint(2, 7)
    work = dice.choice(WORKS)
    budget_ms = 400 * ranks / (work.units * work.steps)  # of a unit, so that a run takes about half a second
    entries = [f"point=unit,action=delay:{dice.randint(0, 1000)}us"]
    for rank in range(ranks):
        speed = dice.choice((0.2, 0.5, 1, 1, 3, 10))  # lasting
        entries.append(f"rank={rank},point=unit,action=delay:{1000 * budget_ms * speed * dice.random():.0f}us")
        for step in range(work.steps + 1):
            if dice.random() < 0.5:  # of this step, and sometimes of one unit
                where = f",unit={dice.randrange(work.units)}" if dice.random() < 0.2 else ""
                worst = dice.choice((0.1, 1, 1, 4, 20 if where else 8))
                entries.append(f"rank={rank},step={step}{where},point=unit,action=delay:{1000 * budget_ms * worst * dice.random():.0f}us")
        for place in PLACES:
            if dice.random() < 0.25:
                entries.append(f"rank={rank},step={dice.randrange(work.steps + 1)},point={place},action=delay:{dice.randint(1, 5000)}us")
    return work, ranks, dice.choice((1, 1, 1, 2)), dice.choice((1, 1, 2)), ";".join(entries)


def runs(bench, count, seed):
    """(what failed, units moved). Two at a time, since most of a short run is waiting."""
    for work in WORKS:
        bench.reference(work)

    def one(number):
        work, ranks, per_node, threads, fault = job(random.Random(f"{seed} {number}"))
        try:
            run = bench.run(work, ranks, "steal", fault, per_node, threads)
            return run.moved(), not run.same
        except Failed as failure:
            print(f"  run {number}: FAILED {failure}", flush=True)
            return 0, True

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(one, range(count)))
    return [number for number, (_, failed) in enumerate(results) if failed], sum(moved for moved, _ in results)
