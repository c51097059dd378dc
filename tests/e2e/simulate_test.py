# SPDX-License-Identifier: Apache-2.0
"""`lepton simulate` from deck and cluster file to tables: figures that can be worked out by hand, the samples in
inputs/clusters, a real run as the measure of a unit, and every way in which a cluster file or the command line is wrong:
one message that names the place, and the right exit code, on one rank and under mpirun."""
import glob
import json
import os
import re

from common import DATA, SOURCE_DIR, in_parallel, make_deck, make_digits, metrics, run, train, write

# A batch of 600 in units of 5: 120 units.
TRAIN = "[train]\nepochs = 2\nbatch_size = 600\nunit_size = 5\nthreads = 1\n"
CLUSTER = """
[[nodes]]
count = 3
ranks = 4
unit_ms = 10
noise = 0
[[nodes]]
ranks = 4
speed = 0.5
noise = 0
[network]
latency_us = 5
gigabytes_per_second = 2
"""
# name: (text of the cluster file, what the message must say; exit code 78). Every key: tests/train/cluster_test.cpp
WRONG_FILES = {
    "syntax": ("[[nodes]\n", r"syntax\.toml:1:\d+: not TOML"),
    "empty": ("", r"empty\.toml: nodes is missing.*\[\[nodes\]\]"),
    "unknown-key": ("[[nodes]]\nunit_msec = 3\n", r'unknown-key\.toml:2:1: unknown key nodes\.unit_msec.*Did you mean "unit_ms"'),
    "text": ('[[nodes]]\ncount = "many"\n', r'text\.toml:2:9: nodes\.count = "many" is not an integer from 1'),
    "noise": ("[[nodes]]\nnoise = 20\n", r"noise\.toml:2:9: nodes\.noise = 20 is not a number from 0 to 1"),
    "both": ("[[nodes]]\nspeed = 1\nunit_ms = 3\n", r"both\.toml:2:9: nodes\.speed = 1 stands beside nodes\.unit_ms"),
    "no-reference": ("[[nodes]]\nranks = 2\n[[nodes]]\nunit_ms = 3\n",
                     r"no-reference\.toml:1:\d+: nobody says how long.*--from RUN_DIR.*unit_ms"),
    "too-many": ("[[nodes]]\ncount = 90000\n[[nodes]]\ncount = 90000\n", r"too-many\.toml:1:\d+: 180000 machines"),
    "mixed": ('[[nodes]]\nunit_ms = 3\n[[nodes]]\nunit_ms = 1\ndevice = "gpu"\n',
              r"balance\.classes.*machines with and without GPUs"),
}
# name: (words behind the deck, exit code, what the message must say)
WRONG_LINES = {
    "no-cluster": ([], 64, r"--cluster"),
    "nowhere": (["--cluster", "nowhere.toml"], 66, r"nowhere\.toml"),
    "size-zero": (["--cluster", "cluster.toml", "--sizes", "0"], 64, r"sizes"),
    "size-text": (["--cluster", "cluster.toml", "--sizes", "1,two"], 64, r"sizes"),
    "size-large": (["--cluster", "cluster.toml", "--sizes", "4,17"], 64, r"17 ranks are more than the 16 of cluster\.toml"),
    "steps": (["--cluster", "cluster.toml", "--steps", "0"], 64, r"steps"),
    "from-nowhere": (["--cluster", "cluster.toml", "--from", "nowhere"], 66, r"nowhere: there is no run"),
    "from-nothing": (["--cluster", "cluster.toml", "--from", "nothing"], 65, r"metrics\.jsonl: no line of kind balance"),
    "option": (["--cluster", "cluster.toml", "--size", "4"], 64, r"--size.*--sizes"),
}


def simulate(*arguments, **how):
    return run("simulate", "deck.toml", *arguments, **how)


def report(*arguments, **how):
    return json.loads(simulate("--json", *arguments, **how).out)


def figures():
    found = report("--cluster", "cluster.toml", "--sizes", "16,4,1", "--steps", "2")
    assert [size["ranks"] for size in found["sizes"]] == [1, 4, 16], found
    assert found["run"]["units"] == 120 and found["run"]["steps"] == 4, found["run"]  # 600 and 1 of 601 samples, twice
    one, four, all_of_it = found["sizes"]
    assert abs(one["step"]["units_s"] - 1.2) < 1e-6 and abs(four["step"]["units_s"] - 0.3) < 1e-6, found
    # Three nodes of 400 units/s and one of 200: 120 units in 85.7 ms; whole units on whole threads need 90.
    assert abs(all_of_it["efficiency"]["whole_units"] - 120 / 1400 / 0.09) < 1e-6, all_of_it
    assert 0.8 < all_of_it["efficiency"]["units"] <= all_of_it["efficiency"]["whole_units"] + 1e-9, all_of_it
    assert all_of_it["efficiency"]["step"] < all_of_it["efficiency"]["units"], all_of_it
    assert all_of_it["run"]["node_hours"] > four["run"]["node_hours"], found
    assert found["cluster"]["assumed"] == ["file_system", "failures"], found["cluster"]
    under_mpi = report("--cluster", "cluster.toml", "--sizes", "16,4,1", "--steps", "2", ranks=3)
    assert under_mpi == found, "the report depends on who asks"
    doubled = report("--cluster", "cluster.toml")
    assert [size["ranks"] for size in doubled["sizes"]] == [1, 2, 4, 8, 16], doubled
    static = report("--cluster", "cluster.toml", "--sizes", "16", sets={"balance.policy": "static"})
    assert abs(static["sizes"][0]["step"]["units_s"] - 0.16) < 1e-6, "30 units on each node, eight turns of 20 ms"


