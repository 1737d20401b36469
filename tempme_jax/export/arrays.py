"""JAX's operations on whole arrays as nodes of ONNX: one row of a table for each."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from tempme_jax.export.graph import (
    Graph,
    Shape,
    UnsupportedOperationError,
    Value,
    hold_constant,
    is_static,
)

# Operations that need not see all elements of a value that is broadcast.


def convert_broadcast(
    graph: Graph,
    inputs: list[Value],
    target: Shape,
    *,
    broadcast_dimensions: Sequence[int],
    **_: Any,
) -> Value:
    """Give a value the rank of the result; its new axes are of size 1."""
    value = inputs[0]
    shape = [1] * len(target)
    for axis, size in zip(broadcast_dimensions, value.shape, strict=True):
        shape[axis] = size
    return regroup(
        graph, value, tuple(shape), [a for a in range(len(target)) if a not in broadcast_dimensions]
    )


def regroup(graph: Graph, value: Value, shape: Shape, added: Sequence[int]) -> Value:
    """Add axes of size 1 to a value, which then has a shape."""
    if value.array is not None:
        return hold_constant(value.array.reshape(shape))
    if not added:
        return value
    return graph.add("Unsqueeze", [value, graph.add_ints(added)], shape, value.dtype)


def convert_squeeze(
    graph: Graph, inputs: list[Value], target: Shape, *, dimensions: Sequence[int], **_: Any
) -> Value:
    """Remove axes of size 1."""
    value = inputs[0]
    kept = tuple(size for axis, size in enumerate(value.shape) if axis not in dimensions)
    if value.array is not None:
        return hold_constant(value.array.reshape(kept))
    return graph.add("Squeeze", [value, graph.add_ints(dimensions)], kept, value.dtype)


def convert_transpose(
    graph: Graph, inputs: list[Value], target: Shape, *, permutation: Sequence[int], **_: Any
) -> Value:
    """Put the axes into another order."""
    return transpose(graph, inputs[0], permutation)


def transpose(graph: Graph, value: Value, order: Sequence[int]) -> Value:
    """Return a value with its axes in another order."""
    order = list(map(int, order))
    if order == list(range(len(order))):
        return value
    if value.array is not None:
        return hold_constant(value.array.transpose(order))
    shape = tuple(value.shape[axis] for axis in order)
    return graph.add("Transpose", [value], shape, value.dtype, perm=order)


LAZY: dict[str, Callable[..., Value]] = {
    "broadcast_in_dim": convert_broadcast,
    "squeeze": convert_squeeze,
    "transpose": convert_transpose,
}

# Operations that do.


def convert_reshape(graph: Graph, inputs: list[Value], output: Any, **_: Any) -> Value:
    """Give a value another shape."""
    return reshape(graph, inputs[0], output.shape)


def reshape(graph: Graph, value: Value, shape: Shape) -> Value:
    """Return a value with its elements in another shape."""
    shape = tuple(shape)
    if value.shape == shape:
        return value
    if value.array is not None and is_static(shape):
        return hold_constant(value.array.reshape(shape))
    if sum(not is_static([size]) for size in shape) > 1:
        raise UnsupportedOperationError("reshape to more than one size that depends on the batch")
    sizes = graph.add_ints(size if is_static([size]) else -1 for size in shape)
    return graph.add("Reshape", [value, sizes], shape, value.dtype)


def convert_dot(graph: Graph, inputs: list[Value], output: Any, **params: Any) -> Value:
    """Multiply matrices; a constant one becomes the right operand as it is read by MatMul."""
    left, right = inputs
    (left_sum, right_sum), (left_batch, right_batch) = params["dimension_numbers"]
    left_free = list_others(left, left_sum, left_batch)
    right_free = list_others(right, right_sum, right_batch)
    left = transpose(graph, left, [*left_batch, *left_free, *left_sum])
    right = transpose(graph, right, [*right_batch, *right_sum, *right_free])
    batch, count = left.shape[: len(left_batch)], len(left_batch)
    summed = multiply(right.shape[count : count + len(right_sum)])
    left_sizes = left.shape[count : count + len(left_free)]
    right_sizes = right.shape[count + len(right_sum) :]
    right = reshape(graph, right, (*batch, summed, multiply(right_sizes)))
    # Without batches, and with a matrix on the right, MatMul takes any number of free axes.
    if batch or not left_sizes:
        left_sizes = (multiply(left_sizes),)
    left = reshape(graph, left, (*batch, *left_sizes, summed))
    product = (*batch, *left_sizes, multiply(right_sizes))
    return reshape(graph, graph.add("MatMul", [left, right], product, output.dtype), output.shape)


def list_others(value: Value, *axes: Sequence[int]) -> list[int]:
    """List the axes of a value that are not among some."""
    return [axis for axis in range(len(value.shape)) if not any(axis in some for some in axes)]


def multiply(sizes: Sequence[Any]) -> Any:
    """Multiply sizes."""
    return math.prod(sizes)


def convert_reduction(op: str) -> Callable[..., Value]:
    """Return a row of the table for a reduction."""

    def convert(graph: Graph, inputs: list[Value], output: Any, *, axes: Sequence[int], **_: Any):
        given = [inputs[0], graph.add_ints(axes)]
        return graph.add(op, given, output.shape, output.dtype, keepdims=0)

    return convert


def convert_argmax(
    graph: Graph, inputs: list[Value], output: Any, *, axes: Sequence[int], index_dtype: Any
) -> Value:
    """Return the first index of the largest element."""
    found = graph.add("ArgMax", inputs, output.shape, np.int64, axis=int(axes[0]), keepdims=0)
    return graph.cast(found, index_dtype)


def convert_concatenation(
    graph: Graph, inputs: list[Value], output: Any, *, dimension: int
) -> Value:
    """Join values along an axis."""
    return graph.add("Concat", inputs, output.shape, output.dtype, axis=dimension)


def convert_slice(
    graph: Graph,
    inputs: list[Value],
    output: Any,
    *,
    start_indices: Sequence[int],
    limit_indices: Sequence[Any],
    strides: Sequence[int] | None,
) -> Value:
    """Take a range of indices along some axes."""
    value = inputs[0]
    steps = strides or (1,) * len(value.shape)
    rows = zip(start_indices, limit_indices, steps, strict=True)
    cuts = {
        axis: row
        for axis, row in enumerate(rows)
        if not (row[0] == 0 and row[2] == 1 and row[1] == value.shape[axis])
    }
    return cut(graph, value, output.shape, cuts)


def cut(graph: Graph, value: Value, shape: Shape, cuts: dict[int, tuple[int, int, int]]) -> Value:
    """Return the indices from the first to before the second number, by the third, of axes."""
    if not cuts:
        return value
    if not is_static(number for row in cuts.values() for number in row):
        raise UnsupportedOperationError("slice of the batch")
    columns = list(zip(*cuts.values(), strict=True))
    starts, ends, steps = (graph.add_ints(column) for column in columns)
    given = [value, starts, ends, graph.add_ints(cuts), steps]
    return graph.add("Slice", given, shape, value.dtype)


def convert_gather(graph: Graph, inputs: list[Value], output: Any, **params: Any) -> Value:
    """Take elements, rows or ranges by indices."""
    value, indices = inputs
    numbers, sizes = params["dimension_numbers"], params["slice_sizes"]
    axes, removed = list(numbers.start_index_map), list(map(int, numbers.collapsed_slice_dims))
    if params["mode"] == jax.lax.GatherScatterMode.FILL_OR_DROP:
        raise UnsupportedOperationError("gather that fills what lies outside")
    if indices.array is not None and indices.array.ndim == 1:
        return cut_at(graph, value, indices.array, axes, removed, sizes)
    others = [axis for axis in range(len(value.shape)) if axis not in axes]
    plain = removed == sorted(axes) and not numbers.operand_batching_dims
    plain = plain and all(sizes[axis] == value.shape[axis] for axis in others)
    if params["mode"] == jax.lax.GatherScatterMode.CLIP:
        least, most = (
            hold_constant(np.array(n, indices.dtype)) for n in (0, value.shape[axes[0]] - 1)
        )
        indices = graph.add("Max", [indices, least], indices.shape, indices.dtype)
        indices = graph.add("Min", [indices, most], indices.shape, indices.dtype)
        plain = plain and len(axes) == 1
    places = len(indices.shape) - 1  # the last axis of indices counts those of a place
    if plain and len(axes) == 1:
        axis = axes[0]
        offsets = [*range(axis), *range(axis + places, len(output.shape))]
        if list(numbers.offset_dims) == offsets:
            indices = reshape(graph, indices, indices.shape[:-1])
            return graph.add("Gather", [value, indices], output.shape, output.dtype, axis=int(axis))
    leading = axes == list(range(len(axes)))
    if plain and leading and list(numbers.offset_dims) == [*range(places, len(output.shape))]:
        return graph.add(
            "GatherND", [value, graph.cast(indices, np.int64)], output.shape, output.dtype
        )
    raise UnsupportedOperationError(f"gather with {numbers}")


def cut_at(
    graph: Graph,
    value: Value,
    starts: np.ndarray,
    axes: list[int],
    removed: list[int],
    sizes: Sequence[Any],
) -> Value:
    """Return the range of some sizes at one place, without the axes that are removed."""
    begins = dict(zip(axes, starts.tolist(), strict=True))
    cuts = {
        axis: (begins.get(axis, 0), begins.get(axis, 0) + size, 1)
        for axis, size in enumerate(sizes)
        if size != value.shape[axis]
    }
    value = cut(graph, value, tuple(sizes), cuts)
    if not removed:
        return value
    shape = tuple(size for axis, size in enumerate(sizes) if axis not in removed)
    return graph.add("Squeeze", [value, graph.add_ints(removed)], shape, value.dtype)


def convert_split(
    graph: Graph, inputs: list[Value], outputs: list[Any], *, sizes: Sequence[int], axis: int
) -> list[Value]:
    """Cut a value into parts along an axis."""
    starts = np.cumsum([0, *sizes])
    ranges = zip(starts[:-1].tolist(), starts[1:].tolist(), outputs, strict=True)
    return [cut(graph, inputs[0], part.shape, {axis: (a, b, 1)}) for a, b, part in ranges]


def convert_iota(
    graph: Graph, inputs: list[Value], output: Any, *, dimension: int, **_: Any
) -> Value:
    """Count along an axis whose size is the batch, or a multiple of it."""
    if len(output.shape) != 1:
        raise UnsupportedOperationError("iota of more than one axis, one of them the batch")
    size = reshape(graph, graph.compute_size(output.shape[0]), ())
    ends = [hold_constant(np.array(number, np.int64)) for number in (0, 1)]
    return graph.cast(
        graph.add("Range", [ends[0], size, ends[1]], output.shape, np.int64), output.dtype
    )


def convert_dimension(graph: Graph, inputs: list[Value], output: Any, *, dim: Any) -> Value:
    """Return a size as a number."""
    return graph.cast(reshape(graph, graph.compute_size(dim), ()), output.dtype)


OTHERS: dict[str, Callable[..., Any]] = {
    "argmax": convert_argmax,
    "concatenate": convert_concatenation,
    "dim_as_value": convert_dimension,
    "dot_general": convert_dot,
    "gather": convert_gather,
    "iota": convert_iota,
    "reduce_max": convert_reduction("ReduceMax"),
    "reduce_min": convert_reduction("ReduceMin"),
    "reduce_sum": convert_reduction("ReduceSum"),
    "reshape": convert_reshape,
    "slice": convert_slice,
    "split": convert_split,
}
