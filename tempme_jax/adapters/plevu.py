"""PLEVU: prompts around the words, and a small transformer over the vectors of the frames.

"Prompting Visual-Language Models for Efficient Video Understanding" (Ju et al., ECCV 2022). Both
towers are frozen. The input of the text tower has learned rows before and after the words, and two
transformer blocks over the vectors of the frames model time. See docs/methods/plevu.md.

The published sequence fills all positions of the text tower. The causal mask hides what follows
the end of a text, so here the sequence stops where the longest text of the batch can end.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tempme_jax.adapters.base import Adapter
from tempme_jax.adapters.transformer import TransformerBlock
from tempme_jax.checks import require_whole
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.tokens import Stage

# Ids of the shortest text: start, one word, end.
SHORTEST_TEXT = 3


@dataclasses.dataclass(frozen=True)
class PLEVU(Adapter):
    """Learned rows around the words, and a transformer over the frames.

    Attributes:
        count: number of learned rows before the words, and again after them.
        temporal_layers: number of transformer blocks over the frames.
        heads: attention heads of these blocks. None: one per 64 channels, 8 for B/32 and B/16.
        std: standard deviation of the rows and of the frames' positions before training.
    """

    count: int = 16
    temporal_layers: int = 2
    heads: int | None = None
    std: float = 0.01

    def __post_init__(self):
        require_whole("count", self.count, least=1)
        require_whole("temporal_layers", self.temporal_layers, least=1)
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
        heads = self.heads or choose_heads(arch.embed_dim)
        if arch.embed_dim % heads:
            raise ValueError(
                f"heads={heads} must divide the {arch.embed_dim} channels of the vectors"
            )

    def sentence(self, arch: Architecture, dtype: Any) -> Callable[..., tuple[jax.Array, ...]]:
        return Sentence(self.count, self.std, arch.context_length, name="sentence")

    def relate(self, dtype: Any) -> Callable[[jax.Array, jax.Array], jax.Array]:
        return TemporalTransformer(self.temporal_layers, self.heads, self.std, dtype, name="pool")

    def count_pool_macs(self, frames: int, arch: Architecture) -> int:
        e = arch.embed_dim
        return self.temporal_layers * (12 * frames * e**2 + 2 * frames**2 * e)


class Sentence(nn.Module):
    """The sequence start, prompts, words, prompts, end; a prompt is the row of its position."""

    count: int
    std: float
    positions: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], size: Float[Array, "b n"], ids: Int[Array, "b n"]
    ) -> tuple[Float[Array, "b m d"], Float[Array, "b m"], Int[Array, " b"]]:
        """Return what `Adapter.sentence` describes, with m = n + 2 * count."""
        shape = (self.positions, x.shape[-1])
        table = self.param("prompts", nn.initializers.normal(self.std), shape)
        end, m = ids.argmax(axis=1), x.shape[1] + 2 * self.count
        word = order_words(end, m, self.count)[:, :, None]
        words = jnp.take_along_axis(x, jnp.maximum(word, 0), axis=1)
        x = jnp.where(word >= 0, words, table[None, :m].astype(x.dtype))
        return x, jnp.ones(x.shape[:2]), end + 2 * self.count


def order_words(end: Int[Array, " b"], m: int, count: int) -> Int[Array, "b m"]:
    """Return the index of the id at each of m places, -1 = a prompt; `end` indexes the last id."""
    place, end = np.arange(m)[None], end[:, None]
    moved = place - count
    word = jnp.where((moved >= 1) & (moved < end), moved, -1)
    word = jnp.where(place == end + 2 * count, end, word)
    return jnp.where(place == 0, 0, word)


class TemporalTransformer(nn.Module):
    """Transformer blocks over the frames."""

    layers: int
    heads: int | None
    std: float
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "b f e"], weight: Float[Array, "b f"]) -> jax.Array:
        """Map [b, f, e] to [b, f, e], float32."""
        position = self.param("position", nn.initializers.normal(self.std), x.shape[1:])
        x = (x + position[None]).astype(self.dtype or x.dtype)
        heads = self.heads or choose_heads(x.shape[-1])
        for layer in range(self.layers):
            x = TransformerBlock(heads, self.dtype, name=f"block_{layer}")(x, weight > 0)
        return x.astype(jnp.float32)


def choose_heads(width: int) -> int:
    """Return the number of heads of 64 channels, at least 1."""
    return max(1, width // 64)
