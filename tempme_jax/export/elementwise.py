"""JAX's operations on single elements as nodes of ONNX: one row of a table for each."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tempme_jax.export.graph import Graph, Shape, UnsupportedOperationError, Value, hold_constant


def make_node(*ops: str) -> Callable[..., Value]:
    """Return a row of the table: nodes one after the other, the first of which takes the inputs."""

    def convert(graph: Graph, inputs: list[Value], shape: Shape, dtype: Any, **_: Any) -> Value:
        last = np.dtype(dtype)
        own = last if len(ops) == 1 or ops[-1] == "Not" else inputs[0].dtype
        value = graph.add(ops[0], inputs, shape, own)
        for op in ops[1:]:
            value = graph.add(op, [value], shape, last)
        return value

    return convert


def convert_logic(op: str) -> Callable[..., Value]:
    """Return a row for an operation that is logic on truth values, and another on numbers."""

    def convert(graph: Graph, inputs: list[Value], shape: Shape, dtype: Any, **_: Any) -> Value:
        return graph.add(op if dtype == np.bool_ else f"Bitwise{op}", inputs, shape, dtype)

    return convert


def convert_select(graph: Graph, inputs: list[Value], shape: Shape, dtype: Any, **_: Any) -> Value:
    """Choose between two values. Of truth values by and/or, as runtimes have no other kernel."""
    if len(inputs) != 3 or inputs[0].dtype != np.bool_:
        raise UnsupportedOperationError("select_n of numbers, or of more than two cases")
    which, no, yes = inputs
    if dtype != np.bool_:
        return graph.add("Where", [which, yes, no], shape, dtype)
    first = graph.add("And", [which, yes], shape, dtype)
    second = graph.add("And", [graph.add("Not", [which], which.shape, dtype), no], shape, dtype)
    return graph.add("Or", [first, second], shape, dtype)


def convert_cast(graph: Graph, inputs: list[Value], shape: Shape, dtype: Any, **_: Any) -> Value:
    """Convert to another dtype."""
    return graph.cast(inputs[0], dtype)


def convert_square(graph: Graph, inputs: list[Value], shape: Shape, dtype: Any, **_: Any) -> Value:
    """Square."""
    return graph.add("Mul", inputs * 2, shape, dtype)


def convert_power(graph: Graph, inputs: list[Value], shape: Shape, dtype: Any, *, y: int) -> Value:
    """Raise to a whole power."""
    return graph.add("Pow", [*inputs, hold_constant(np.array(y, dtype))], shape, dtype)


def convert_erfc(graph: Graph, inputs: list[Value], shape: Shape, dtype: Any, **_: Any) -> Value:
    """Return 1 - erf."""
    one = hold_constant(np.array(1, dtype))
    return graph.add("Sub", [one, graph.add("Erf", inputs, shape, dtype)], shape, dtype)


def convert_clamp(graph: Graph, inputs: list[Value], shape: Shape, dtype: Any, **_: Any) -> Value:
    """Limit to a range."""
    least, x, most = inputs
    return graph.add("Min", [graph.add("Max", [x, least], shape, dtype), most], shape, dtype)


def keep(graph: Graph, inputs: list[Value], shape: Shape, dtype: Any, **_: Any) -> Value:
    """Return the value itself."""
    return inputs[0]


ELEMENTWISE: dict[str, Callable[..., Value]] = {
    "abs": make_node("Abs"),
    "add": make_node("Add"),
    "add_any": make_node("Add"),
    "and": convert_logic("And"),
    "ceil": make_node("Ceil"),
    "clamp": convert_clamp,
    "convert_element_type": convert_cast,
    "copy": keep,
    "cos": make_node("Cos"),
    "div": make_node("Div"),
    "eq": make_node("Equal"),
    "erf": make_node("Erf"),
    "erfc": convert_erfc,
    "exp": make_node("Exp"),
    "floor": make_node("Floor"),
    "ge": make_node("GreaterOrEqual"),
    "gt": make_node("Greater"),
    "integer_pow": convert_power,
    "le": make_node("LessOrEqual"),
    "log": make_node("Log"),
    "logistic": make_node("Sigmoid"),
    "lt": make_node("Less"),
    "max": make_node("Max"),
    "min": make_node("Min"),
    "mul": make_node("Mul"),
    "name": keep,
    "ne": make_node("Equal", "Not"),
    "neg": make_node("Neg"),
    "not": convert_logic("Not"),
    "or": convert_logic("Or"),
    "pow": make_node("Pow"),
    "rsqrt": make_node("Sqrt", "Reciprocal"),
    "select_n": convert_select,
    "sign": make_node("Sign"),
    "sin": make_node("Sin"),
    "sqrt": make_node("Sqrt"),
    "square": convert_square,
    "stop_gradient": keep,
    "sub": make_node("Sub"),
    "tanh": make_node("Tanh"),
    "xor": convert_logic("Xor"),
}
