"""Multi-head attention in which each key has a count, the number of times that it is attended to.

    softmax(q k^T + log(counts)) v  =  sum of exp(q k^T) counts v / sum of exp(q k^T) counts

The right side needs no logarithm of 0: a key of count 0 is padding, and is not seen.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tempme_jax.adapters.base import Adapter
from tempme_jax.networks.kept import keep
from tempme_jax.networks.tokens import Evidence

# Added to the logits of keys that must not be seen. It is finite, as -inf would yield NaN where a
# query sees no key at all; such results are never read.
MASKED = -1e9

Heads = Float[Array, "b t h n c"]


class Seen(NamedTuple):
    """The keys that queries attend to.

    Attributes:
        k, v: float [b, t, h, n, c], keys and values.
        counts: float32 [b, t, n], how often each is attended to.
        mask: float32 [b, t, n] or None, see `Tokens.mask`.
    """

    k: jax.Array
    v: jax.Array
    counts: jax.Array
    mask: jax.Array | None = None


class Attention(nn.Module):
    """Self-attention inside each clip, and between all clips and the tokens of the whole video.

    Attributes:
        heads: number of heads.
        adapter: gives the two linear layers.
        causal: whether a token sees only itself and those before it.
        dtype: dtype of the activations; None = that of the parameters.
        key_bias: whether keys have a bias, which changes no output.
        dropout: share of the weights that training drops, where it gives a key for "dropout".
    """

    heads: int
    adapter: Adapter
    causal: bool = False
    dtype: Any = None
    key_bias: bool = True
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b t n d"],
        size: Float[Array, "b t n"],
        context: Float[Array, "#b #t m d"] | None = None,
        summary: Float[Array, "b s d"] | None = None,
        *,
        mask: Float[Array, "b t n"] | None = None,
        proportional: bool = False,
        role: str = "",
        n_cls: int = 1,
    ) -> tuple[Float[Array, "b t n d"], Float[Array, "b s d"] | None, Evidence]:
        """Let each token see its clip, the clip's context and the summary, which sees everything.

        Args:
            x: the tokens.
            size: number of patches that each token stands for; 0 = padding.
            context: learned tokens of a clip, which are only seen.
            summary: learned tokens of the whole video.
            mask: see `Tokens.mask`.
            proportional: whether a token counts as often as its size, or once.
            role: role of the linear layers, see `Adapter.linear`.
            n_cls: number of class tokens of a clip.

        Returns:
            The attention's output for x and for the summary, and the evidence by which reducers
            choose among the tokens.
        """
        n, d = x.shape[2:]
        linear = self.adapter.linear(3 * d, "qkv", self.dtype, role, key_bias=self.key_bias)
        out = self.adapter.linear(d, "out", self.dtype, role)
        q, k, v = split_heads(linear(x), self.heads)
        metric = k.astype(jnp.float32).mean(axis=2)  # compared in full precision
        counts = size if proportional else (size > 0).astype(jnp.float32)
        seen = Seen(k, v, counts, mask)
        if context is not None:
            _, context_k, context_v = split_heads(linear(context), self.heads)
            # A clip of nothing but padding has no context, or the whole video would see it.
            real = (counts.max(axis=2, keepdims=True) > 0).astype(jnp.float32)
            seen = extend(seen, Seen(context_k, context_v, real))
        if summary is not None:
            summary_q, summary_k, summary_v = split_heads(linear(summary[:, None]), self.heads)
            more = Seen(summary_k, summary_v, jnp.ones((1, 1, 1)))
            y, _ = attend(summary_q, extend(join_all_clips(seen), more))
            summary = out(join_heads(y))[:, 0]
            seen = extend(seen, more)
        bias = make_causal_bias(n, seen.k.shape[3]) if self.causal else None
        y, weight = attend(
            q, seen, bias, see_themselves=True, average=n_cls == 0, drop=self.make_dropout()
        )
        return out(join_heads(y)), summary, Evidence(metric, weight[..., :n].mean(axis=2))

    def make_dropout(self) -> nn.Dropout:
        """Return what drops weights in training."""
        return nn.Dropout(self.dropout, deterministic=not self.has_rng("dropout"))


def attend(
    q: Float[Array, "b t h q c"],
    seen: Seen,
    bias: np.ndarray | None = None,
    *,
    see_themselves: bool = False,
    average: bool = False,
    drop: Callable[[jax.Array], jax.Array] = lambda weight: weight,
) -> tuple[Float[Array, "b t h q c"], Float[Array, "b t h k"]]:
    """Return the output for each query, and the attention of the first one, in float32.

    If `see_themselves`, query i is that of key i, which it sees even if the key is masked. If
    `average`, the attention is the mean over all queries. `drop` drops weights in training.
    """
    there = seen.counts[:, :, None, None]
    counts = there
    if seen.mask is not None:
        shown = seen.mask[:, :, None, None]
        if see_themselves:
            own = np.eye(q.shape[3], shown.shape[4], dtype=bool)
            shown = jnp.where(own[None, None, None], 1, shown)
        counts = there * shown
    q = q * q.shape[-1] ** -0.5
    logits = jnp.einsum("bthqc,bthkc->bthqk", q, seen.k, preferred_element_type=jnp.float32)
    logits = logits if bias is None else logits + bias
    top = jnp.where(there > 0, logits, MASKED).max(axis=-1, keepdims=True)
    shifted = logits - jax.lax.stop_gradient(top)
    weigh = weigh_masked if seen.mask is not None else weigh_counted
    weight = weigh(shifted, there, counts)
    # Divide after the product, which has fewer elements.
    total = jnp.maximum(weight.sum(axis=-1, keepdims=True), 1e-9)
    y = jnp.einsum("bthqk,bthkc->bthqc", drop(weight).astype(seen.v.dtype), seen.v)
    if average:
        attention = (weight / total).mean(axis=-2)
    else:
        attention = weight[..., 0, :] / total[..., 0, :]
    return (y / total).astype(seen.v.dtype), attention


def weigh_masked(
    shifted: Float[Array, "b t h q k"], there: jax.Array, counts: jax.Array
) -> Float[Array, "b t h q k"]:
    """Return exp(shifted) counts, of which `counts` may have a gradient.

    The logit of an unseen key may be larger than all others, and must not overflow before it is
    multiplied by 0.
    """
    return jnp.exp(jnp.where(there > 0, shifted, jnp.minimum(shifted, 0))) * counts


@jax.custom_jvp
def weigh_counted(shifted: jax.Array, there: jax.Array, counts: jax.Array) -> jax.Array:
    """Return what `weigh_masked` does for counts without a gradient: less is kept for it."""
    return weigh_masked(shifted, there, counts)


@weigh_counted.defjvp
def differentiate_weights(values, slopes):
    """Return the weights, and their derivative, which is a multiple of them."""
    weight = weigh_counted(*values)
    return weight, weight * slopes[0]


def split_heads(x: Float[Array, "b t n qkv"], heads: int) -> tuple[Heads, Heads, Heads]:
    """Return queries, keys and values, [b, t, h, n, c] each."""
    split = x.reshape(*x.shape[:-1], 3, heads, x.shape[-1] // 3 // heads)
    q, k, v = split.transpose(3, 0, 1, 4, 2, 5)
    return keep(q), keep(k), keep(v)


def join_heads(y: Float[Array, "b t h n c"]) -> Float[Array, "b t n d"]:
    """Put all heads of a token side by side."""
    y = y.swapaxes(2, 3)
    return y.reshape(*y.shape[:3], -1)


def extend(seen: Seen, more: Seen) -> Seen:
    """Append `more`, which has no mask, to every clip; it is broadcast over videos and clips."""
    more_k, more_v = (
        jnp.broadcast_to(a, (*seen.k.shape[:3], *a.shape[3:])) for a in (more.k, more.v)
    )
    more_counts = jnp.broadcast_to(more.counts, (*seen.counts.shape[:2], more_k.shape[3]))
    k, v = (jnp.concatenate(pair, axis=3) for pair in ((seen.k, more_k), (seen.v, more_v)))
    counts, mask = jnp.concatenate([seen.counts, more_counts], axis=2), seen.mask
    if mask is not None:
        mask = jnp.concatenate([mask, jnp.ones_like(more_counts)], axis=2)
    return Seen(k, v, counts, mask)


def join_all_clips(seen: Seen) -> Seen:
    """Join all clips of a video into one sequence."""
    b, _, h, _, c = seen.k.shape
    k, v = (a.swapaxes(1, 2).reshape(b, 1, h, -1, c) for a in (seen.k, seen.v))
    mask = None if seen.mask is None else seen.mask.reshape(b, 1, -1)
    return Seen(k, v, seen.counts.reshape(b, 1, -1), mask)


def make_causal_bias(n: int, seen: int) -> np.ndarray:
    """Return [1, 1, 1, n, seen]: each of n words sees itself, those before it, and the context.

    The context stands behind the first word, so the first word does not see it.
    """
    query, key = np.arange(n)[:, None], np.arange(seen)[None, :]
    visible = np.where(key < n, key <= query, query > 0)
    return np.where(visible, 0, MASKED).astype(np.float32)[None, None, None]
