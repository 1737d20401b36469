"""TESTA: late blocks attend across frames, then merge similar frames, then similar patches.

"TESTA: Temporal-Spatial Token Aggregation for Long-form Video-Language Understanding" (Ren et al.,
Findings of EMNLP 2023). Ours is the form that explains the parameters and the cost in the TempMe
paper. The early blocks are ToMe's. The attention across frames is the block's own frozen attention,
used a second time; the original trains a copy of it with one more layer. See docs/methods/testa.md.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

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
    make_stage,
    require_block_numbers,
    require_mergeable,
    require_within_depth,
)
from tempme_jax.reducers.merging import HIGHEST, compute_new_index, limit_merges, merge, rank_scores
from tempme_jax.reducers.tome import PAPER_DEPTH, ToMe, count_merges, place_blocks
from tempme_jax.vectors import normalize

# The blocks of TESTA are the last third: 8 to 11 of 12, where TempMe joins clips. In a deeper tower
# four blocks lie there, too.
SHARE_OF_BLOCKS = 1 / 3
# The paper's 12 of 196 patches.
SHARE_OF_PATCHES = 12 / 196
# Similarity of two frames from those of their tokens.
OVER_TOKENS = {"mean": jnp.mean, "min": jnp.min}


@dataclasses.dataclass(frozen=True)
class TESTA(ToMe):
    """Merging of tokens inside frames, and of frames after an attention across them.

    Options that are None depend on the backbone.

    Attributes:
        r: number of tokens of a frame that merge away in every block outside `layers`.
        layers: blocks with attention across frames, from 0, ascending. None: the last third; 16,
            18, 20 and 22 of 24.
        r_frame: number of frames that merge away in each of them, at most half.
        r_patch: number of tokens of a frame that merge away in each of them. None: 3 for the 49
            patches of B/32, 12 for the 196 of B/16.
        gate: True: a learned vector, zero before training, scales the output of the attention
            across frames. False: the output is added as it is.
        vote: similarity of two frames: the "min" over their patches, or the "mean".
        classes_across: whether class tokens, too, attend across frames and vote.
    """

    layers: tuple[int, ...] | None = None
    r_frame: int = 1
    r_patch: int | None = None
    gate: bool = True
    vote: str = "min"
    classes_across: bool = False

    def __post_init__(self):
        super().__post_init__()
        require_one_of(self.vote, OVER_TOKENS, "vote")
        require_whole("r_frame", self.r_frame, least=0)
        if self.r_patch is not None:
            require_whole("r_patch", self.r_patch, least=0)
        if self.layers is not None:  # a list, as configs give it
            object.__setattr__(self, "layers", require_block_numbers(self.layers))

    def resolve(self, *, patches: int, frames: int, depth: int, n_cls: int = 1) -> "Reducer":
        resolved = super().resolve(patches=patches, frames=frames, depth=depth, n_cls=n_cls)
        layers, r_patch = self.layers, self.r_patch
        if layers is None:
            end = min(depth, PAPER_DEPTH)
            layers = place_blocks(range(end - max(1, round(SHARE_OF_BLOCKS * end)), end), depth)
        if r_patch is None:
            r_patch = count_merges(SHARE_OF_PATCHES, patches, depth)
        return dataclasses.replace(resolved, layers=layers, r_patch=r_patch)

    def check(self, depth: int) -> None:
        assert self.layers is not None  # set by `resolve`
        require_within_depth(self.layers, depth)

    def is_proportional(self, layer: int) -> bool:
        assert self.layers is not None  # set by `resolve`
        return layer not in self.layers

    def scale(self, strength: float) -> dict[str, Any]:
        assert self.r_patch is not None  # set by `resolve`
        return super().scale(strength) | {"r_patch": int(self.r_patch * strength + 0.5)}

    def stage(self, layer: int, before: Stage) -> Stage:
        assert self.layers is not None and self.r_patch is not None  # set by `resolve`
        if layer not in self.layers:
            return super().stage(layer, before)
        limit = limit_merges(before.clips, 0)
        if self.r_frame > limit:
            raise ValueError(
                f"r_frame={self.r_frame} is too large for block {layer}: {before.clips} frames are "
                f"left there, and at most {limit} can merge at once; choose it in 0..{limit}, or "
                f"fewer layers than {self.layers}"
            )
        require_mergeable(self.r_patch, tokens=before.out, n_cls=before.n_cls, layer=layer)
        return dataclasses.replace(
            make_stage(before, removed=self.r_patch),
            clips=before.clips - self.r_frame,
            temporal=before.clips,
            across=before.out - (0 if self.classes_across else before.n_cls),
        )

    def before_attention(self, layer: int, stage: Stage) -> Callable[[Tokens, Attend], Tokens]:
        """Attend across frames, then merge frames by the keys of that attention."""
        assert self.layers is not None  # set by `resolve`
        if layer not in self.layers:
            return super().before_attention(layer, stage)
        return AcrossFrames(
            stage.clips, self.gate, self.vote, self.classes_across, name="across_frames"
        )


class AcrossFrames(nn.Module):
    """Attention of each token to those of its index in all frames; then frames merge to `n_out`.

    Class tokens neither attend nor vote unless `classes_across`; they merge with their frames.
    """

    n_out: int
    gate: bool
    vote: str
    classes_across: bool

    @nn.compact
    def __call__(self, tokens: Tokens, attend: Attend) -> Tokens:
        """Map [b, t, n, d] to [b, n_out, n, d]."""
        apart = 0 if self.classes_across else tokens.n_cls
        x, size = tokens.x[:, :, apart:], tokens.size[:, :, apart:]
        y, evidence = attend(x.swapaxes(1, 2), size.swapaxes(1, 2))
        y = y.swapaxes(1, 2)
        if self.gate:
            gamma = self.param("gamma", nn.initializers.zeros, (y.shape[-1],))
            y = y * gamma.astype(y.dtype)[None, None, None]
        x = jnp.concatenate([tokens.x[:, :, :apart], x + y], axis=2)
        return merge_frames(tokens.replace(x=x), evidence.keys, self.n_out, vote=self.vote)


def merge_frames(tokens: Tokens, keys: Float[Array, "b m t k"], n_out: int, *, vote: str) -> Tokens:
    """Merge the frames whose `keys` are most alike, with all of their tokens, into `n_out`."""
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
    """Choose `r` frames that merge into others.

    As in `merging.match`, even frames merge into odd ones. Each token of an even frame votes for
    the odd frame whose token of the same index is most similar; the target is the frame with most
    votes.

    Padded frames, where `real` is False, merge away first, and others merge into them only if
    there is no real odd frame. `keys` are the features that are compared; `vote`: see `TESTA`.

    Returns:
        int32 [t]: the new index of every frame, in 0 .. t-r-1.
    """
    keys = normalize(jax.lax.stop_gradient(keys).astype(jnp.float32))
    score = jnp.einsum("nek,nok->neo", keys[:, 0::2], keys[:, 1::2], precision=HIGHEST)
    score = jnp.where(real[None, None, 1::2], score, -jnp.inf)
    named = score.argmax(axis=2)[:, :, None] == np.arange(score.shape[2])[None, None]
    best = OVER_TOKENS[vote](score.max(axis=2), axis=0)
    best = jnp.where(real[0::2], best, jnp.inf)
    target = named.sum(axis=0).argmax(axis=1)
    return compute_new_index(rank_scores(best) < r, target, n=len(real), n_cls=0, r=r)
