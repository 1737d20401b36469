"""A transformer block that is trained from scratch, for PLEVU and DGL-Transformer.

It computes the same as `tempme_jax.networks.block.Block`. It is a module of its own because it
starts from PyTorch's initialization and because saved models store its parameters under other
names (`attn/query`, `attn/key`, `attn/value`, `fc`, `proj`).
"""

from typing import Any

import flax.linen as nn
from jaxtyping import Array, Bool, Float

from tempme_jax.adapters.initializers import make_dense, make_uniform
from tempme_jax.networks.architecture import ACTIVATIONS
from tempme_jax.networks.layers import make_layer_norm


class TransformerBlock(nn.Module):
    """Pre-norm attention and an MLP four times as wide, with QuickGELU.

    Attributes:
        heads: number of attention heads.
        dtype: dtype of the activations; None = that of the parameters.
    """

    heads: int
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], seen: Bool[Array, "b n"] | None = None
    ) -> Float[Array, "b n d"]:
        """Map [b, n, d] to [b, n, d]. Only tokens with `seen` are attended to; None = all."""
        d = x.shape[-1]
        # PyTorch draws queries, keys and values together: xavier_uniform of a [3 d, d] matrix.
        attention = nn.MultiHeadDotProductAttention(
            self.heads, dtype=self.dtype, kernel_init=make_uniform((1.5 / d) ** 0.5),
            out_kernel_init=make_uniform(d**-0.5), force_fp32_for_softmax=True, name="attn",
        )  # fmt: skip
        mask = None if seen is None else seen[:, None, None]
        x = x + attention(make_layer_norm("ln_1", self.dtype)(x), mask=mask)
        y = make_dense(4 * d, d, self.dtype, "fc")(make_layer_norm("ln_2", self.dtype)(x))
        return x + make_dense(d, 4 * d, self.dtype, "proj")(ACTIVATIONS["quick_gelu"](y))
