"""The layers that the towers are made of: linear layer, layer norm, projection.

The kernel of a linear layer lies as in the checkpoints, [features out, features in]. Matrix
products on a CPU are up to a tenth faster this way round (XLA packs the kernel along the summed
axis); on accelerators both are the same.
"""

import functools
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import canonicalize_dtype, promote_dtype
from jaxtyping import Array, Float

from tempme_jax.vectors import HIGHEST

# Flax's default for Dense, by the width of the input, which is the last axis here.
LECUN_NORMAL = nn.initializers.lecun_normal(in_axis=-1, out_axis=-2)


class Linear(nn.Module):
    """A linear layer, x W^T + b.

    Attributes:
        features: width of the output.
        use_bias: whether b is added.
        dtype: dtype of the computation; None = that of the parameters.
        key_bias: False: the second third of the output, the keys of an attention, has no bias.
        precision: precision of the product.
    """

    features: int
    use_bias: bool = True
    dtype: Any = None
    key_bias: bool = True
    precision: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b e"]:
        """Map [..., d] to [..., features]."""
        kernel = self.param("kernel", LECUN_NORMAL, (self.features, x.shape[-1]))
        bias = None
        if self.use_bias:
            length = self.features if self.key_bias else 2 * self.features // 3
            bias = self.param("bias", nn.initializers.zeros, (length,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        if bias is not None and not self.key_bias:
            queries, values = jnp.split(bias, 2)
            bias = jnp.concatenate([queries, jnp.zeros_like(queries), values])
        contract = (((x.ndim - 1,), (1,)), ((), ()))
        y = jax.lax.dot_general(x, kernel, contract, precision=self.precision)
        return y if bias is None else y + jax.lax.expand_dims(bias, range(y.ndim - 1))


class LayerNorm(nn.LayerNorm):
    """Flax's layer norm, which keeps one array for the backward pass instead of four."""

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        """Normalise the features of each token."""
        scale, bias = (
            jnp.asarray(self.param(name, init, (x.shape[-1],), self.param_dtype))
            for name, init in (("scale", self.scale_init), ("bias", self.bias_init))
        )
        dtype = canonicalize_dtype(x, scale, bias, dtype=self.dtype)
        return cast(jax.Array, standardize(x, scale, bias, self.epsilon)).astype(dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def standardize(
    x: Float[Array, "*b d"], scale: Float[Array, " d"], bias: Float[Array, " d"], epsilon: float
) -> Float[Array, "*b d"]:
    """Return x with mean 0 and variance 1 along its last axis, times scale, plus bias; float32."""
    return standardize_and_keep(x, scale, bias, epsilon)[0]


def standardize_and_keep(x, scale, bias, epsilon):
    """Return what `standardize` does, and what its backward pass needs."""
    centred = x.astype(jnp.float32)
    centred = centred - centred.mean(axis=-1, keepdims=True)
    root = jax.lax.rsqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + epsilon)
    wide = tuple(range(x.ndim - 1))
    y = centred * (root * jnp.expand_dims(scale, wide)) + jnp.expand_dims(bias, wide)
    return y, (centred, root, scale, jnp.zeros((), x.dtype))


def pull_back_standardize(epsilon, kept, slope):
    """Return the gradients by x, scale and bias for one of the output."""
    del epsilon
    centred, root, scale, like = kept
    wide = tuple(range(centred.ndim - 1))
    direction = centred * root
    inner = slope * jnp.expand_dims(scale, wide)
    along = (inner * direction).mean(axis=-1, keepdims=True)
    by_x = root * (inner - inner.mean(axis=-1, keepdims=True) - direction * along)
    by_scale, by_bias = ((slope * a).sum(axis=wide) for a in (direction, jnp.ones_like(root)))
    return by_x.astype(like.dtype), by_scale.astype(scale.dtype), by_bias.astype(scale.dtype)


standardize.defvjp(standardize_and_keep, pull_back_standardize)


def make_layer_norm(name: str, dtype: Any, epsilon: float = 1e-5) -> nn.LayerNorm:
    """Return a layer norm with statistics in float32; its epsilon is CLIP's unless given."""
    return LayerNorm(epsilon=epsilon, dtype=dtype, name=name)


def project(tower: nn.Module, x: Float[Array, "*b d"], embed_dim: int) -> Float[Array, "*b e"]:
    """Map x to the common space by the tower's own kernel, in float32 whatever x is in."""
    d = x.shape[-1]
    kernel = tower.param("projection", nn.initializers.normal(d**-0.5), (d, embed_dim))
    return jnp.matmul(x.astype(jnp.float32), kernel, precision=HIGHEST)