def tables():
    text = simulate("--cluster", "cluster.toml").out
    for part in ("120 units of at most 5 samples in a step", "16 ranks on 4 machines", "10 ms per unit", "5 us and 2 GB/s",
                 "assumed, as the file does not tell: [file_system] [failures]", "efficiency of", "node-"):
        assert part in text, f"no '{part}' in\n{text}"
    assert len(re.findall(r"^ +16 +", text, re.M)) == 2, text
    # A device that this machine lacks is not needed to think about it.
    assert "16 ranks" in simulate("--cluster", "cluster.toml", sets={"train.device": "cuda"}).out
    coarse = simulate("--cluster", "cluster.toml", sets={"train.unit_size": 60}).out
    assert re.search(r"warning: with 16 ranks a step has 10 units for 16 compute threads.*unit_size of \d+", coarse), coarse
    assert "memory_gigabytes_per_second" in run("simulate", "--help").out


def measured():
    """A real run tells how long units take; its lines replaced, so that the figures are known."""
    train("measured", "--max-steps", 3, ranks=2, per_node=1, sets={"balance.policy": "proportional"})
    write("speeds.toml", "[[nodes]]\ncount = 2\nnoise = 0\n[[nodes]]\nspeed = 2\nnoise = 0\n")
    lines = metrics("measured", "balance")
    assert lines and len(lines[-1]["speeds"]) == 2, "a run ends with a line of kind balance"
    real = report("--cluster", "speeds.toml", "--from", "measured")["calibration"]
    assert real["nodes"] == 2 and real["ranks"] == 2 and 0 < real["unit_ms"] < 1000 and real["rest_ms"] > 0, real
    line = {"kind": "balance", "step": 3, "step_s": 1.25, "units_s": 1.0, "efficiency": 0.9, "speeds": [50, 50],
            "threads": [1, 1]}
    write("measured/metrics.jsonl", json.dumps(line) + "\n")
    found = report("--cluster", "speeds.toml", "--from", "measured", "--sizes", "1,3")
    assert [group["unit_ms"] for group in found["cluster"]["nodes"]] == [20, 10], found["cluster"]
    assert abs(found["sizes"][0]["step"]["units_s"] - 2.4) < 1e-6, found
    assert 0.24 < found["sizes"][0]["step"]["other_s"] <= 0.25, found
    assert "measured: 20 ms per unit" in simulate("--cluster", "speeds.toml", "--from", "measured").out
    half = report("--cluster", "speeds.toml", "--from", "measured", sets={"train.unit_size": 10})
    assert half["calibration"]["unit_ms"] == 40 and "in proportion" in half["warnings"][0], half
    other = simulate("--cluster", "speeds.toml", "--from", "measured", code=64,
                     sets={"model.layers": '[{ type = "flatten" }, { type = "dense", units = 10 }]'})
    assert re.search(r"another model\.layers", other.err), other.told("units of another network")


def samples():
    paths = sorted(glob.glob(os.path.join(SOURCE_DIR, "inputs", "clusters", "*.toml")))
    assert len(paths) >= 2, paths
    for path in paths:
        more = [] if "unit_ms" in open(path, encoding="utf-8").read() else ["--from", "measured"]
        assert len(report("--cluster", path, *more, "--steps", 1)["sizes"]) > 1, path


def refused(name, ranks, words, code, pattern):
    result = simulate(*words, ranks=ranks, code=None)
    errors = result.errors()
    assert result.code == code, result.told(f"{name}: exit code {code} expected")
    assert len(errors) == 1, result.told(f"{name}: {len(errors)} messages")
    assert re.search(pattern, errors[0], re.S), result.told(f"{name}: the message does not say /{pattern}/")
    assert not result.out, result.told(f"{name}: something was printed")


def main():
    make_digits()
    make_deck(data=DATA, train=TRAIN)
    write("cluster.toml", CLUSTER)
    os.mkdir("nothing")
    for name, (text, _) in WRONG_FILES.items():
        write(f"{name}.toml", text)
    figures()
    tables()
    measured()
    samples()
    cases = [(name, None, ["--cluster", f"{name}.toml"], 78, pattern) for name, (_, pattern) in WRONG_FILES.items()]
    cases += [(name, None, *expected) for name, expected in WRONG_LINES.items()]
    cases += [(name, 3, ["--cluster", f"{name}.toml"], 78, WRONG_FILES[name][1]) for name in ("syntax", "text", "no-reference")]
    cases += [(name, 3, *WRONG_LINES[name]) for name in ("nowhere", "size-large", "from-nothing")]
    in_parallel(refused, cases)


main()
