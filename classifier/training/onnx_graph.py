"""A graph in ONNX, written node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

BATCH = "batch"
# The first version in which the Gaussian error linear unit is an operator of its own.
_OPSET = 20
_IR_VERSION = 9


class FeatureMap(NamedTuple):
    """A value (n, channels, height, width), the order in which runtimes for processors compute."""

    name: str
    channels: int
    height: int
    width: int


class OnnxGraph:
    """Collects nodes and constants; values are known by the names that the methods return."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], onnx.TensorProto] = {}
        self._outputs: list[onnx.ValueInfoProto] = []

    def node(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        name = f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, values: Any, dtype: type = np.float32) -> str:
        """Add a constant, once for equal values, and return its name."""
        array: NDArray[Any] = np.ascontiguousarray(values, dtype)
        key = (array.dtype.str, np.shape(values), array.tobytes())
        if key not in self._constants:
            name = f"constant_{len(self._constants)}"
            self._constants[key] = numpy_helper.from_array(array, name)
        return str(self._constants[key].name)

    def integers(self, *values: int) -> str:
        """Add a list of integers: a shape or axes."""
        return self.constant(values, np.int64)

    def binary(self, operator: str, first: FeatureMap, second: FeatureMap) -> FeatureMap:
        """Add a node that combines two maps element by element; the first gives the shape."""
        return first._replace(name=self.node(operator, [first.name, second.name]))

    def unary(self, operator: str, x: FeatureMap, *constants: str, **attributes: Any) -> FeatureMap:
        """Add a node that changes each element of a map."""
        return x._replace(name=self.node(operator, [x.name, *constants], **attributes))

    def output(self, name: str, value: str, shape: Sequence[int]) -> None:
        """Let a value leave the graph under this name; its shape is given without the batch."""
        self._nodes.append(helper.make_node("Identity", [value], [name], name=name))
        self._outputs.append(_describe(name, shape))

    def model(self, name: str, inputs: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
        """The finished model; the shapes of its inputs are given without the batch."""
        graph = helper.make_graph(
            self._nodes,
            name,
            [_describe(*item) for item in inputs.items()],
            self._outputs,
            list(self._constants.values()),
        )
        opset = [helper.make_opsetid("", _OPSET)]
        return helper.make_model(graph, opset_imports=opset, ir_version=_IR_VERSION)


def _describe(name: str, shape: Sequence[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [BATCH, *shape])
