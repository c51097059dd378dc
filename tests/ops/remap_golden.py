#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes tests/ops/remap_golden.h: what onnxruntime gives for Resize, Pad and Slice on odd shapes.

Usage: remap_golden.py > remap_golden.h     (needs onnx, onnxruntime and numpy; run once, the result is kept)
Element i of each input is i * i % 23 - 11. The first dimension is the batch, which has one sample.
"""
import itertools
import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def run(kind, shape, inputs, attributes):
    """Output of one node on the input above; `inputs` by position, None where absent."""
    names = ["x"] + [f"i{k}" if value is not None else "" for k, value in enumerate(inputs)]
    constants = [numpy_helper.from_array(value, f"i{k}") for k, value in enumerate(inputs) if value is not None]
    graph = helper.make_graph(
        [helper.make_node(kind, names, ["y"], **attributes)], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(shape))], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    count = int(numpy.prod(shape))
    x = (numpy.arange(count) ** 2 % 23 - 11).astype(numpy.float32).reshape(shape)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def ints(values):
    return "std::vector<int64_t>{" + ", ".join(map(str, values)) + "}"


def cases():
    for mode, coordinates in itertools.product(("nearest", "linear"),
                                               ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")):
        for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil") if mode == "nearest" else (None,):
            for key, value in (("scales", [1.0, 1.0, 2.0, 1.5]), ("scales", [1.0, 1.0, 0.5, 0.75]), ("sizes", [1, 2, 7, 3])):
                shape = [1, 2, 4, 5]
                given = {"mode": mode, "coordinate_transformation_mode": coordinates}
                if rounding:
                    given["nearest_mode"] = rounding
                array = numpy.array(value, dtype=numpy.float32 if key == "scales" else numpy.int64)
                inputs = [None, array] if key == "scales" else [None, None, array]
                own = dict(given)
                text = ints(value) if key == "sizes" else "std::vector<double>{" + ", ".join(map(str, value)) + "}"
                yield "Resize", shape, inputs, own, {key: text}
    for mode in ("constant", "reflect", "edge"):
        pads = [0, 0, 1, 2, 0, 0, 3, 1]
        yield ("Pad", [1, 2, 4, 5], [numpy.array(pads), numpy.array(1.5, dtype=numpy.float32) if mode == "constant" else None],
               {"mode": mode}, {"pads": ints(pads), **({"constant_value": "1.5"} if mode == "constant" else {})})
    for starts, ends, axes, steps in (([1, -3], [2 ** 31, -1], [2, 3], [1, 1]), ([-1, 4], [-100, 0], [1, 3], [-1, -2]),
                                      ([0], [100], [-1], [3])):
        yield ("Slice", [1, 3, 4, 5], [numpy.array(v) for v in (starts, ends, axes, steps)], {},
               {"starts": ints(starts), "ends": ints(ends), "axes": ints(axes), "steps": ints(steps)})


def main():
    print("// SPDX-License-Identifier: Apache-2.0")
    print(f"// Made by tests/ops/remap_golden.py with onnxruntime {onnxruntime.__version__}; do not edit.")
    print("#pragma once\n\n#include <vector>\n\n#include \"ops/op.h\"\n\n// clang-format off")
    print("namespace lepton::ops {\n")
    print("struct RemapGolden {\n  const char* name;\n  const char* type;\n  Shape input;\n  Attributes attributes;\n"
          "  Shape output;\n  std::vector<float> values;\n};\n")
    print("inline const std::vector<RemapGolden> remap_golden = {")
    for kind, shape, inputs, attributes, ours in cases():
        try:
            y = run(kind, shape, inputs, attributes)
        except Exception as error:
            raise SystemExit(f"{kind} {attributes}: {error}")
        texts = [f'{{"{key}", std::string("{value}")}}' for key, value in attributes.items()]
        texts += [f'{{"{key}", {value}}}' for key, value in ours.items()]
        name = " ".join([kind, *attributes.values(), *(k + v[v.find("{"):].replace(chr(34), "") for k, v in ours.items())])
        values = ", ".join(f"{value:.9g}" for value in y.ravel().tolist())
        print(f'    {{"{name}", "{kind}", {{{", ".join(map(str, shape[1:]))}}},\n     {{{", ".join(texts)}}},\n'
              f"     {{{', '.join(map(str, y.shape[1:]))}}},\n     {{{values}}}}},")
    print("};\n\n}  // namespace lepton::ops\n// clang-format on")


if __name__ == "__main__":
    main()
