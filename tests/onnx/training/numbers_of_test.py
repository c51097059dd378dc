# SPDX-License-Identifier: Apache-2.0
"""The data of tests/e2e/onnx_training_test.py, which make_training.py trains on too: numbers without any generator whose
stream could change with a version of numpy."""
import numpy

SAMPLES, BATCH, CLASSES, RATE, MOMENTUM, STEPS = 84, 16, 10, 0.05, 0.5, 50  # the last batch of an epoch has 4


def hashed(count, salt):
    """32 bits each, by Knuth's multiplier and two foldings."""
    x = numpy.arange(count, dtype=numpy.uint64) + numpy.uint64(salt << 20)
    for _ in range(2):
        x = (x ^ (x >> numpy.uint64(15))) * numpy.uint64(2654435761) % numpy.uint64(1 << 32)
    return x


def data(shape, vocabulary):
    count = SAMPLES * int(numpy.prod(shape))
    x = hashed(count, 1)
    x = x % numpy.uint64(vocabulary) if vocabulary else x.astype(numpy.float64) / (1 << 31) - 1
    x = x.reshape(SAMPLES, *shape).astype(numpy.int64 if vocabulary else numpy.float32)
    return x, (hashed(SAMPLES, 2) % numpy.uint64(CLASSES)).astype(numpy.int64)
