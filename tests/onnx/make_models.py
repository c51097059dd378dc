#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the models beside this script that golden_test.cpp reads: as exporters of other programs write them, with an
input and the output that onnxruntime gives as further initializers, test.input and test.output, which no node takes.
Needs the Python packages onnx and onnxruntime; the files are committed.

Usage: tests/onnx/make_models.py
"""
import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

random = np.random.default_rng(7)


def weights(*shape):
    return (random.standard_normal(shape) / 2).astype(np.float32)


def save(name, opset, nodes, shape, x, tensors, rank=1):
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch"] + [f"d{i}" for i in range(rank)])]
    initializers = [numpy_helper.from_array(value, key) for key, value in tensors.items()]
    graph = helper.make_graph(nodes, name, inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="make_models")
    model.ir_version = 8
    onnx.checker.check_model(model)
    y = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    for key, value in (("test.input", x), ("test.output", y)):
        model.graph.initializer.append(numpy_helper.from_array(value, key))
    onnx.save(model, pathlib.Path(__file__).parent / f"{name}.onnx")


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs.split(), [output], name=f"/{output}/{kind}", **attributes)


def mlp():
    """As PyTorch writes Linear layers: Gemm with transB; then a product with a transposed weight."""
    nodes = [node("Gemm", "x a.weight a.bias", "h", transB=1), node("Tanh", "h", "t"),
             node("Transpose", "b.weight", "w", perm=[1, 0]), node("MatMul", "t w", "p"), node("Add", "b.bias p", "y")]
    tensors = {"a.weight": weights(6, 5), "a.bias": weights(6), "b.weight": weights(3, 6), "b.bias": weights(3)}
    save("mlp", 13, nodes, [5], weights(4, 5), tensors)


def cnn():
    """Convolution in groups, batch norm, pools, a residual, and a flatten by computed shapes."""
    nodes = [node("Conv", "x c.weight c.bias", "c", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1], group=2),
             node("BatchNormalization", "c n.scale n.bias n.mean n.var", "n", epsilon=1e-3, momentum=0.8),
             node("Relu", "n", "r"), node("Add", "r c", "sum"),
             node("MaxPool", "sum", "m", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
             node("AveragePool", "m", "avg", kernel_shape=[2, 2], count_include_pad=1, pads=[1, 0, 0, 1]),
             node("Shape", "avg", "shape"), node("Gather", "shape zero", "batch", axis=0),
             node("Unsqueeze", "batch axes", "batch1"), node("Concat", "batch1 rest", "flat", axis=0),
             node("Reshape", "avg flat", "f"), node("MatMul", "f d.weight", "y")]
    tensors = {"c.weight": weights(6, 2, 3, 3), "c.bias": weights(6), "n.scale": weights(6), "n.bias": weights(6),
               "n.mean": weights(6), "n.var": np.abs(weights(6)) + 1, "d.weight": weights(6 * 3 * 3, 4),
               "zero": np.array(0), "axes": np.array([0]), "rest": np.array([-1])}
    save("cnn", 17, nodes, [4, 7, 6], weights(3, 4, 7, 6), tensors)


def sequence():
    """The batch second, as recurrent layers of PyTorch have it, for a while; layer norm; dimensions of one."""
    nodes = [node("Transpose", "x", "t", perm=[1, 0, 2]), node("MatMul", "t w", "p"), node("Add", "p b", "h"),
             node("Transpose", "h", "back", perm=[1, 0, 2]), node("LayerNormalization", "back s o", "n", axis=-1),
             node("Unsqueeze", "n last", "u"), node("Squeeze", "u last", "q"),
             node("Transpose", "q", "c", perm=[0, 2, 1]), node("Softmax", "c", "y", axis=1)]
    tensors = {"w": weights(4, 5), "b": weights(5), "s": weights(5), "o": weights(5), "last": np.array([-1])}
    save("sequence", 20, nodes, [6, 4], weights(3, 6, 4), tensors, rank=2)


if __name__ == "__main__":
    mlp()
    cnn()
    sequence()
