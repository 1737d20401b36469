"""Vectors scaled to unit length, and means of them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

HIGHEST = jax.lax.Precision.HIGHEST


def normalize(x: Float[Array, "*b e"]) -> Float[Array, "*b e"]:
    """Scale rows to length 1; rows of zeros stay zeros.

    >>> normalize(jnp.array([[0.0, 5.0], [0.0, 0.0]])).tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    return x * jax.lax.rsqrt(jnp.maximum((x * x).sum(axis=-1, keepdims=True), 1e-24))


def average_rows(x: Float[Array, "b f e"], weight: Float[Array, "b f"]) -> Float[Array, "b e"]:
    """Return the weighted mean of rows; zeros where all weights are 0."""
    total = jnp.einsum("bf,bfe->be", weight, x, precision=HIGHEST)
    return total / jnp.maximum(weight.sum(axis=1, keepdims=True), 1)
