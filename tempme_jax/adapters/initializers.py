"""Uniform initializers of new layers, as PyTorch and the published codes draw them."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


def make_uniform(bound: float) -> nn.initializers.Initializer:
    """Return the initializer that draws from U(-bound, bound)."""

    def draw(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, minval=-bound, maxval=bound)

    return draw


def draw_uniform_by_width(
    key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32
) -> jax.Array:
    """Draw an array [d, ...] from U(-1/sqrt(d), 1/sqrt(d)): kaiming_uniform(a=sqrt(5))."""
    return make_uniform(shape[0] ** -0.5)(key, shape, dtype)


def make_dense(features: int, fan_in: int, dtype: Any, name: str) -> nn.Dense:
    """Return a linear layer whose weights and biases start in U(+-1/sqrt(fan_in)), as PyTorch's."""
    start = make_uniform(fan_in**-0.5)
    return nn.Dense(features, dtype=dtype, kernel_init=start, bias_init=start, name=name)
