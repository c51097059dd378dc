# SPDX-License-Identifier: Apache-2.0
"""Whole runs whose ranks compute on the debug device, against the CPU's: the same ledger, parameters, models and figures on
any number of ranks and machines, also after kills and restarts and with flipped bits; and what is refused: another
arithmetic without consent, too little memory, too few devices, a device that is not there."""
import contextlib
import json
import os
import re
import subprocess

import h5py
import numpy

from common import (CONVOLUTIONAL, DENSE, checkpoints, contents, in_parallel, ledger, make_deck, make_digits, metrics,
                    run, same_run, train)

DEBUG = {"train.device": "debug"}
SLOW = "point=unit,action=delay:5ms"  # time for checkpoints
OFTEN = '[evaluation]\nevery = "5 steps"\n'
NETWORKS = {
    "dense": DENSE.replace("clip_norm = 0.5\n", ""),  # verified and updated in one pass
    "conv": CONVOLUTIONAL + "clip_norm = 0.5\n",  # in two
}
hashes = {}


@contextlib.contextmanager
def setting(**variables):
    """Environment of the runs in the block, which nothing else may run beside."""
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]


def same_file(path, reference):
    with open(path, "rb") as a, open(reference, "rb") as b:
        assert a.read() == b.read(), f"{path} differs from {reference}"


def figures(directory):
    """What was evaluated, without times."""
    return [{key: row[key] for key in ("step", "loss", "accuracy", "top5")} for row in metrics(directory, "test")]


def state_of(directory, step):
    """Parameters and moments in a checkpoint; its other contents name the arithmetic."""
    with h5py.File(f"{checkpoints(directory)[step]}/shard-00000.h5") as file:
        found = {}
        file.visititems(lambda name, item: found.update({name: item[:].tobytes()} if isinstance(item, h5py.Dataset) else {}))
    assert len(found) >= 2, found.keys()
    return found


def same_bits(network, ranks, sums="auto", per_machine=None):
    """per_machine: ranks that share their rows; those of other machines are sent."""
    directory = f"{network}-{ranks}-{sums}-{per_machine}"
    result = train(directory, deck=f"{network}.toml", ranks=ranks, per_node=per_machine,
                   sets={**DEBUG, "train.device_sums": sums})
    same_run(directory, network, "against the CPU")
    assert result.hash() == hashes[network], result.told("another parameters_hash")
    for name in ("model.safetensors", "best.safetensors"):
        same_file(f"{directory}/{name}", f"{network}/{name}")
    assert figures(directory) == figures(network), f"{directory}: other evaluations"


def evaluated(network, ranks):
    """The CPU's figures of the CPU's run."""
    def report(ranks, device):
        words = ("evaluate", f"{network}.toml", "--json", "--split", "test")
        return json.loads(run(*words, ranks=ranks, sets={"run.dir": network, "train.device": device}).out)
    told = report(ranks, "debug")
    assert told == report(2, "cpu"), f"evaluate on {ranks} debug ranks"
    assert told["samples"] == 359 and sum(map(sum, told["confusion"])) == 359, told


def killed_and_restarted(network, kills, last_ranks):
    directory = f"{network}-killed"
    for restart, (ranks, where) in enumerate(kills):
        train(directory, deck=f"{network}.toml", ranks=ranks, sets=DEBUG, code=137,
              fault=f"{SLOW};{where},restart={restart},action=kill")
    assert checkpoints(directory) and len(ledger(directory)) < 18, "nothing to go on from, or nothing left to do"
    result = train(directory, deck=f"{network}.toml", ranks=last_ranks, sets=DEBUG)
    assert "continuing from" in result.err, result.told("began anew")
    same_run(directory, network, "after kills")
    assert result.hash() == hashes[network], result.told("another parameters_hash")
    assert state_of(directory, 18) == state_of(network, 18), f"{directory}: the last checkpoint holds another state"


def flipped(network, name, fault, ranks, sums="auto"):
    directory = f"{network}-{name}"
    result = train(directory, deck=f"{network}.toml", ranks=ranks, fault=fault,
                   sets={**DEBUG, "balance.policy": "static", "train.device_sums": sums})
    assert re.search(r"step 5: a checksum.*redone", result.err), result.told(f"{directory}: not noticed")
    same_run(directory, network, "after a flipped bit")
    assert result.hash() == hashes[network], result.told(directory)


def diverged():
    """Named by step, unit and layer as on the CPU."""
    sets = {"optimizer.learning_rate": 1e20}
    messages = {tuple(train(f"diverged-{device}", deck="dense.toml", ranks=2, code=76,
                            sets={**sets, "train.device": device}).errors()) for device in ("cpu", "debug")}
    assert len(messages) == 1, messages
    assert re.search(r"step \d+, unit \d+.*\n?.*dense_\d", messages.pop()[0]), messages


