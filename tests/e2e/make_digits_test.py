# SPDX-License-Identifier: Apache-2.0
"""tools/make_digits writes all 1,797 digits once, every class in both parts, and the same bytes each time."""
import os
import subprocess
import sys

try:
    import h5py
    import numpy
    from sklearn.datasets import load_digits
except ImportError as missing:
    print(f"SKIPPED: {missing}")
    sys.exit(77)

TOOL = os.path.join(os.environ["SOURCE_DIR"], "tools", "make_digits")


def main():
    for name in ("a.h5", "b.h5"):
        subprocess.run([sys.executable, TOOL, name], check=True)
    assert open("a.h5", "rb").read() == open("b.h5", "rb").read(), "two runs differ"
    with h5py.File("a.h5") as file:
        parts = {part: (file[f"{part}/images"][:], file[f"{part}/labels"][:]) for part in ("train", "test")}
    seen = []
    for images, labels in parts.values():
        assert images.dtype == labels.dtype == numpy.uint8
        assert images.shape == (len(labels), 8, 8) and images.max() == 16
        assert set(labels) == set(range(10))
        seen += [(image.tobytes(), label) for image, label in zip(images, labels)]
    source = load_digits()
    expected = [(i.astype(numpy.uint8).tobytes(), t) for i, t in zip(source.images, source.target)]
    assert sorted(seen) == sorted(expected), "not each digit exactly once"
    assert len(parts["test"][1]) == 359 and len(parts["train"][1]) == 1438
    assert subprocess.run([sys.executable, TOOL], capture_output=True).returncode != 0


main()
