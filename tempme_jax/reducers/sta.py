"""STA: at three points, patches that repeat earlier frames are dropped from each frame.

"Prune Spatio-temporal Tokens by Semantic-aware Temporal Accumulation" (Ding et al., ICCV 2023).
Nothing is learned. The paper drops tokens of chunks of a video in a model that attends to the
whole video. Here, as in TempMe's baseline, a chunk is one frame of CLIP, class tokens always stay,
and every frame loses the same number of patches. See docs/methods/sta.md.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from tempme_jax.checks import require_wholes
from tempme_jax.networks.tokens import Evidence, Stage, Tokens
from tempme_jax.reducers.base import (
    Reducer,
    make_stage,
    require_block_numbers,
    require_within_depth,
)
from tempme_jax.reducers.merging import HIGHEST, merge, rank_scores
from tempme_jax.vectors import normalize

# 12, 8, 4 of the 49 patches of a frame (B/32): these numbers give the cost in the TempMe paper.
SHARES_DROPPED = (12 / 49, 8 / 49, 4 / 49)

# State of the accumulation after a frame: the unit keys [m, k] of its remaining patches, and the
# accumulated score [m] of each.
Seen = tuple[jax.Array, jax.Array]


@dataclasses.dataclass(frozen=True)
class STA(Reducer):
    """Drop the patches of each frame that repeat earlier frames and are not important.

    Options that are None depend on the backbone.

    Attributes:
        drop: number of patches that every frame loses after each of `layers`, at most half. None:
            12, 8, 4 for the 49 patches of B/32; 48, 32, 16 for the 196 of B/16.
        layers: blocks after which patches are dropped, from 0, ascending; 0, 4, 8 of 12. After the
            second, fourth, ... of them the frames are processed from the last to the first.
    """

    drop: tuple[int, ...] | None = None
    layers: tuple[int, ...] | None = None

    def __post_init__(self):
        if self.drop is not None:  # a list, as configs give it
            object.__setattr__(self, "drop", require_wholes("drop", self.drop, least=0))
        if self.layers is not None:
            object.__setattr__(self, "layers", require_block_numbers(self.layers))

    def resolve(self, *, patches: int, frames: int, depth: int, n_cls: int = 1) -> "Reducer":
        layers = self.layers
        if layers is None:
            layers = tuple(sorted({0, depth // 3, 2 * depth // 3}))
        drop = self.drop
        if drop is None:
            drop = tuple(round(share * patches) for share in SHARES_DROPPED[: len(layers)])
        return dataclasses.replace(self, drop=drop, layers=layers)

    def check(self, depth: int) -> None:
        assert self.drop is not None and self.layers is not None  # set by `resolve`
        if len(self.drop) != len(self.layers):
            raise ValueError(
                f"drop={self.drop} and layers={self.layers} must be of one length: "
                "a number of patches for every block after which they are dropped"
            )
        require_within_depth(self.layers, depth)

    def stage(self, layer: int, before: Stage) -> Stage:
        assert self.drop is not None and self.layers is not None  # set by `resolve`
        stage = make_stage(before)
        if layer not in self.layers:
            return stage
        drop = self.drop[self.layers.index(layer)]
        limit = (stage.mlp - stage.n_cls) // 2
        if drop > limit:
            raise ValueError(
                f"drop={drop} is too large after block {layer}: {stage.mlp} tokens are left "
                f"there, {stage.n_cls} of them class tokens; at most half of the others can go; "
                f"choose a number in 0..{limit}"
            )
        return dataclasses.replace(stage, out=stage.mlp - drop)

    def after_block(self, layer: int, stage: Stage) -> Callable[[Tokens, Evidence], Tokens]:
        """Drop by the keys of the block's attention and the tokens that leave the block."""
        if stage.out == stage.mlp:
            return super().after_block(layer, stage)
        assert self.layers is not None  # set by `resolve`
        backwards = self.layers.index(layer) % 2 == 1
        return lambda tokens, evidence: drop_repeated(
            tokens, evidence.keys, stage.out, backwards=backwards
        )


