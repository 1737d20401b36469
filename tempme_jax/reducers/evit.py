"""EViT: patches that the class token attends to least become one.

"Not All Patches are What You Need: Expediting Vision Transformers via Token Reorganizations"
(Liang et al., ICLR 2022), with the keep rate and the blocks of its authors (specification
section 8). The keep rate is the same from the first step on: the published recipe lowers it slowly
from 1 over a hundred epochs, which the five of retrieval have no room for.
"""

import dataclasses
import functools
import math
import numbers
from collections.abc import Callable
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tempme_jax.networks.tokens import Evidence, Stage, Tokens
from tempme_jax.reducers.base import (
    Reducer,
    block_numbers,
    keep,
    reduce_clips,
    require_blocks,
    unchanged,
)
from tempme_jax.reducers.merging import rank_of
from tempme_jax.vectors import HIGHEST


@dataclasses.dataclass(frozen=True)
class EViT(Reducer):
    """Keeps the patches that the class token attends to most, and fuses the others.

    Attributes:
        keep: in (0, 1], the share of the patches that are kept, rounded up; a fused token counts
            as a patch from the next of `layers` on.
        layers: the blocks (from 0) that drop patches, ascending; None: at one, two and three
            quarters of the depth, 3, 6, 9 of 12.
        fuse: whether what is dropped is summed into one more token, by what the class token gives
            to it; else it is discarded.
    """

    keep: float = 0.7
    layers: tuple[int, ...] | None = None
    fuse: bool = True

    def __post_init__(self):
        is_number = isinstance(self.keep, numbers.Real) and not isinstance(self.keep, bool)
        if not (is_number and 0 < self.keep <= 1):
            raise ValueError(f"keep={self.keep!r} must be in (0, 1]: the share that is kept")
        if self.layers is not None:
            object.__setattr__(self, "layers", block_numbers(self.layers))

    def resolve(self, *, patches: int, frames: int, depth: int) -> "Reducer":
        if self.layers is not None:
            return self
        quarters = {quarter * depth // 4 for quarter in (1, 2, 3)}
        return dataclasses.replace(self, layers=tuple(sorted(quarters)))

    def check(self, depth: int) -> None:
        require_blocks(self.layers, depth)

    def stage(self, layer: int, before: Stage) -> Stage:
        patches = before.out - before.n_cls
        left = self._left(layer, patches)
        fused = self.fuse and left < patches
        return unchanged(before, removed=patches - left - fused)

    def after_attention(self, layer: int, stage: Stage) -> Callable[[Tokens, Evidence], Tokens]:
        """Keeps and fuses by what the class token attended to just now."""
        patches = stage.attention - stage.n_cls
        left = self._left(layer, patches)
        if left == patches:
            return keep
        reorganise = functools.partial(keep_attended, left=left, n_cls=stage.n_cls, fuse=self.fuse)
        return lambda tokens, evidence: reduce_clips(tokens, evidence.class_attention, reorganise)

    def _left(self, layer: int, patches: int) -> int:
        # Exact: in floating point 100 * 0.55 is more than 55.
        share = Fraction(str(self.keep)) if layer in self.layers else 1
        return math.ceil(patches * share)


def keep_attended(
    x: Float[Array, "n d"],
    size: Float[Array, " n"],
    score: Float[Array, " n"],
    *,
    left: int,
    n_cls: int,
    fuse: bool,
) -> tuple[Float[Array, "m d"], Float[Array, " m"], Int[Array, " n"]]:
    """One clip: its class tokens, `left` patches in descending order of score, the fused rest.

    The choice has no gradient; the weights of the rest, which are the scores as they are, have.

    Args:
        x: float [n, d].
        size: float [n]; a token of size 0 is padding and is kept last.
        score: float32 [n], what the class token gives to each.
        left: patches that are kept, fewer than there are.
        n_cls: class tokens, in front.
        fuse: whether the rest becomes one more token, of the sum of their sizes.

    Returns:
        x [m, d], size [m], and the new index of every token, int32 [n]; -1 = discarded.
    """
    kept = n_cls + left
    new = np.arange(kept + fuse)[:, None]
    rank = attention_rank(size, score, n_cls=n_cls)
    position = jnp.where(rank < kept, rank, kept if fuse else -1).astype(jnp.int32)
    goes_to = position[None, :] == new
    weight = jnp.where(goes_to, jnp.where(new < kept, 1.0, score[None, :]), 0)
    # HIGHEST: a token that is kept must come out exactly as it was, on every device.
    x_kept = jnp.matmul(weight, x.astype(weight.dtype), precision=HIGHEST).astype(x.dtype)
    return x_kept, jnp.where(goes_to, size[None, :], 0).sum(axis=1), position


def attention_rank(
    size: Float[Array, " n"], score: Float[Array, " n"], *, n_cls: int
) -> Int[Array, " n"]:
    """The place of every token of a clip: class tokens, patches by descending score, padding."""
    score = jnp.where(size > 0, jax.lax.stop_gradient(score), -jnp.inf)
    return rank_of(jnp.where(np.arange(score.shape[0]) < n_cls, jnp.inf, score))
