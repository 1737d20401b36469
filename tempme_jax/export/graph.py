"""An ONNX graph in the making: nodes, constants, and values with their shapes.

Sizes are whole numbers, or expressions of one unknown, the batch, as `jax.export` makes them.
A value may be smaller than the array that it stands for: along an axis of size 1 it is broadcast,
as ONNX does it in most operations.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

# Every released runtime of the last years reads these.
OPSET = 18
IR_VERSION = 9

Shape = tuple[Any, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Value:
    """A value of a graph.

    Attributes:
        name: its name in the graph; empty for a constant.
        shape: its sizes, as it is computed.
        dtype: its dtype.
        array: the constant; None if it depends on the inputs.
    """

    name: str
    shape: Shape
    dtype: np.dtype
    array: np.ndarray | None = None


class UnsupportedOperationError(NotImplementedError):
    """ONNX has no node here for an operation that a method uses."""


def hold_constant(array: Any) -> Value:
    """Return a constant as a value, which takes no room in a graph until a node reads it."""
    array = np.asarray(array)
    return Value("", array.shape, array.dtype, array)


def is_static(shape: Iterable[Any]) -> bool:
    """Return whether all sizes are known."""
    return all(isinstance(size, int | np.integer) for size in shape)


class Graph:
    """Nodes and constants, to which a conversion adds."""

    def __init__(self):
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, np.ndarray] = {}
        self._names: dict[Any, str] = {}
        self._held: list[np.ndarray] = []  # while their ids are keys
        self._numbers = itertools.count()
        self._inputs: list[Value] = []
        self.batch: Any = None

    def add_input(self, name: str, shape: Shape, dtype: Any) -> Value:
        """Add an input, whose first size is the batch."""
        value = Value(name, shape, np.dtype(dtype))
        self._inputs.append(value)
        self.batch = shape[0]
        return value

    def add(
        self, op: str, inputs: Sequence[Value], shape: Shape, dtype: Any, **attributes
    ) -> Value:
        """Add a node with one output, of which the caller knows shape and dtype."""
        name = f"{op.lower()}_{next(self._numbers)}"
        names = [self._name(value) for value in inputs]
        self._nodes.append(helper.make_node(op, names, [name], name=name, **attributes))
        return Value(name, tuple(shape), np.dtype(dtype))

    def add_ints(self, numbers: Iterable[int]) -> Value:
        """Return whole numbers as a constant of the kind that ONNX takes for axes and sizes."""
        return hold_constant(np.array(list(numbers), np.int64))

    def cast(self, value: Value, dtype: Any) -> Value:
        """Return a value in another dtype."""
        dtype = np.dtype(dtype)
        if value.dtype == dtype:
            return value
        kind = helper.np_dtype_to_tensor_dtype(dtype)
        return self.add("Cast", [value], value.shape, dtype, to=kind)

    def compute_size(self, size: Any) -> Value:
        """Return a size as an int64 value [1]; it is a multiple of the batch if it is not known."""
        if isinstance(size, int | np.integer):
            return self.add_ints([int(size)])
        shape = self.add("Shape", [self._inputs[0]], (1,), np.int64, start=0, end=1)
        factor = size // self.batch
        if not is_static([factor]) or factor * self.batch != size:
            raise UnsupportedOperationError(f"a size of {size} for a batch of {self.batch}")
        return (
            shape
            if factor == 1
            else self.add("Mul", [shape, self.add_ints([factor])], (1,), np.int64)
        )

    def _name(self, value: Value) -> str:
        """Return the name of a value; a constant that no node has read yet joins the graph."""
        if value.array is None:
            return value.name
        key: Any = id(value.array)
        if value.array.size < 1024:  # equal small ones are stored once
            key = (value.array.dtype.str, value.array.shape, value.array.tobytes())
        if key not in self._names:
            self._names[key] = f"constant_{len(self._names)}"
            self._constants[self._names[key]] = value.array
            self._held.append(value.array)
        return self._names[key]

    def finish(self, outputs: dict[str, Value], *, name: str) -> onnx.ModelProto:
        """Return a model of the nodes that the outputs need.

        Args:
            outputs: the outputs by name.
            name: name of the graph.
        """
        for output, value in outputs.items():
            self._nodes.append(
                helper.make_node("Identity", [self._name(value)], [output], name=output)
            )
        needed, nodes = set(outputs), []
        for node in reversed(self._nodes):
            if needed & set(node.output):
                needed |= set(node.input)
                nodes.insert(0, node)
        constants = [
            numpy_helper.from_array(np.ascontiguousarray(array), key)
            for key, array in self._constants.items()
            if key in needed
        ]
        named = dataclasses.replace
        graph = helper.make_graph(
            nodes,
            name,
            [self._describe(value) for value in self._inputs],
            [self._describe(named(value, name=output)) for output, value in outputs.items()],
            constants,
        )
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)

    def _describe(self, value: Value) -> onnx.ValueInfoProto:
        """Describe an input or output; a size that is not known is called "batch"."""
        sizes = [size if is_static([size]) else "batch" for size in value.shape]
        return helper.make_tensor_value_info(
            value.name, helper.np_dtype_to_tensor_dtype(value.dtype), sizes
        )