def drop_repeated(
    tokens: Tokens, keys: Float[Array, "b t n k"], n_out: int, *, backwards: bool
) -> Tokens:
    """Drop the patches of each frame that repeat the frames before it most, by their `keys`.

    The frames are processed from the last to the first if `backwards`.

    Returns:
        The tokens [b, t, n_out, d]: class tokens, then patches, the least repeated one first.
    """
    c = tokens.n_cls
    x, keys = jax.lax.stop_gradient((tokens.x[:, :, c:], keys[:, :, c:]))
    choose = functools.partial(accumulate_in_order, n_out=n_out - c, backwards=backwards)
    of_patches = jax.vmap(choose)(
        normalize(keys), compute_importance(x), tokens.size.max(axis=2) > 0
    )
    of_patches = jnp.where(of_patches < 0, -1, of_patches + c)
    of_classes = jnp.broadcast_to(np.arange(c, dtype=np.int32), (*of_patches.shape[:2], c))
    position = jnp.concatenate([of_classes, of_patches], axis=2)
    # No two tokens share a position, so each mean is over one token.
    x, size = jax.vmap(jax.vmap(functools.partial(merge, n_out=n_out)))(
        tokens.x, tokens.size, position
    )
    return tokens.regroup(x, size, position)


def compute_importance(x: Float[Array, "b t p d"]) -> Float[Array, "b t p"]:
    """Return the sum of magnitudes of each patch, scaled to 0 .. 1 within its frame."""
    total = jnp.abs(x.astype(jnp.float32)).sum(axis=-1)
    low, high = total.min(axis=-1, keepdims=True), total.max(axis=-1, keepdims=True)
    return (total - low) / jnp.maximum(high - low, 1e-12)


def accumulate_in_order(
    keys: Float[Array, "t p k"],
    important: Float[Array, "t p"],
    real: Bool[Array, " t"],
    *,
    n_out: int,
    backwards: bool,
) -> Int[Array, "t p"]:
    """Apply `accumulate` in the order of time, or against it.

    Padded frames come last in both cases, so they do not affect real ones.
    """
    t = len(keys)
    turn = np.arange(t)[::-1] if backwards else np.arange(t)
    order = jnp.argsort(jnp.where(real, turn, t + turn))
    return accumulate(keys[order], important[order], n_out)[jnp.argsort(order)]


def accumulate(
    keys: Float[Array, "t p k"], important: Float[Array, "t p"], n_out: int
) -> Int[Array, "t p"]:
    """Return the new index of every patch, int32 in 0 .. n_out-1; -1 = dropped."""
    first = place_first_frame(keys[0], n_out)[None]
    if len(keys) == 1:
        return first
    # The second frame is compared with all patches of the first, dropped ones too, of score 1.
    seen = keys[0], jnp.ones(keys.shape[1])
    seen, second = place_next_frame(seen, (keys[1], important[1]), n_out=n_out)
    place_frame = functools.partial(place_next_frame, n_out=n_out)
    _, others = jax.lax.scan(place_frame, seen, (keys[2:], important[2:]))
    return jnp.concatenate([first, second[None], others])


def place_first_frame(keys: Float[Array, "p k"], n_out: int) -> Int[Array, " p"]:
    """Return the new indices in the first frame: even patches that resemble an odd one go."""
    p, odds = len(keys), len(keys) // 2
    alike = jnp.matmul(keys[0::2], keys[1::2].T, precision=HIGHEST).max(axis=1)
    place = jnp.concatenate([odds + rank_scores(-alike), np.arange(odds)])
    patch = np.concatenate([np.arange(0, p, 2), np.arange(1, p, 2)])
    return leave_out(place[np.argsort(patch)], n_out)


def place_next_frame(
    seen: Seen, frame: tuple[jax.Array, jax.Array], *, n_out: int
) -> tuple[Seen, Int[Array, " p"]]:
    """Return the state after a frame, and the new indices of its patches.

    Each patch of the frame before divides its score among the patches of this frame, by their
    similarity. Patches with a high score and low importance are dropped.
    """
    earlier, held = seen
    keys, important = frame
    alike = jax.nn.softmax(jnp.matmul(keys, earlier.T, precision=HIGHEST), axis=0)
    holds = jnp.matmul(alike, held, precision=HIGHEST)
    position = leave_out(rank_scores(-holds * (1 - important)), n_out)
    stays = (position[None, :] == np.arange(n_out)[:, None]).astype(jnp.float32)
    keys, holds = (jnp.matmul(stays, a, precision=HIGHEST) for a in (keys, holds))
    return (keys, holds / holds.sum()), position


def leave_out(place: Int[Array, " p"], n_out: int) -> Int[Array, " p"]:
    """Replace the places from `n_out` on by -1."""
    return jnp.where(place < n_out, place, -1).astype(jnp.int32)
