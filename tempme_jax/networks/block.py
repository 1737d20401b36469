"""The transformer block, written once for every tower, backbone and method.

A method changes it at named sites, by two values: an adapter, which says what is learned, and a
reducer, which merges or drops tokens.
"""

from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from tempme_jax.adapters.base import Adapter, Site
from tempme_jax.networks.architecture import ACTIVATIONS
from tempme_jax.networks.attention import Attention
from tempme_jax.networks.kept import KEEP_NAMED, keep
from tempme_jax.networks.layers import make_layer_norm
from tempme_jax.networks.tokens import Stage, Tokens
from tempme_jax.reducers.base import Reducer


class Mlp(nn.Module):
    """Two linear layers; the hidden one is wider than the tokens, four times if `width` is None."""

    adapter: Adapter
    activation: str
    dtype: Any = None
    width: int | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b t n d"]) -> Float[Array, "b t n d"]:
        """Transform each token by itself."""
        d = x.shape[-1]
        hidden = keep(self.adapter.linear(self.width or 4 * d, "fc", self.dtype)(x))
        return self.adapter.linear(d, "proj", self.dtype)(ACTIVATIONS[self.activation](hidden))


class Block(nn.Module):
    """One residual block; the adapter and the reducer act at its named sites.

    Attributes:
        tower: "video" or "text".
        layer: number of the block, from 0.
        heads: heads of the attention.
        activation: name of the activation of the MLP, see `ACTIVATIONS`.
        causal: whether a token sees only itself and those before it.
        dtype: dtype of the activations; None = that of the parameters.
        mlp_width: width inside the MLP; None = four times that of a token.
        epsilon: epsilon of the layer norms.
        key_bias: whether the keys of the attention have a bias.
        drop_path: share of the clips whose branches training drops (stochastic depth), where it
            gives a key for "dropout"; those of the others are divided by the share that stays.
    """

    tower: str
    layer: int
    heads: int
    activation: str
    adapter: Adapter
    reducer: Reducer = Reducer()
    causal: bool = False
    dtype: Any = None
    mlp_width: int | None = None
    epsilon: float = 1e-5
    key_bias: bool = True
    drop_path: float = 0.0

    @nn.compact
    def __call__(
        self, tokens: Tokens, stage: Stage, context: jax.Array | None = None, shared: Any = None
    ) -> Tokens:
        """Return the tokens that leave the block.

        Args:
            tokens: the tokens that enter it.
            stage: how many clips and tokens it works on; see `make_schedule`.
            context: learned tokens of each clip [b or 1, t or 1, m, d], which are only seen.
            shared: the arrays that the adapter shares between the towers.
        """
        adapter, reducer, layer = self.adapter, self.reducer, self.layer
        site = Site(self.tower, layer, self.dtype)
        ln_1, ln_2 = (make_layer_norm(n, self.dtype, self.epsilon) for n in ("ln_1", "ln_2"))
        attention = Attention(
            self.heads, adapter, self.causal, self.dtype, self.key_bias, name="attn"
        )
        drop = nn.Dropout(
            self.drop_path, broadcast_dims=(2, 3), deterministic=not self.has_rng("dropout")
        )
        mlp = Mlp(adapter, self.activation, self.dtype, self.mlp_width, name="mlp")

        def attend_across(x, size):
            y, _, evidence = attention(ln_1(x), size, role="temporal")
            return y, evidence

        tokens = reducer.before_attention(layer, stage)(tokens, attend_across)
        tokens = tokens.replace(x=keep(tokens.x))

        context, summary = (None if a is None else ln_1(a) for a in (context, tokens.summary))
        proportional = reducer.is_proportional(layer)
        y, summary, evidence = attention(
            ln_1(tokens.x), tokens.size, context, summary, mask=tokens.mask,
            proportional=proportional, n_cls=stage.n_cls,
        )  # fmt: skip
        y = drop(adapter.branch("attn", site)(y, tokens, shared))
        tokens = tokens.add(y, summary)

        tokens = reducer.after_attention(layer, stage)(tokens, evidence)
        tokens = tokens.replace(x=keep(tokens.x))

        y = drop(adapter.branch("mlp", site)(mlp(ln_2(tokens.x)), tokens, shared))
        summary = tokens.summary
        tokens = tokens.add(y, None if summary is None else mlp(ln_2(summary[:, None]))[:, 0])

        return reducer.after_block(layer, stage)(tokens, evidence)


def choose_block_type(*, remat: bool) -> type[Block]:
    """Return a `Block` that computes in the backward pass what it does not keep.

    With `remat` it keeps nothing but what enters it.
    """
    return nn.remat(Block, static_argnums=(2,), policy=None if remat else KEEP_NAMED)
