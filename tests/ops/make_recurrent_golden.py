#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes recurrent_golden.h beside it: what onnxruntime gives for RNN, LSTM and GRU on small whole-numbered operands.
Run once, by a Python that has numpy, onnx and onnxruntime: make_recurrent_golden.py; the tests need none of them."""
import itertools
import pathlib

import numpy
import onnx
import onnxruntime
from onnx import helper

SAMPLES, STEPS, INPUTS, UNITS = 3, 4, 3, 5
LENGTHS = [2, 4, 1]
GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
HEAD = f"""// SPDX-License-Identifier: Apache-2.0
// Made by make_recurrent_golden.py with onnxruntime {onnxruntime.__version__}: outputs of RNN, LSTM and GRU, sample by
// sample, for {SAMPLES} samples of {STEPS} steps, {INPUTS} inputs and {UNITS} units, with the operands of recurrent_test.cpp.
#pragma once

#include "ops/harness.h"

namespace lepton::ops::testing {{

struct Golden {{
  const char *type, *direction, *output;
  int variant;  ///< GRU: linear_before_reset; RNN: Relu
  bool lengths;
  Numbers values;
}};

// clang-format off
inline const Golden recurrent_golden[] = {{
"""
TAIL = """};
// clang-format on

}  // namespace lepton::ops::testing
"""


def numbers(shape, seed):
    i = numpy.arange(numpy.prod(shape), dtype=numpy.int64)
    return (((i * i * 7 + i * 13 + seed * 29) % 23 - 11) / 16).astype(numpy.float32).reshape(shape)


def outputs(kind, direction, variant, lengths):
    """Y and Y_h sample by sample, directions side by side."""
    directions = 2 if direction == "bidirectional" else 1
    width = GATES[kind] * UNITS
    feeds = {"X": numbers((SAMPLES, STEPS, INPUTS), 1).transpose(1, 0, 2).copy(),
             "W": numbers((directions, width, INPUTS), 2), "R": numbers((directions, width, UNITS), 3),
             "B": numbers((directions, 2 * width), 4)}
    names = ["X", "W", "R", "B"]
    if lengths:
        feeds["L"] = numpy.array(LENGTHS, numpy.int32)
        names.append("L")
    attributes = {"hidden_size": UNITS, "direction": direction}
    if kind == "GRU":
        attributes["linear_before_reset"] = variant
    if kind == "RNN" and variant:
        attributes["activations"] = ["Relu"] * directions
    node = helper.make_node(kind, names, ["Y", "Y_h"], **attributes)
    inputs = [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(feed.dtype), feed.shape)
              for name, feed in feeds.items()]
    results = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("Y", "Y_h")]
    model = helper.make_model(helper.make_graph([node], "one", inputs, results),
                              opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    y, last = onnxruntime.InferenceSession(model.SerializeToString()).run(["Y", "Y_h"], feeds)
    return y.transpose(2, 0, 1, 3).ravel(), last.transpose(1, 0, 2).ravel()


def main():
    text = HEAD
    cases = itertools.product(GATES, ("forward", "reverse", "bidirectional"), (0, 1), (False, True))
    for kind, direction, variant, lengths in cases:
        if (kind == "LSTM" and variant) or (kind == "RNN" and variant and direction != "forward"):
            continue
        for output, values in zip(("Y", "Y_h"), outputs(kind, direction, variant, lengths)):
            if output == "Y" and direction != "bidirectional":
                continue  # the two together hold them
            text += f'    {{"{kind}", "{direction}", "{output}", {variant}, {str(lengths).lower()}, {{'
            pieces, line = [f"{value:.7g}" for value in values], ""
            for piece in pieces:
                if len(line) + len(piece) > 100:
                    text += "\n     " + line
                    line = ""
                line += f" {piece},"
            text += "\n     " + line + "}},\n"
    pathlib.Path(__file__).with_name("recurrent_golden.h").write_text(text + TAIL)


main()
