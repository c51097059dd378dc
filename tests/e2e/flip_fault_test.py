# SPDX-License-Identifier: Apache-2.0
"""Faults that the run notices by itself: a flipped bit in the sums of a node or between nodes is caught and the attempt
redone, with the same bits in the end; bits that keep flipping end the run; a rank that dies, fails or hangs takes
the others with it in bounded time; a damaged file is noticed later."""
import json
import re
import time

from common import WIDE, checkpoints, in_parallel, ledger, make_deck, make_digits, run, same_run, train

SHARED = {"balance.policy": '"static"', "train.threads": 2}  # so that every node has units in every step
SLOW = "point=unit,action=delay:5ms"  # time for checkpoints
hashes = {}


def flipped(name, fault, ranks, per_node, network="reference"):
    result = train(name, deck=f"{network}.toml", ranks=ranks, per_node=per_node, fault=fault, sets=SHARED)
    assert re.search(r"step 5: a checksum.*redone", result.err), result.told(f"{name}: not noticed")
    same_run(name, network, name)
    assert result.hash() == hashes[network], result.told(name)


def gathered():
    """Parameters that arrive with another bit than they left with: after the decision nothing is repaired."""
    result = train("gather", ranks=2, per_node=1, fault=f"{SLOW};point=gather,step=5,rank=1,action=flip", code=74)
    assert re.search(r"parameters that node 0 sent", result.err), result.told("not noticed")
    assert train("gather").hash() == hashes["reference"], "the run does not go on after it"


def at_rest(name, point, rank, ranks, per_node, network="reference"):
    """A bit of the state that flips between two steps: nothing is trained on it, and the state on disk is valid."""
    result = train(name, deck=f"{network}.toml", ranks=ranks, per_node=per_node, code=74, sets=SHARED,
                   fault=f"{SLOW};point={point},rank={rank},step=5,action=flip")
    assert len(result.errors()) == 1 and "changed in memory between two steps" in result.errors()[0], result.told(name)
    assert re.search(rf"^rank {rank}: warning: block \d+ of the .* flipped" if rank else r"warning: block \d+ of the .* flipped",
                     result.err, re.M), result.told(f"{name}: the rank is not named")
    assert len(ledger(name)) == 4, result.told(f"{name}: it went on")
    assert train(name, deck=f"{network}.toml").hash() == hashes[network], "the run does not go on after it"
    same_run(name, network, name)


def copied(name, step, rank, ranks, per_node, code):
    """A bit that flips in the copy for a checkpoint: no checkpoint of it; if it was the run's last, the run is not done."""
    result = train(name, deck="wide.toml", ranks=ranks, per_node=per_node, code=code, sets={**SHARED, "checkpoint.every": '"6 steps"'},
                   fault=f"{SLOW};point=snapshot,rank={rank},step={step},action=flip")
    assert "a bit flipped in this machine's memory" in result.err, result.told(f"{name}: not noticed")
    assert "is abandoned" in result.err, result.told(name)
    for path in checkpoints(name).values():
        run("inspect", path)
    assert train(name, deck="wide.toml").hash() == hashes["wide"], "the run does not go on after it"
    same_run(name, "wide", name)


def flipping(name, fault, ranks, per_node):
    """As many flips as repairs are allowed, and one more."""
    faults = ";".join(f"{fault},count={3 - i}" for i in range(3))  # the sums, not the checksums behind them, each time
    result = train(name, ranks=ranks, per_node=per_node, fault=f"{SLOW};{faults}", code=74)
    assert len(result.errors()) == 1 and "step 14" in result.errors()[0], result.told(name)
    assert len(ledger(name)) == 13 and checkpoints(name), result.told(name)
    assert train(name).hash() == hashes["reference"], "the run does not go on after it"
    same_run(name, "reference", name)


def ends(name, action, ranks, per_node, code, pattern):
    begin = time.monotonic()
    result = train(name, ranks=ranks, per_node=per_node, code=None, sets={"run.deadline": '"3s"'},
                   fault=f"{SLOW};point=unit,rank=1,count=5,action={action}")
    assert result.code in code, result.told(f"{name}: exit code {result.code}")
    assert re.search(pattern, result.err), result.told(f"{name}: /{pattern}/ is not said")
    assert time.monotonic() - begin < 60, f"{name} took {time.monotonic() - begin} s"
    assert train(name, ranks=2).hash() == hashes["reference"], "the run does not go on after it"
    same_run(name, "reference", name)


def damaged_ledger():
    train("ledger", fault="point=ledger,step=5,action=flip")
    told = json.loads(run("inspect", "ledger", "--json", code=65).out)
    assert told["ledger"]["broken_at"] == 5 and not told["ledger"]["chain_holds"], told


def damaged_checkpoint():
    """The bytes differ on their way to the disk: the manifest knows better, and the parity heals them."""
    train("shard", "--max-steps", 12, fault=f"{SLOW};point=checkpoint.write,count=7,action=flip")
    harmed = [step for step, path in checkpoints("shard").items() if run("inspect", path, code=None).code == 65]
    assert len(harmed) == 1, f"{harmed} of {checkpoints('shard')}"
    result = train("shard")
    assert result.hash() == hashes["reference"] and (max(harmed) < 12 or "healed " in result.err), result.told("shard")
    same_run("shard", "reference", "after a damaged checkpoint")


def main():
    make_digits()
    make_deck()
    make_deck("reference.toml")
    make_deck("wide.toml", WIDE)  # verified and updated in one pass, units in hand; the other clips by norm
    for network in ("reference", "wide"):
        hashes[network] = train(network, deck=f"{network}.toml").hash()
    in_parallel(flipped, [("sums-alone", "point=accumulate,step=5,action=flip", None, None),
                          ("sums-nodes", "point=accumulate,step=5,rank=1,action=flip,count=3", 3, 1),
                          ("message", "point=reduce,step=5,rank=0,action=flip", 2, 1),
                          ("message-2", "point=reduce,step=5,rank=2,action=flip,count=2", 4, 2),
                          ("wide-alone", "point=accumulate,step=5,unit=0,action=flip", None, None, "wide"),
                          ("wide-message", "point=reduce,step=5,rank=0,action=flip", 2, 1, "wide")])
    in_parallel(at_rest, [("rest-alone", "state.parameters", 0, None, None), ("rest-rank", "state.parameters", 1, 2, 1),
                          ("rest-moments", "state.moments", 0, None, None, "wide"),
                          ("rest-node", "state.moments", 1, 3, 1, "wide"), ("rest-shared", "state.moments", 0, 2, None)])
    gathered()
    in_parallel(copied, [("copy-alone", 6, 0, None, None, 0), ("copy-node", 6, 1, 2, 1, 0), ("copy-last", 18, 0, 2, None, 74)])
    flipping("ever", "point=reduce,step=14,rank=1,action=flip", 2, 1)
    in_parallel(ends, [("error", "error", 3, None, {74}, "failpoint unit"),
                       ("segv", "segv", 2, None, {139}, "signal 11|Segmentation"),
                       ("kill", "kill", 3, 1, {137}, "signal 9|Killed"),
                       ("hang", "hang", 2, None, {74, 75}, "waited|deadline"),
                       ("hang-nodes", "hang", 3, 1, {74, 75}, "waited|deadline")])
    damaged_ledger()
    damaged_checkpoint()


main()
