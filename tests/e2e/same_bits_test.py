# SPDX-License-Identifier: Apache-2.0
"""The promise (DESIGN section 1): the same ledger and the same parameters for any number of ranks, threads and nodes
and any policy; and another seed or unit_size gives others, so that this test could fail. LEPTON_TEST_FULL=1: all of
1, 2, 3, 4, 7 ranks x 1, 2 threads x 1, 2, 3 nodes x all policies. Products in bf16 too, on the debug device as well, where
the CPU has them; and where it has not, or is not to use them, they are refused."""
import itertools
import json
import os
import re

import h5py
import numpy

from common import (CONVOLUTIONAL, DENSE, WIDE, in_parallel, ledger, make_deck, make_digits, run, same_run, train)

# ranks, threads, LEPTON_RANKS_PER_NODE, policy, slow rank
CONFIGURATIONS = [
    (1, 2, None, "static", False),
    (2, 2, 1, "proportional", True),
    (3, 1, 2, "static", False),
    (4, 1, 3, "proportional", True),
    (7, 1, 1, "proportional", False),
    (2, 1, None, "steal", True),
    (3, 1, 1, "steal", True),
    (4, 2, 2, "steal", False),
    (7, 1, 3, "steal", True),
]
if os.environ.get("LEPTON_TEST_FULL"):
    CONFIGURATIONS = [(ranks, threads, -(-ranks // nodes), policy, False)
                      for ranks, threads, nodes, policy in itertools.product((1, 2, 3, 4, 7), (1, 2), (1, 2, 3),
                                                                             ("static", "proportional", "steal"))
                      if -(-ranks // -(-ranks // nodes)) == nodes]
NETWORKS = {"dense": DENSE, "wide": WIDE, "convolutional": CONVOLUTIONAL}


def moved(name):
    """Units that nodes took from others."""
    with open(f"{name}/metrics.jsonl", encoding="utf-8") as file:
        return sum(sum(line["taken"]) for line in map(json.loads, file) if line["kind"] == "balance")


def one(network, reference, ranks, threads, per_node, policy, slow):
    name = f"{network}-{ranks}-{threads}-{per_node}-{policy}"
    result = train(name, deck=f"{network}.toml", ranks=ranks, per_node=per_node,
                   sets={"train.threads": threads, "balance.policy": f'"{policy}"'},
                   fault="point=unit,rank=1,action=delay:3ms" if slow else None)
    same_run(name, network, "against one rank with one thread")
    assert result.hash() == reference.hash(), result.told(f"{network}: another parameters_hash")


# 35 units in a step, and a rank that in some of them takes much longer than any plan knows of.
MANY = {"train.unit_size": 2}
SURPRISE = "point=unit,action=delay:1ms;" + ";".join(f"point=unit,rank=1,step={s},action=delay:20ms" for s in (7, 12))


def surprised(network, ranks, threads, per_node):
    name = f"{network}-many-{ranks}-{threads}-{per_node}"
    result = train(name, deck=f"{network}.toml", ranks=ranks, per_node=per_node, fault=SURPRISE,
                   sets={**MANY, "train.threads": threads})
    same_run(name, f"{network}-many", "where units move, against one rank with one thread")
    return result.hash(), moved(name)


def units_that_move():
    networks, ways = ("wide", "convolutional"), ((2, 1, 1), (4, 2, 2), (7, 1, 3))
    hashes = {network: train(f"{network}-many", deck=f"{network}.toml", sets=MANY).hash() for network in networks}
    work = list(itertools.product(networks, ways))
    found = in_parallel(surprised, [(network, *way) for network, way in work])
    for (network, way), (found_hash, _) in zip(work, found):
        assert found_hash == hashes[network], f"{network} {way}: another parameters_hash"
    assert sum(units for _, units in found) > 0, "no unit moved in any run"
    print(f"{sum(units for _, units in found)} units moved in {len(work)} runs, which gave the same bits")


def differs(network, reference, key, value):
    result = train(f"{network}-{key}", deck=f"{network}.toml", sets={key: value})
    assert result.hash() != reference.hash(), f"{network}: {key} = {value} changes nothing"


BF16 = {"model.precision": "bf16"}


def refused(name, sets, says, ranks=None):
    result = train(f"refused-{name}", deck="wide.toml", ranks=ranks, sets=sets, code=78)
    assert len(result.errors()) == 1 and re.search(says, result.errors()[0], re.S), result.told(f"/{says}/ is not said")
    assert not ledger(f"refused-{name}"), result.told("a step was made")


def has_bf16():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        if "avx512_bf16" in file.read().split():
            return True
    print("SKIPPED: runs in bf16 (this CPU has no instructions for it)")
    return False


def in_bf16(network, ranks, threads, per_node, device):
    name = f"{network}-bf16-{ranks}-{threads}-{device}"
    result = train(name, deck=f"{network}.toml", ranks=ranks, per_node=per_node,
                   sets={**BF16, "train.threads": threads, "train.device": device})
    same_run(name, f"{network}-bf16", "in bf16, against one rank with one thread")
    return result.hash()


def numpy_loss(path):
    """Mean cross-entropy of predicted scores over the test split."""
    with h5py.File(path) as scores, h5py.File("digits.h5") as data:
        z, labels = scores["scores"][:].astype("f8"), data["test/labels"][:]
    z -= z.max(axis=1, keepdims=True)
    return float((numpy.log(numpy.exp(z).sum(axis=1)) - z[numpy.arange(len(z)), labels]).mean())


def evaluated_in_bf16(network):
    """evaluate and predict multiply as training did: by their figures, and unlike float32."""
    trained, losses = f"{network}-bf16", {}
    for precision in ("bf16", "fp32"):
        sets = {"run.dir": trained, "model.precision": precision}
        words = (f"{network}.toml", "--checkpoint", f"{trained}/model.safetensors")
        run("predict", *words, "--inputs", "digits.h5:test/images", "--output", f"{trained}-{precision}.h5", sets=sets)
        losses[precision] = [json.loads(run("evaluate", *words, "--json", ranks=2, sets=sets).out)["loss"],
                             numpy_loss(f"{trained}-{precision}.h5")]
    for precision, (evaluate, predict) in losses.items():
        assert abs(evaluate - predict) < 1e-6 * evaluate, (network, precision, losses)
    assert abs(losses["bf16"][0] - losses["fp32"][0]) > 1e-5 * losses["fp32"][0], (network, losses)


def products_in_bf16(references):
    lacking = r"model\.precision.*multiply in bf16.*AVX512_BF16 or AMX"
    refused("capped", {**BF16, "run.isa": "avx2"}, lacking, ranks=2)
    refused("tf32", {"model.precision": "tf32"}, r"model\.precision.*not in tf32.*train\.device")
    if not has_bf16():
        refused("bf16", BF16, lacking)
        return
    networks = ("wide", "convolutional")
    plan = json.loads(run("check", "wide.toml", "--json", sets=BF16).out)["arithmetic"]
    assert plan["precision"] == "bf16" and plan["instruction_set"].endswith("bf16"), plan
    hashes = {network: train(f"{network}-bf16", deck=f"{network}.toml", sets=BF16).hash() for network in networks}
    work = [(network, *how) for network in networks
            for how in ((2, 1, 1, "cpu"), (3, 2, None, "cpu"), (None, 1, None, "debug"), (3, 1, None, "debug"))]
    for (network, *how), found in zip(work, in_parallel(in_bf16, work)):
        assert found == hashes[network] != references[network].hash(), (network, how)
    with open("wide-bf16/run.json", encoding="utf-8") as record:
        assert "_bf16 oneDNN" in record.read(), "the arithmetic class does not tell"
    in_parallel(evaluated_in_bf16, [(network,) for network in networks])
    print(f"{len(work)} runs in bf16 gave the bits of one rank with one thread")


def main():
    make_digits()
    references = {}
    for network, text in NETWORKS.items():
        make_deck(f"{network}.toml", text)
        references[network] = train(network, deck=f"{network}.toml")  # alone, without mpirun
    in_parallel(one, [(network, references[network], *configuration)
                      for configuration, network in itertools.product(CONFIGURATIONS, NETWORKS)])
    print(f"{len(NETWORKS) * len(CONFIGURATIONS)} runs gave the bits of one rank with one thread")
    units_that_move()
    in_parallel(differs, [(network, references[network], *change) for network in NETWORKS
                          for change in (("run.seed", 4), ("train.unit_size", 20))])
    products_in_bf16(references)


main()
