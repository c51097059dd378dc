# SPDX-License-Identifier: Apache-2.0
"""Units move from slow nodes to fast ones within a step, and the run is that of one rank that computes all by itself: across
kills in the middle of moving, with a node that hardly moves, within classes. What is slow sleeps before each unit, several
times as long as the others, so that units move on a busy machine too."""
import os
import time

from common import DENSE, WIDE, checkpoints, in_parallel, ledger, make_deck, make_digits, metrics, same_run, train

NODES = 4
# Three steps in an epoch: two of 32 units, and of the 89 samples that are left 12.
SETS = {"train.batch_size": 256, "train.unit_size": 8, "train.epochs": 3, "evaluation.every": '"2 steps"',
        "balance.record_every": '"1 steps"'}
STEPS = 9
STUCK_MS = 600
FAST = "point=unit,action=delay:4ms"
SLOW = f"{FAST};rank=3,point=unit,action=delay:16ms"
# In every step it is another rank, which no plan can know.
TURNS = FAST + "".join(f";rank={step % NODES},step={step},point=unit,action=delay:16ms" for step in range(STEPS + 1))
STUCK = f"{FAST};rank=3,point=unit,action=delay:{STUCK_MS}ms"
# More activations than parameters, so that a thread has no more than one unit in hand.
POOLED = """
[model]
layers = [
  { type = "conv2d", filters = 16, kernel = 3, padding = "same", activation = "relu" },
  { type = "global_avg_pool2d" },
  { type = "dense", units = 10 },
]
[optimizer]
type = "adam"
"""
NETWORKS = {"dense": DENSE, "wide": WIDE, "pooled": POOLED}


def stealing(directory, network, ranks=NODES, sets=None, **how):
    return train(directory, deck=f"{network}.toml", ranks=ranks, per_node=1, sets={**SETS, **(sets or {})}, **how)


def as_alone(directory, network, result, references):
    same_run(directory, network, "against one rank with the static policy")
    assert result.hash() == references[network], result.told("another parameters_hash")


def totals(directory):
    """planned, done, given, taken: lists by node, over the run."""
    lines = metrics(directory, "balance")
    return [[sum(column) for column in zip(*(line[name] for line in lines))] for name in ("planned", "done", "given", "taken")]


def moves(directory, network, fault, references):
    result = stealing(directory, network, fault=fault)
    as_alone(directory, network, result, references)
    planned, done, given, taken = totals(directory)
    assert sum(given) == sum(taken) > 0, result.told(f"no unit moved: given {given}, taken {taken}")
    assert done == [p - g + t for p, g, t in zip(planned, given, taken)], (planned, done, given, taken)
    if fault == SLOW:
        first = metrics(directory, "balance")[0]  # no speed is known yet: all are planned alike
        assert first["planned"][3] == first["planned"][0] and first["given"][3] > 0, result.told(f"not relieved: {first}")
        assert done[3] < min(done[:3]), result.told(f"the slow node does as much as others: {done}")


def killed(point, ranks, references):
    directory = f"killed-{point}"
    result = stealing(directory, "dense", sets={"checkpoint.every": '"2 steps"'}, code=137,
                      fault=f"{TURNS};point={point},step=6,action=kill")
    assert checkpoints(directory) and 0 < len(ledger(directory)) <= 6, result.told("killed elsewhere")
    result = stealing(directory, "dense", ranks=ranks, fault=TURNS)
    assert "continuing from" in result.err, result.told("began anew")
    as_alone(directory, "dense", result, references)


def stuck(directory, references):
    """All units that it has not begun are done by others, and later plans do without it."""
    begun = time.monotonic()
    result = stealing(directory, "pooled", fault=STUCK)
    took_s = time.monotonic() - begun
    as_alone(directory, "pooled", result, references)
    lines = metrics(directory, "balance")
    for line, text in zip(lines, ledger(directory)):
        attempts = int(text.partition("attempts=")[2].split()[0])
        assert line["done"][3] <= attempts, result.told(f"more than one unit of a round on a node that hardly moves: {line}")
    assert lines[0]["given"][3] >= 6, result.told(f"its units were not taken over: {lines[0]}")
    late = [line["planned"][3] for line in lines[4:]]
    assert max(late) <= 1 and 0 in late, result.told(f"it is still planned for: {late}")
    alone_s = STUCK_MS / 1000 * (STEPS // 3) * (8 + 8 + 3)  # for its even share
    assert took_s < alone_s, result.told(f"{took_s:.1f} s; without stealing {alone_s:.0f} s")


def within_classes(directory, references):
    """Two nodes on the debug device and two on the CPU, one of each slow: units move, but not between classes."""
    fault = f"{FAST};rank=1,point=unit,action=delay:16ms;rank=3,point=unit,action=delay:16ms"
    result = stealing(directory, "dense", fault=fault,
                      sets={"train.device": "debug", "balance.classes": "fixed", "balance.shares": '["2 debug", "1 cpu"]'})
    as_alone(directory, "dense", result, references)
    planned, done, given, taken = totals(directory)
    for members in ((0, 1), (2, 3)):
        gave, took, had, did = (sum(row[node] for node in members) for row in (given, taken, planned, done))
        assert gave == took > 0 and had == did, result.told(f"class of nodes {members}: planned {planned}, done {done}, "
                                                            f"given {given}, taken {taken}")


def main():
    os.environ["LEPTON_DEBUG_DEVICES"] = "2"  # of this machine, for ranks that are to compute there
    make_digits()
    references = {}
    for network, text in NETWORKS.items():
        make_deck(f"{network}.toml", text)
        references[network] = train(network, deck=f"{network}.toml", sets={**SETS, "balance.policy": "static"}).hash()
    work = [(stuck, "stuck"), (moves, "slow", "dense", SLOW), (moves, "turns", "wide", TURNS), (killed, "steal.grant", 3),
            (killed, "steal.request", 2), (within_classes, "classes")]
    in_parallel(lambda check, *arguments: check(*arguments, references), work)


main()
