#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the files of tests/fuzz/corpus that Lepton writes. Usage: make_corpus.py LEPTON, in the folder of the corpus. Needed
only when a format changes: what an older version wrote stays beside it."""
import pathlib
import shutil
import subprocess
import sys
import tempfile

import h5py
import numpy

DECK = """
[run]
dir = "run"
[data]
file = "d.h5"
[data.train]
inputs = "x"
targets = "y"
[model]
layers = [{ type = "dense", units = 3, activation = "relu" }, { type = "dense", units = 2 }]
loss = "softmax_cross_entropy"
[optimizer]
type = "adam"
[train]
batch_size = 8
unit_size = 4
epochs = 1
"""


def put(reader, name, source):
    target = pathlib.Path(reader) / name
    target.parent.mkdir(exist_ok=True)
    if isinstance(source, bytes):
        target.write_bytes(source)
    else:
        shutil.copy(source, target)


def datasets(folder):
    with h5py.File(folder / "d.h5", "w", libver="latest") as file:
        file["x"] = numpy.arange(64, dtype="f4").reshape(16, 4)
        file["y"] = numpy.arange(16, dtype="u1") % 2
    with h5py.File(folder / "chunked.h5", "w") as file:
        file.create_dataset("x", data=numpy.arange(64, dtype=">i2").reshape(16, 4), chunks=(5, 4), compression="gzip", shuffle=True)
    return folder / "d.h5", folder / "chunked.h5"


def main():
    lepton = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for path in datasets(folder):
            put("dataset", path.name, path)
        (folder / "deck.toml").write_text(DECK)
        subprocess.run([lepton, "train", "deck.toml"], cwd=folder, check=True)
        run = folder / "run"
        checkpoint = sorted((run / "checkpoints").iterdir())[-1]
        manifest = (checkpoint / "manifest.json").read_bytes()
        put("deck", "small.toml", folder / "deck.toml")
        put("deck", "resolved.toml", run / "deck.toml")
        put("manifest", "manifest.json", manifest)
        put("sealed_manifest", "body", manifest[manifest.index(b"\n", 2) + 1:])
        put("state", "state.bin", checkpoint / "state.bin")
        put("identity", "identity.json", run / "identity.json")
        put("ledger_line", "first", (run / "ledger.txt").read_bytes().split(b"\n")[0])
        put("model", "model.safetensors", run / "model.safetensors")
        state = (checkpoint / "state.bin").read_bytes()
        put("shard", "whole", b"")
        put("shard", "flipped", (1000).to_bytes(2, "little") + b"\1")
        put("shard", "cut", (1000).to_bytes(2, "little") + b"\0")
        put("parity", "whole", len(state).to_bytes(2, "little") + state + (checkpoint / "state.bin.parity").read_bytes())
        put("parity", "cut", (9).to_bytes(2, "little") + state[:9] + (checkpoint / "state.bin.parity").read_bytes())


main()
