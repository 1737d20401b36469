"""EViT: the patches that the class token attends to least become one token.

"Not All Patches are What You Need: Expediting Vision Transformers via Token Reorganizations"
(Liang et al., ICLR 2022), with the keep rate and the blocks of its authors. The keep rate is
constant, as when its authors finetune a trained model. See docs/methods/evit.md.
"""

import dataclasses
import functools
import math
import numbers
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tempme_jax.networks.tokens import Evidence, Stage, Tokens
from tempme_jax.reducers.base import (
    Reducer,
    keep_tokens,
    make_stage,
    reduce_each_clip,
    require_block_numbers,
    require_within_depth,
)
from tempme_jax.reducers.merging import rank_scores
from tempme_jax.vectors import HIGHEST

# The smallest share that the dial asks for.
LEAST_KEPT = 0.1


@dataclasses.dataclass(frozen=True)
class EViT(Reducer):
    """Keep the patches that the class token attends to most, and fuse the others.

    Attributes:
        keep: share of the patches that are kept, in (0, 1], rounded up; a fused token counts as a
            patch in the next of `layers`.
        layers: blocks that drop patches, from 0, ascending. None: at one, two and three quarters
            of the depth: 3, 6, 9 of 12.
        fuse: True: the other patches are summed into one more token, weighted by the attention
            of the class token. False: they are discarded.
    """

    keep: float = 0.7
    layers: tuple[int, ...] | None = None
    fuse: bool = True

    def __post_init__(self):
        is_number = isinstance(self.keep, numbers.Real) and not isinstance(self.keep, bool)
        if not (is_number and 0 < self.keep <= 1):
            raise ValueError(f"keep={self.keep!r} must be in (0, 1]: the share that is kept")
        if self.layers is not None:
            object.__setattr__(self, "layers", require_block_numbers(self.layers))

    @property
    def class_token_use(self) -> str:
        return "it keeps the patches that the class token attends to most"

    def resolve(self, *, patches: int, frames: int, depth: int, n_cls: int = 1) -> "Reducer":
        if self.layers is not None:
            return self
        quarters = {quarter * depth // 4 for quarter in (1, 2, 3)}
        return dataclasses.replace(self, layers=tuple(sorted(quarters)))

    def check(self, depth: int) -> None:
        assert self.layers is not None  # set by `resolve`
        require_within_depth(self.layers, depth)

    def stage(self, layer: int, before: Stage) -> Stage:
        patches = before.out - before.n_cls
        left = self._count_left(layer, patches)
        fused = self.fuse and left < patches
        return make_stage(before, removed=patches - left - fused)

    def scale(self, strength: float) -> dict[str, Any]:
        if strength == 1:
            return {"keep": self.keep}
        return {"keep": round(max(LEAST_KEPT, 1 - strength * (1 - self.keep)), 3)}

    def after_attention(self, layer: int, stage: Stage) -> Callable[[Tokens, Evidence], Tokens]:
        """Keep and fuse by the attention that the class token gave in this block."""
        patches = stage.attention - stage.n_cls
        left = self._count_left(layer, patches)
        if left == patches:
            return keep_tokens
        reorganise = functools.partial(keep_attended, left=left, n_cls=stage.n_cls, fuse=self.fuse)
        return lambda tokens, evidence: reduce_each_clip(
            tokens, evidence.class_attention, reorganise
        )

    def _count_left(self, layer: int, patches: int) -> int:
        assert self.layers is not None  # set by `resolve`
        # Exact fractions: in floating point 100 * 0.55 is more than 55.
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
    """Return the class tokens, `left` patches in descending order of score, and the fused rest.

    The choice has no gradient. The weights of the fused patches, their scores, have one.

    Args:
        x: float [n, d], the tokens of one clip.
        size: float [n]; a token of size 0 is padding, and real tokens are kept before it.
        score: float32 [n], attention of the class token to each token.
        left: number of patches that are kept, fewer than there are.
        n_cls: number of class tokens, which come first.
        fuse: True to fuse the rest into one more token, whose size is the sum of theirs.

    Returns:
        x [m, d], size [m], and the new index of every token, int32 [n]; -1 = discarded.
    """
    kept = n_cls + left
    new = np.arange(kept + fuse)[:, None]
    rank = rank_by_attention(size, score, n_cls=n_cls)
    position = jnp.where(rank < kept, rank, kept if fuse else -1).astype(jnp.int32)
    goes_to = position[None, :] == new
    weight = jnp.where(goes_to, jnp.where(new < kept, 1.0, score[None, :]), 0)
    # HIGHEST: a token that is kept must stay exactly the same on every device.
    x_kept = jnp.matmul(weight, x.astype(weight.dtype), precision=HIGHEST).astype(x.dtype)
    return x_kept, jnp.where(goes_to, size[None, :], 0).sum(axis=1), position


def rank_by_attention(
    size: Float[Array, " n"], score: Float[Array, " n"], *, n_cls: int
) -> Int[Array, " n"]:
    """Rank the tokens of a clip: class tokens, patches by descending score, padding."""
    score = jnp.where(size > 0, jax.lax.stop_gradient(score), -jnp.inf)
    return rank_scores(jnp.where(np.arange(score.shape[0]) < n_cls, jnp.inf, score))
