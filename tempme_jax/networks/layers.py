"""The layers that the towers are made of: linear layer, layer norm, projection.

The kernel of a linear layer lies as in the checkpoints, [features out, features in]. Matrix
products on a CPU are up to a tenth faster this way round (XLA packs the kernel along the summed
axis); on accelerators both are the same.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
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


def make_layer_norm(name: str, dtype: Any, epsilon: float = 1e-5) -> nn.LayerNorm:
    """Return a layer norm with statistics in float32; its epsilon is CLIP's unless given."""
    return nn.LayerNorm(epsilon=epsilon, dtype=dtype, use_fast_variance=False, name=name)


def project(tower: nn.Module, x: Float[Array, "*b d"], embed_dim: int) -> Float[Array, "*b e"]:
    """Map x to the common space by the tower's own kernel, in float32 whatever x is in."""
    d = x.shape[-1]
    kernel = tower.param("projection", nn.initializers.normal(d**-0.5), (d, embed_dim))
    return jnp.matmul(x.astype(jnp.float32), kernel, precision=HIGHEST)