def skipped_steps():
    """Values as targets; the step with the one sample whose gradient overflows changes nothing, as on the CPU."""
    with h5py.File("rare.h5", "w") as file:
        random = numpy.random.default_rng(2)
        file["x"], file["y"] = random.normal(size=(300, 5)), numpy.where(numpy.arange(300) == 117, 3e38, 1)
    deck = make_deck("rare.toml", """
[model]
loss = "mse"
layers = [{ type = "dense", units = 16, activation = "tanh" }, { type = "dense", units = 1 }]
[optimizer]
learning_rate = 0.02
""", '\n[data]\nfile = "rare.h5"\ntrain = { inputs = "x", targets = "y" }\n')
    sets = {"train.on_non_finite": "skip"}
    reference = train("skipped", deck=deck, ranks=2, sets={**sets, "train.device": "cpu"}).hash()
    for ranks in (None, 3):
        assert train(f"skipped-{ranks}", deck=deck, ranks=ranks, sets={**sets, **DEBUG}).hash() == reference
    same_run("skipped-3", "skipped-None")
    same_run("skipped-3", "skipped")
    assert sum("skipped" in line for line in ledger("skipped")) == 2, ledger("skipped")


def another_arithmetic():
    """The CPU may not go on with what a device began, unless it is asked to."""
    directory = "begun"
    train(directory, "--max-steps", 7, deck="dense.toml", ranks=2, sets=DEBUG)
    before = contents(directory)
    result = train(directory, deck="dense.toml", ranks=2, sets={"train.device": "cpu"}, code=78)
    assert len(result.errors()) == 1 and re.search(r"debug device.*cpu.*--accept-new-arithmetic", result.errors()[0], re.S), \
        result.told("which classes, and what to do?")
    assert contents(directory) == before, "a refused start changed the run"
    accepted = train(directory, "--accept-new-arithmetic", deck="dense.toml", ranks=2, sets={"train.device": "cpu"})
    assert accepted.hash() == hashes["dense"], accepted.told("the debug device has the CPU's bits")
    assert any("new-arithmetic-class" in line for line in ledger(directory)), ledger(directory)


def refused(code, pattern, ranks=None, **sets):
    directory = "refused"
    result = train(directory, deck="dense.toml", ranks=ranks, sets=sets, code=code)
    assert len(result.errors()) == 1 and re.search(pattern, result.errors()[0], re.S), result.told(f"/{pattern}/ is not said")
    assert not ledger(directory) and not checkpoints(directory), result.told("a step was made")


def too_little():
    for ranks in (None, 2):
        with setting(LEPTON_DEBUG_DEVICE_BYTES="300000"):
            refused(71, r"dense\.toml.*needs [\d.]+ \w+ of memory on debug device.*[\d.]+ \w+ are available", ranks, **DEBUG)
    with setting(LEPTON_DEBUG_DEVICES="1"):
        refused(69, r"1 device for 2 ranks.*train\.share_devices", 2, **DEBUG)
        shared = train("shared", deck="dense.toml", ranks=2, sets={**DEBUG, "train.share_devices": "true"})
        assert shared.hash() == hashes["dense"], shared.told("shared devices")
    with setting(LEPTON_DEBUG_DEVICES="0"):
        refused(69, r"no such device.*LEPTON_DEBUG_DEVICES", **DEBUG)


def sums_that_cannot_be():
    refused(69, r"NCCL cannot be used: not every rank.*train\.device_sums", 2, **DEBUG, **{"train.device_sums": "nccl"})


def without_cuda():
    with contextlib.suppress(OSError):
        if subprocess.run(["nvidia-smi", "-L"], capture_output=True, check=False).returncode == 0:
            print("SKIPPED: train.device = cuda without CUDA (this machine has a GPU)")
            return
    for ranks in (None, 2):
        refused(69, r"no such device.*train\.device", ranks, **{"train.device": "cuda"})


def main():
    make_digits()
    for network, text in NETWORKS.items():
        make_deck(f"{network}.toml", text, more=OFTEN)
    for network, result in zip(NETWORKS, in_parallel(
            lambda network: train(network, deck=f"{network}.toml", ranks=2, sets={"train.device": "cpu"}),
            [(network,) for network in NETWORKS])):
        hashes[network] = result.hash()
    assert any(re.search(r"attempts=[2-9]", line) for line in ledger("dense") + ledger("conv")), "no attempt was redone"
    work = [(same_bits, network, ranks) for network in NETWORKS for ranks in (None, 2, 3)]
    work += [(same_bits, "dense", 3, "host"), (same_bits, "conv", 2, "host"), (same_bits, "conv", 3, "mpi")]
    work += [(same_bits, "dense", 2, "auto", 1), (same_bits, "conv", 3, "auto", 2)]
    work += [(evaluated, network, ranks) for network, ranks in (("dense", 3), ("conv", None))]
    work += [(killed_and_restarted, "dense", [(2, "point=optimizer,step=8,rank=1"), (3, "point=accumulate,step=13,rank=2")], None),
             (killed_and_restarted, "conv", [(None, "point=check,step=9"), (2, "point=evaluate,step=15,rank=0")], 3)]
    work += [(flipped, "dense", "flip-alone", "point=accumulate,step=5,action=flip", None),
             (flipped, "conv", "flip-nodes", "point=accumulate,step=5,rank=0,action=flip", 3),
             (flipped, "dense", "flip-message", "point=reduce,step=5,rank=0,action=flip", 2),
             (flipped, "dense", "flip-message-host", "point=reduce,step=5,rank=0,action=flip", 2, "host")]
    work += [(diverged,), (skipped_steps,), (another_arithmetic,)]
    in_parallel(lambda test, *rest: test(*rest), work, workers=3)
    too_little()
    sums_that_cannot_be()
    without_cuda()


main()
