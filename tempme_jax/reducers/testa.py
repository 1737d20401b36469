"""TESTA: late blocks attend across frames, merge frames that are alike, then patches.

"TESTA: Temporal-Spatial Token Aggregation for Long-form Video-Language Understanding" (Ren et al.,
EMNLP 2023 Findings), in the form that explains the parameters and the cost which TempMe prints
for it (specification section 11): the early blocks are ToMe's; the attention across frames is the
frozen one of the block, used a second time, in place of a trained copy with a layer behind it.
"""

import dataclasses
import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from tempme_jax.checks import require_one_of, require_whole
from tempme_jax.networks.tokens import Stage, Tokens, follow
from tempme_jax.reducers.base import (
    Attend,
    Reducer,
    block_numbers,
    require_blocks,
    require_mergeable,
    unchanged,
)
from tempme_jax.reducers.merging import HIGHEST, max_merged, merge, new_index, rank_of
from tempme_jax.reducers.tome import ToMe
from tempme_jax.vectors import unit_length

# The blocks of TESTA are the last third: 8 to 11 of 12, where TempMe joins clips.
SHARE_OF_BLOCKS = 1 / 3
# The paper's 12 of 196 patches.
SHARE_OF_PATCHES = 12 / 196
# How alike two frames are, from how alike their tokens are.
OVER_TOKENS = {"mean": jnp.mean, "min": jnp.min}


@dataclasses.dataclass(frozen=True)
class TESTA(ToMe):
    """Merges tokens inside frames; in late blocks, after an attention across frames, frames too.

    What is None is set by the backbone.

    Attributes:
        r: tokens of a frame that merge away in every block that is none of `layers`.
        layers: the blocks (from 0) with attention across frames, ascending; the last third.
        r_frame: frames that merge away in each of them, at most half of those there.
        r_patch: tokens of a frame that merge away in each of them. None: 3 for the 49 patches of
            B/32, 12 for the 196 of B/16.
        gate: whether what a token takes in across frames is scaled by a learned vector, zero at
            the start. False: it counts fully from the start.
        vote: how alike two frames are: the "mean" over their tokens, or the "min".
    """

    layers: tuple[int, ...] | None = None
    r_frame: int = 1
    r_patch: int | None = None
    gate: bool = True
    vote: str = "mean"

    def __post_init__(self):
        super().__post_init__()
        require_one_of(self.vote, OVER_TOKENS, "vote")
        require_whole("r_frame", self.r_frame, least=0)
        if self.r_patch is not None:
            require_whole("r_patch", self.r_patch, least=0)
        if self.layers is not None:  # a list, as configs give it
            object.__setattr__(self, "layers", block_numbers(self.layers))

    def resolve(self, *, patches: int, frames: int, depth: int) -> "Reducer":
        resolved = super().resolve(patches=patches, frames=frames, depth=depth)
        layers, r_patch = self.layers, self.r_patch
        if layers is None:
            layers = tuple(range(depth - max(1, round(SHARE_OF_BLOCKS * depth)), depth))
        if r_patch is None:
            r_patch = round(SHARE_OF_PATCHES * patches)
        return dataclasses.replace(resolved, layers=layers, r_patch=r_patch)

    def check(self, depth: int) -> None:
        require_blocks(self.layers, depth)

    def proportional(self, layer: int) -> bool:
        return layer not in self.layers

    def stage(self, layer: int, before: Stage) -> Stage:
        if layer not in self.layers:
            return super().stage(layer, before)
        limit = max_merged(before.clips, 0)
        if self.r_frame > limit:
            raise ValueError(
                f"r_frame={self.r_frame} is too large for block {layer}: {before.clips} frames are "
                f"left there, and at most {limit} can merge at once; choose it in 0..{limit}, or "
                f"fewer layers than {self.layers}"
            )
        require_mergeable(self.r_patch, tokens=before.out, n_cls=before.n_cls, layer=layer)
        return dataclasses.replace(
            unchanged(before, removed=self.r_patch),
            clips=before.clips - self.r_frame,
            temporal=before.clips,
        )

    def before_attention(self, layer: int, stage: Stage) -> Callable[[Tokens, Attend], Tokens]:
        """Attends across frames, then merges frames by the keys of that attention."""
        if layer not in self.layers:
            return super().before_attention(layer, stage)
        return AcrossFrames(stage.clips, self.gate, self.vote, name="across_frames")


class AcrossFrames(nn.Module):
    """Each token attends to those of its index in all frames; then frames merge.

    Attributes:
        n_out: frames afterwards.
        gate: whether a learned vector scales what the attention adds.
        vote: see `TESTA`.
    """

    n_out: int
    gate: bool
    vote: str

    @nn.compact
    def __call__(self, tokens: Tokens, attend: Attend) -> Tokens:
        """[b, t, n, d] -> [b, n_out, n, d]."""
        y, evidence = attend(tokens.x.swapaxes(1, 2), tokens.size.swapaxes(1, 2))
        y = y.swapaxes(1, 2)
        if self.gate:
            gamma = self.param("gamma", nn.initializers.zeros, (y.shape[-1],))
            y = y * gamma.astype(y.dtype)[None, None, None]
        tokens = tokens.replace(x=tokens.x + y)
        return merge_frames(tokens, evidence.keys, self.n_out, vote=self.vote)


def merge_frames(tokens: Tokens, keys: Float[Array, "b n t k"], n_out: int, *, vote: str) -> Tokens:
    """Merges the frames that are most alike in `keys`, all of their tokens, into `n_out`."""
    b, t, n = tokens.size.shape
    if t == n_out:
        return tokens
    real = tokens.size.max(axis=2) > 0
    choose = functools.partial(match_frames, r=t - n_out, vote=vote)
    position = jax.vmap(choose)(keys, real)
    of_each_token = functools.partial(merge, n_out=n_out)
    of_each_token = jax.vmap(of_each_token, in_axes=(1, 1, None), out_axes=1)
    x, size = jax.vmap(of_each_token)(tokens.x, tokens.size, position)
    source = tokens.source
    if source is not None:
        moved = position[:, :, None] * n + np.arange(n, dtype=np.int32)[None, None]
        source = follow(source, moved.reshape(b, t * n))
    return tokens.replace(x=x, size=size, source=source)


def match_frames(
    keys: Float[Array, "n t k"], real: Bool[Array, " t"], *, r: int, vote: str
) -> Int[Array, " t"]:
    """Chooses `r` frames that merge into others.

    `merging.match` of frames in place of tokens: even ones may go, into odd ones. For each of its
    tokens an even frame has an odd one whose token there is most like it; it would go into the odd
    frame that most of its tokens name.

    Args:
        keys: float [n, t, k], what is compared.
        real: bool [t]; a frame that is padding goes first, and is no target while there is another.
        r: how many frames to merge away.
        vote: how the likeness of two frames follows from that of their tokens.

    Returns:
        int32 [t]: the new index of every frame, in 0 .. t-r-1.
    """
    keys = unit_length(jax.lax.stop_gradient(keys).astype(jnp.float32))
    score = jnp.einsum("nek,nok->neo", keys[:, 0::2], keys[:, 1::2], precision=HIGHEST)
    score = jnp.where(real[None, None, 1::2], score, -jnp.inf)
    named = score.argmax(axis=2)[:, :, None] == np.arange(score.shape[2])[None, None]
    best = OVER_TOKENS[vote](score.max(axis=2), axis=0)
    best = jnp.where(real[0::2], best, jnp.inf)
    target = named.sum(axis=0).argmax(axis=1)
    return new_index(rank_of(best) < r, target, n=len(real), n_cls=0, r=r)
