# SPDX-License-Identifier: Apache-2.0
"""The campaign of lost nodes: a run is killed on 2 to 7 nodes, and all that some of them had in memory is gone. As many as there is
parity for come back from the others; else the newest checkpoint counts."""
import os
import random
import re

from common import ledger, train

SLOW = "point=unit,action=delay:10ms"
DEVICES = (None, None, None, "debug")


def kept(name):
    """A run's own directory of shared memory."""
    path = os.path.join(os.environ["LEPTON_TEST_SHM"], name)
    os.makedirs(path, exist_ok=True)
    return path


def lost(world, name, more_than_parity, seed):
    chance = random.Random(f"{name} {seed}")
    nodes = chance.randint(2, 7)
    parity = chance.randint(1, min(3, nodes - 1))
    sets = {"run.shm_dir": kept(name), "run.redundancy": parity, "run.redundancy_every": "2 steps", "checkpoint.every": "end"}
    if device := chance.choice(DEVICES):
        sets["train.device"] = device
    point = chance.choice(("check", "optimizer", "reduce", "gather"))
    fault = f"{SLOW};point={point},rank={chance.randrange(nodes)},step={chance.randint(9, 16)},action=kill"
    codes = [train(name, deck="wide.toml", ranks=nodes, per_node=1, fault=fault, sets=sets, code=None).code]
    assert codes == [137], f"{name}: exit codes {codes}"
    reached = len(ledger(name))
    gone = chance.sample(range(nodes), nodes if more_than_parity else chance.randint(1, parity))
    for file in os.listdir(kept(name)):
        if found := re.fullmatch(r".*-\d+-(\d+)(-copy)?", file):
            if int(found.group(1)) in gone:
                os.remove(os.path.join(kept(name), file))
    before = len(world.lost)
    world.finish(name, "wide", chance, sets={**sets, "run.redundancy": 1})
    steps = world.lost[before][0] if len(world.lost) > before else 0
    assert more_than_parity or steps < reached, f"{name}: begun anew, with {len(gone)} of {nodes} nodes gone"
    return codes


def lost_nodes(world, seeds, short):
    count = seeds or (4 if short else 100)
    first = world.first_seed
    for what, more in (("as many as there is parity for", False), ("all of them", True)):
        world.lost.clear()
        world.tries(f"nodes: {what}", lambda seed, more=more: lost(world, f"nodes-{int(more)}-{seed}", more, seed),
                    [(seed,) for seed in range(first, first + (count if not more else max(1, count // 4)))], workers=1,
                    note=lambda: world.lost_text(world.lost))
