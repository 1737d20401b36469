"""Convert a program of JAX to a graph of ONNX, one operation after the other."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.extend import core

from tempme_jax.export.arrays import LAZY, OTHERS
from tempme_jax.export.elementwise import ELEMENTWISE
from tempme_jax.export.graph import (
    Graph,
    Shape,
    UnsupportedOperationError,
    Value,
    hold_constant,
    is_static,
)

# A function of the network that stands as a whole for one node, see `convert_call`.
LAYER_NORM = "layer_norm"


def convert_jaxpr(graph: Graph, jaxpr: core.Jaxpr, inputs: Sequence[Value]) -> list[Value]:
    """Add the operations of a program to a graph, and return its results.

    What depends on no input is computed here.

    Args:
        graph: gets the nodes.
        jaxpr: the program, as `jax.make_jaxpr` traces it; it has no constants of its own.
        inputs: its arguments.

    Raises:
        UnsupportedOperationError: if one has no row in the tables; it names the operation.
    """
    values: dict[Any, Value] = dict(zip(jaxpr.invars, inputs, strict=True))

    def read(atom: Any) -> Value:
        return hold_constant(atom.val) if isinstance(atom, core.Literal) else values[atom]

    for equation in jaxpr.eqns:
        results = convert_equation(graph, equation, [read(atom) for atom in equation.invars])
        values.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def convert_equation(graph: Graph, equation: Any, inputs: list[Value]) -> list[Value]:
    """Add one operation to a graph, and return its results."""
    name, outputs = equation.primitive.name, [variable.aval for variable in equation.outvars]
    inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
    if inner is not None and name in CALLS:
        return convert_call(graph, inner, equation.params.get("name", ""), inputs)
    if name in ELEMENTWISE:
        return [convert_elementwise(graph, equation, inputs)]
    if name in LAZY:
        return [LAZY[name](graph, inputs, outputs[0].shape, **equation.params)]
    if name not in OTHERS:
        raise UnsupportedOperationError(name)
    shapes = [getattr(atom.aval, "shape", ()) for atom in equation.invars]
    full = [materialise(graph, value, shape) for value, shape in zip(inputs, shapes, strict=True)]
    if name != "dim_as_value" and can_fold(full, [output.shape for output in outputs]):
        return fold(equation, full)
    if equation.primitive.multiple_results:
        return OTHERS[name](graph, full, outputs, **equation.params)
    return [OTHERS[name](graph, full, outputs[0], **equation.params)]


CALLS = (
    "jit",
    "pjit",
    "closed_call",
    "core_call",
    "custom_jvp_call",
    "custom_vjp_call",
    "remat2",
    "checkpoint",
)


def convert_call(graph: Graph, inner: Any, name: str, inputs: list[Value]) -> list[Value]:
    """Add what a function that is called computes; a layer norm is one node."""
    closed = isinstance(inner, core.ClosedJaxpr)
    jaxpr, constants = (inner.jaxpr, inner.consts) if closed else (inner, [])
    if name == LAYER_NORM:
        x, scale, bias, epsilon = inputs
        assert epsilon.array is not None  # a number of the network
        given = {"axis": -1, "epsilon": float(epsilon.array)}
        return [graph.add("LayerNormalization", [x, scale, bias], x.shape, x.dtype, **given)]
    jaxpr = jaxpr.replace(constvars=[], invars=[*jaxpr.constvars, *jaxpr.invars])
    return convert_jaxpr(graph, jaxpr, [*map(hold_constant, constants), *inputs])


# Folding: what depends on no input.


def can_fold(inputs: Sequence[Value], shapes: Sequence[Shape]) -> bool:
    """Return whether results can be computed now."""
    return all(value.array is not None for value in inputs) and all(map(is_static, shapes))


def fold(equation: Any, inputs: Sequence[Value]) -> list[Value]:
    """Compute the results of an operation on constants."""
    results = equation.primitive.bind(*(value.array for value in inputs), **equation.params)
    results = results if equation.primitive.multiple_results else [results]
    return [hold_constant(result) for result in results]


def materialise(graph: Graph, value: Value, shape: Shape) -> Value:
    """Return a value that has all the sizes of the array that it stands for."""
    if value.shape == tuple(shape):
        return value
    if value.array is not None and is_static(shape):
        return hold_constant(np.broadcast_to(value.array, shape))
    pairs = list(zip(value.shape, shape, strict=True))
    sizes = [graph.compute_size(1 if own == wanted else wanted) for own, wanted in pairs]
    if all(size.array is not None for size in sizes):
        target = graph.add_ints(int(size.array[0]) for size in sizes if size.array is not None)
    else:
        target = graph.add("Concat", sizes, (len(sizes),), np.int64, axis=0)
    return graph.add("Expand", [value, target], shape, value.dtype)


def convert_elementwise(graph: Graph, equation: Any, inputs: list[Value]) -> Value:
    """Add an operation on elements, or compute it of constants."""
    shape = broadcast_shapes([value.shape for value in inputs])
    if can_fold(inputs, [shape]):
        arrays = np.broadcast_arrays(*(np.asarray(value.array) for value in inputs))
        return fold(equation, list(map(hold_constant, arrays)))[0]
    dtype = equation.outvars[0].aval.dtype
    return ELEMENTWISE[equation.primitive.name](graph, inputs, shape, dtype, **equation.params)


def broadcast_shapes(shapes: Sequence[Shape]) -> Shape:
    """Return the shape of an operation on elements of values of one rank (or of none)."""
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    return tuple(
        next((n for n in sizes if not is_static([n]) or n != 1), 1)
        for sizes in zip(*padded, strict=True)
    )
