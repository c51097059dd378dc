# SPDX-License-Identifier: Apache-2.0
"""What tools/bench reads from a run's closing summary is what the run prints: the phases by name, of the mean of all
ranks or of the only one. (The measurements themselves are no tests.)"""
import os
import sys

from common import CONVOLUTIONAL, SOURCE_DIR, make_deck, make_digits, train

sys.path.insert(0, os.path.join(SOURCE_DIR, "tools"))
import bench_lepton  # noqa: E402


def main():
    make_digits()
    make_deck("deck.toml", CONVOLUTIONAL)
    for ranks in (1, 3):
        run = train(f"run{ranks}", deck="deck.toml", ranks=ranks)
        output = run.out + run.err
        header = next(line for line in output.splitlines() if line.split()[:1] == ["rank"])
        assert header.split()[4:] == list(bench_lepton.PHASES), header
        shares = bench_lepton.shares(output)
        assert abs(sum(shares.values()) - 100) < 1, shares
        assert shares["compute"] > 0, shares


main()
