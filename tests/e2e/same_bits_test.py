# SPDX-License-Identifier: Apache-2.0
"""The promise (DESIGN section 1): the same ledger and the same parameters for any number of ranks, threads and nodes
and either policy; and another seed or unit_size gives others, so that this test could fail. LEPTON_TEST_FULL=1: all of
1, 2, 3, 4, 7 ranks x 1, 2 threads x 1, 2, 3 nodes x both policies."""
import itertools
import os

from common import CONVOLUTIONAL, DENSE, WIDE, in_parallel, make_deck, make_digits, same_run, train

# ranks, threads, LEPTON_RANKS_PER_NODE, policy, slow rank
CONFIGURATIONS = [
    (1, 2, None, "static", False),
    (2, 1, None, "proportional", True),
    (2, 2, 1, "proportional", True),
    (3, 1, 2, "static", False),
    (3, 1, 1, "proportional", False),
    (4, 1, 3, "proportional", True),
    (4, 2, 2, "static", False),
    (7, 1, None, "proportional", False),
    (7, 1, 3, "proportional", True),
    (7, 1, 1, "static", False),
]
if os.environ.get("LEPTON_TEST_FULL"):
    CONFIGURATIONS = [(ranks, threads, -(-ranks // nodes), policy, False)
                      for ranks, threads, nodes, policy in itertools.product((1, 2, 3, 4, 7), (1, 2), (1, 2, 3),
                                                                             ("static", "proportional"))
                      if -(-ranks // -(-ranks // nodes)) == nodes]
NETWORKS = {"dense": DENSE, "wide": WIDE, "convolutional": CONVOLUTIONAL}


def one(network, reference, ranks, threads, per_node, policy, slow):
    name = f"{network}-{ranks}-{threads}-{per_node}-{policy}"
    result = train(name, deck=f"{network}.toml", ranks=ranks, per_node=per_node,
                   sets={"train.threads": threads, "balance.policy": f'"{policy}"'},
                   fault="point=unit,rank=1,action=delay:3ms" if slow else None)
    same_run(name, network, "against one rank with one thread")
    assert result.hash() == reference.hash(), result.told(f"{network}: another parameters_hash")


def differs(network, reference, key, value):
    result = train(f"{network}-{key}", deck=f"{network}.toml", sets={key: value})
    assert result.hash() != reference.hash(), f"{network}: {key} = {value} changes nothing"


def main():
    make_digits()
    references = {}
    for network, text in NETWORKS.items():
        make_deck(f"{network}.toml", text)
        references[network] = train(network, deck=f"{network}.toml")  # alone, without mpirun
    in_parallel(one, [(network, references[network], *configuration)
                      for configuration, network in itertools.product(CONFIGURATIONS, NETWORKS)])
    print(f"{len(NETWORKS) * len(CONFIGURATIONS)} runs gave the bits of one rank with one thread")
    in_parallel(differs, [(network, references[network], *change) for network in NETWORKS
                          for change in (("run.seed", 4), ("train.unit_size", 20))])


main()
