"""Vectors and their directions."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

HIGHEST = jax.lax.Precision.HIGHEST


def unit_length(x: Float[Array, "*b e"]) -> Float[Array, "*b e"]:
    """Rows of length 1; zeros stay zeros."""
    return x * jax.lax.rsqrt(jnp.maximum((x * x).sum(axis=-1, keepdims=True), 1e-24))


def mean_direction(x: Float[Array, "b f e"], weight: Float[Array, "b f"]) -> Float[Array, "b e"]:
    """The weighted mean of rows, each of unit length first; zeros where all weights are 0."""
    total = jnp.einsum("bf,bfe->be", weight, unit_length(x), precision=HIGHEST)
    return total / jnp.maximum(weight.sum(axis=1, keepdims=True), 1)
