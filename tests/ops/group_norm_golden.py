#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes tests/ops/group_norm_golden.h: GroupNormalization (opset 21) and InstanceNormalization by onnx.reference.

Usage: group_norm_golden.py > group_norm_golden.h     (needs onnx and numpy; run once, the result is kept)
Element i of the input is i * i % 23 - 11, of scale 1 + i / 2, of bias i - 1; two samples.
"""
import numpy
import onnx
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator


def run(kind, shape, attributes):
    names = ["x", "scale", "bias"]
    shapes = [shape, [shape[1]], [shape[1]]]
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in zip(names, shapes)]
    graph = helper.make_graph([helper.make_node(kind, names, ["y"], **attributes)], "g", inputs,
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    channels = numpy.arange(shape[1])
    x = (numpy.arange(int(numpy.prod(shape))) ** 2 % 23 - 11).astype(numpy.float32).reshape(shape)
    values = {"x": x, "scale": (1 + channels / 2).astype(numpy.float32), "bias": (channels - 1).astype(numpy.float32)}
    return ReferenceEvaluator(model).run(None, values)[0]


def main():
    print("// SPDX-License-Identifier: Apache-2.0")
    print(f"// Made by tests/ops/group_norm_golden.py with onnx {onnx.__version__}; do not edit.")
    print("#pragma once\n\n#include <vector>\n\n#include \"tensor/shape.h\"\n\n// clang-format off")
    print("namespace lepton::ops {\n\nstruct GroupNormGolden {\n  Shape input;\n  int64_t groups;  ///< 0: instances\n"
          "  double epsilon;\n  std::vector<float> values;\n};\n")
    print("inline const std::vector<GroupNormGolden> group_norm_golden = {")
    for shape, groups, epsilon in (([2, 6, 3, 5], 2, 1e-5), ([2, 6, 3, 5], 3, 0.5), ([2, 4, 7], 1, 1e-5),
                                   ([2, 3, 3, 5], 0, 1e-5), ([2, 3, 2, 2, 3], 0, 0.25)):
        kind = "GroupNormalization" if groups else "InstanceNormalization"
        attributes = {"epsilon": epsilon, **({"num_groups": groups} if groups else {})}
        values = ", ".join(f"{value:.9g}" for value in run(kind, shape, attributes).ravel().tolist())
        print(f"    {{{{{', '.join(map(str, shape[1:]))}}}, {groups}, {epsilon},\n     {{{values}}}}},")
    print("};\n\n}  // namespace lepton::ops\n// clang-format on")


if __name__ == "__main__":
    main()
