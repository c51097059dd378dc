# SPDX-License-Identifier: Apache-2.0
"""Jobs of several classes of ranks: one computes on the debug device, the others on the CPU. With fixed shares each class
computes its share and the run is the same whoever comes, also across kills; with free ones all may go anywhere. Both classes
have the same bits here, so that whatever is lost, doubled or mixed up shows against the CPU's run."""
import json
import os
import re

from common import DENSE, checkpoints, contents, ledger, make_deck, make_digits, same_run, train

os.environ["LEPTON_DEBUG_DEVICES"] = "1"  # per machine: ranks beyond it compute on the CPU
FIXED = {"train.device": "debug", "balance.classes": "fixed", "balance.shares": '["2 debug", "1 cpu"]'}
FREE = {"train.device": "debug", "balance.classes": "free"}
DECK = "dense.toml"


def units_by_rank(result):
    """From the summary by rank, which ends in the mean: rank -> units."""
    table = result.err[result.err.index("time by rank:"):].partition(" mean ")[0]
    rows = {int(rank): int(units) for rank, units in re.findall(r"^ +(\d+) +\d+ +(\d+) ", table, re.M)}
    assert rows, result.told("no summary")
    return rows


def described(directory):
    with open(f"{directory}/run.json", encoding="utf-8") as file:
        return json.load(file)["starts"][-1]


def fixed_shares(reference):
    result = train("fixed", deck=DECK, ranks=3, sets=FIXED)
    same_run("fixed", "cpu", "fixed shares")
    assert result.hash() == reference, result.told("another parameters_hash")
    units = units_by_rank(result)
    assert abs(units[0] / sum(units.values()) - 2 / 3) < 0.02, f"the device's share is 2 of 3 units: {units}"
    start = described("fixed")
    assert re.fullmatch(r"2 of \[debug device.*\], 1 of \[cpu .*\]", start["arithmetic_class"]), start
    assert len(start["classes"]) == 2, start


def killed(reference):
    slow = "point=unit,action=delay:5ms"
    for restart, (ranks, where) in enumerate([(2, "point=optimizer,step=7,rank=0"), (3, "point=accumulate,step=12,rank=2")]):
        train("killed", deck=DECK, ranks=ranks, sets=FIXED, code=137, fault=f"{slow};{where},restart={restart},action=kill")
    assert checkpoints("killed") and len(ledger("killed")) < 18, "nothing to go on from, or nothing left to do"
    before = contents("killed")
    for sets, code, said in (({"balance.shares": '["1 debug", "2 cpu"]'}, 78, "2 of .*--accept-new-arithmetic"),
                             ({"train.device": "cpu"}, 69, "no rank of this job is of the class 'debug'"),
                             ({"balance.shares": '["2 debug"]'}, 78, "which no share names")):
        result = train("killed", deck=DECK, ranks=3, sets={**FIXED, **sets}, code=code)
        assert len(result.errors()) == 1 and re.search(said, result.errors()[0], re.S), result.told(f"/{said}/ is not said")
        assert contents("killed") == before, "a refused start changed the run"
    result = train("killed", deck=DECK, ranks=4, sets=FIXED)
    assert "continuing from" in result.err, result.told("began anew")
    same_run("killed", "cpu", "after kills")
    assert result.hash() == reference, result.told("another parameters_hash")


def free_units(reference):
    """A device that is much faster than the CPU ranks gets more units; a restart on other classes just goes on."""
    faster = "point=unit,action=delay:100ms;rank=0,point=unit,action=delay:1ms"
    result = train("free", "--max-steps", 12, deck=DECK, ranks=3, sets=FREE, fault=faster)
    units = units_by_rank(result)
    assert units[0] > max(units[1], units[2]), f"units do not go where they are done faster: {units}"
    result = train("free", deck=DECK, ranks=2, sets={**FREE, "train.device": "cpu"})
    assert result.hash() == reference, result.told("another parameters_hash")
    notes = [line for line in ledger("free") if "free-classes" in line]
    assert len(notes) == 2, f"each start is marked in the ledger: {notes}"
    assert described("free")["arithmetic_class"] == "free" and len(described("free")["classes"]) == 1, described("free")


def freed(reference):
    """A run that was begun as of one class says from where on units went anywhere."""
    train("freed", "--max-steps", 9, deck=DECK, ranks=2, sets={"train.device": "cpu"})
    result = train("freed", "--accept-new-arithmetic", deck=DECK, ranks=3, sets=FREE)
    assert result.hash() == reference, result.told("another parameters_hash")
    marked = [line for line in ledger("freed") if "free-classes" in line and "new-arithmetic-class" in line]
    assert len(marked) == 1 and "step=10 " in marked[0], marked
    assert re.search(r"2 of 3 ranks compute on the CPU: .*more ranks than devices", result.err), result.told("why is not said")


def main():
    make_digits()
    make_deck(DECK, DENSE.replace("clip_norm = 0.5\n", ""))
    reference = train("cpu", deck=DECK, ranks=2, sets={"train.device": "cpu"}).hash()
    fixed_shares(reference)
    killed(reference)
    free_units(reference)
    freed(reference)


main()
