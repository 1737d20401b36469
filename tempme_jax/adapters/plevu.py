"""PLEVU: prompts around the words, and a small transformer over the vectors of the frames.

"Prompting Visual-Language Models for Efficient Video Understanding" (Ju et al., ECCV 2022;
specification section 3). Both towers stay as they are: learned rows stand before and behind the
words of a text, at the input only, and two blocks over the vectors of the frames model time.

The published sequence fills all positions of the text tower with learned rows. Behind the end of
a text they are never seen, so that ours ends where the longest text of its batch can end.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from tempme_jax.adapters.base import Adapter
from tempme_jax.checks import require_whole
from tempme_jax.networks.architecture import ACTIVATIONS, Architecture
from tempme_jax.networks.tokens import Stage
from tempme_jax.vectors import HIGHEST

# Start, end, and one word.
SHORTEST_TEXT = 3


@dataclasses.dataclass(frozen=True)
class PLEVU(Adapter):
    """Puts learned rows around the words, and a transformer behind the frames.

    Attributes:
        count: learned rows before the words, and as many behind them.
        layers: blocks over the frames.
        heads: of these blocks. None: of 64 channels each, 8 for the published models.
        std: standard deviation at the start of the rows and of the positions of frames.
    """

    count: int = 16
    layers: int = 2
    heads: int | None = None
    std: float = 0.01

    def __post_init__(self):
        require_whole("count", self.count, least=1)
        require_whole("layers", self.layers, least=1)
        if self.heads is not None:
            require_whole("heads", self.heads, least=1)

    @property
    def text_positions(self) -> int:
        return 2 * self.count

    def check(self, stages: Sequence[Stage], arch: Architecture) -> None:
        most = (arch.context_length - SHORTEST_TEXT) // 2
        if self.count > most:
            raise ValueError(
                f"count={self.count}: {2 * self.count} prompts and a text of {SHORTEST_TEXT} ids "
                f"are more than the model's {arch.context_length} positions; choose count in "
                f"1..{most}"
            )
        heads = self.heads or default_heads(arch.embed_dim)
        if arch.embed_dim % heads:
            raise ValueError(
                f"heads={heads} must divide the {arch.embed_dim} channels of the vectors"
            )

    def sentence(self, arch: Architecture, dtype: Any) -> Callable[..., tuple[jax.Array, ...]]:
        return Sentence(self.count, self.std, arch.context_length, name="sentence")

    def pool(self, dtype: Any) -> Callable[[jax.Array, jax.Array], jax.Array]:
        return TemporalTransformer(self.layers, self.heads, self.std, dtype, name="pool")

    def pool_macs(self, frames: int, arch: Architecture) -> int:
        e = arch.embed_dim
        return self.layers * (12 * frames * e**2 + 2 * frames**2 * e)


class Sentence(nn.Module):
    """Start, prompts, words, prompts, end: a prompt is the learned row of its position."""

    count: int
    std: float
    positions: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], size: Float[Array, "b n"], ids: Int[Array, "b n"]
    ) -> tuple[Float[Array, "b m d"], Float[Array, "b m"], Int[Array, " b"]]:
        """See `Adapter.sentence`; m = n + 2 * count."""
        shape = (self.positions, x.shape[-1])
        table = self.param("prompts", nn.initializers.normal(self.std), shape)
        end, m = ids.argmax(axis=1), x.shape[1] + 2 * self.count
        word = words_in_order(end, m, self.count)[:, :, None]
        words = jnp.take_along_axis(x, jnp.maximum(word, 0), axis=1)
        x = jnp.where(word >= 0, words, table[None, :m].astype(x.dtype))
        return x, jnp.ones(x.shape[:2]), end + 2 * self.count


def words_in_order(end: Int[Array, " b"], m: int, count: int) -> Int[Array, "b m"]:
    """Which id stands at each of m places; -1 = a prompt. `end` is the place of the last id."""
    place, end = np.arange(m)[None], end[:, None]
    moved = place - count
    word = jnp.where((moved >= 1) & (moved < end), moved, -1)
    word = jnp.where(place == end + 2 * count, end, word)
    return jnp.where(place == 0, 0, word)


class TemporalTransformer(nn.Module):
    """Frames get positions and attend to each other; the mean of those that are real."""

    layers: int
    heads: int | None
    std: float
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "b f e"], weight: Float[Array, "b f"]) -> jax.Array:
        """[b, f, e] -> [b, e]; zeros where all weights are 0."""
        position = self.param("position", nn.initializers.normal(self.std), x.shape[1:])
        x = (x + position[None]).astype(self.dtype or x.dtype)
        heads = self.heads or default_heads(x.shape[-1])
        for layer in range(self.layers):
            x = TransformerBlock(heads, self.dtype, name=f"block_{layer}")(x, weight > 0)
        total = jnp.einsum("bf,bfe->be", weight, x.astype(jnp.float32), precision=HIGHEST)
        return total / jnp.maximum(weight.sum(axis=1, keepdims=True), 1)


class TransformerBlock(nn.Module):
    """A block like CLIP's that is learned from scratch; at the start as PyTorch draws it."""

    heads: int
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], seen: Bool[Array, "b n"] | None = None
    ) -> Float[Array, "b n d"]:
        """[b, n, d] -> [b, n, d]; all of n attend to those that are `seen`, None = to all."""
        d = x.shape[-1]
        # Of queries, keys and values together: xavier_uniform of a [3 d, d] matrix.
        attention = nn.MultiHeadDotProductAttention(
            self.heads, dtype=self.dtype, kernel_init=uniform((1.5 / d) ** 0.5),
            out_kernel_init=uniform(d**-0.5), force_fp32_for_softmax=True, name="attn",
        )  # fmt: skip
        mask = None if seen is None else seen[:, None, None]
        x = x + attention(self.norm("ln_1")(x), mask=mask)
        y = dense(4 * d, d, self.dtype, "fc")(self.norm("ln_2")(x))
        return x + dense(d, 4 * d, self.dtype, "proj")(ACTIVATIONS["quick_gelu"](y))

    def norm(self, name: str) -> nn.LayerNorm:
        """As CLIP's: statistics in float32."""
        return nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, use_fast_variance=False, name=name)


def dense(features: int, fan_in: int, dtype: Any, name: str) -> nn.Dense:
    """A linear layer that starts as PyTorch's: weights and biases U(+-1 / sqrt(fan_in))."""
    start = uniform(fan_in**-0.5)
    return nn.Dense(features, dtype=dtype, kernel_init=start, bias_init=start, name=name)


def uniform(bound: float) -> nn.initializers.Initializer:
    """The initialiser U(-bound, bound)."""

    def draw(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, minval=-bound, maxval=bound)

    return draw


def default_heads(width: int) -> int:
    """Of 64 channels each, or one."""
    return max(1, width // 64)
