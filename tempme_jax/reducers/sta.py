"""STA: at three points, patches drop out of each frame that were seen in the frames before it.

"Prune Spatio-temporal Tokens by Semantic-aware Temporal Accumulation" (Ding et al., ICCV 2023).
Nothing is learned. The paper drops tokens of a video model whose attention is over the whole
video; here, as in the baseline of TempMe, a chunk is one frame of CLIP, the class token of a frame
passes through, and every frame loses as many patches (specification section 10).
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
from tempme_jax.reducers.base import Reducer, block_numbers, require_blocks, unchanged
from tempme_jax.reducers.merging import HIGHEST, merge, rank_of
from tempme_jax.vectors import unit_length

# Of the patches of a frame: 12, 8, 4 of the 49 of B/32, which give the cost that TempMe prints.
SHARES_DROPPED = (12 / 49, 8 / 49, 4 / 49)

# The patches of a frame that those of the next are compared with, as unit keys [m, k], and how
# much of what came before each of them holds [m].
Seen = tuple[jax.Array, jax.Array]


@dataclasses.dataclass(frozen=True)
class STA(Reducer):
    """Drops the patches of each frame that repeat earlier frames and matter little.

    What is None is set by the backbone.

    Attributes:
        drop: patches that every frame loses at each of `layers`, at most half of those there.
            None: 12, 8, 4 for the 49 patches of B/32, 48, 32, 16 for the 196 of B/16.
        layers: the blocks (from 0) behind which they go, ascending; 0, 4, 8 of 12. Behind the
            second, fourth, ... of them the frames are gone through from the last to the first.
    """

    drop: tuple[int, ...] | None = None
    layers: tuple[int, ...] | None = None

    def __post_init__(self):
        if self.drop is not None:  # a list, as configs give it
            object.__setattr__(self, "drop", require_wholes("drop", self.drop, least=0))
        if self.layers is not None:
            object.__setattr__(self, "layers", block_numbers(self.layers))

    def resolve(self, *, patches: int, frames: int, depth: int) -> "Reducer":
        layers = self.layers
        if layers is None:
            layers = tuple(sorted({0, depth // 3, 2 * depth // 3}))
        drop = self.drop
        if drop is None:
            drop = tuple(round(share * patches) for share in SHARES_DROPPED[: len(layers)])
        return dataclasses.replace(self, drop=drop, layers=layers)

    def check(self, depth: int) -> None:
        if len(self.drop) != len(self.layers):
            raise ValueError(
                f"drop={self.drop} and layers={self.layers} must be of one length: "
                "a number of patches for every layer behind which they go"
            )
        require_blocks(self.layers, depth)

    def stage(self, layer: int, before: Stage) -> Stage:
        stage = unchanged(before)
        if layer not in self.layers:
            return stage
        drop = self.drop[self.layers.index(layer)]
        limit = (stage.mlp - stage.n_cls) // 2
        if drop > limit:
            raise ValueError(
                f"drop={drop} is too large behind block {layer}: {stage.mlp} tokens are left "
                f"there, {stage.n_cls} of them class tokens; at most half of the others can go; "
                f"choose a number in 0..{limit}"
            )
        return dataclasses.replace(stage, out=stage.mlp - drop)

    def after_block(self, layer: int, stage: Stage) -> Callable[[Tokens, Evidence], Tokens]:
        """Drops by the keys of the block's attention and by the tokens that leave the block."""
        if stage.out == stage.mlp:
            return super().after_block(layer, stage)
        backwards = self.layers.index(layer) % 2 == 1
        return lambda tokens, evidence: drop_seen(
            tokens, evidence.keys, stage.out, backwards=backwards
        )


def drop_seen(
    tokens: Tokens, keys: Float[Array, "b t n k"], n_out: int, *, backwards: bool
) -> Tokens:
    """Keeps the class tokens and, in each clip, the patches that were seen least.

    Args:
        tokens: of single frames.
        keys: float32 [b, t, n, k], what patches are compared by.
        n_out: tokens of a clip afterwards, class tokens included.
        backwards: whether the clips are gone through from the last to the first.

    Returns:
        The tokens [b, t, n_out, d]: class tokens, then the patches that were seen least first.
    """
    c = tokens.n_cls
    x, keys = jax.lax.stop_gradient((tokens.x[:, :, c:], keys[:, :, c:]))
    choose = functools.partial(in_order, n_out=n_out - c, backwards=backwards)
    of_patches = jax.vmap(choose)(unit_length(keys), importance(x), tokens.size.max(axis=2) > 0)
    of_patches = jnp.where(of_patches < 0, -1, of_patches + c)
    of_classes = jnp.broadcast_to(np.arange(c, dtype=np.int32), (*of_patches.shape[:2], c))
    position = jnp.concatenate([of_classes, of_patches], axis=2)
    # No two share a position: each that stays is a mean of itself.
    x, size = jax.vmap(jax.vmap(functools.partial(merge, n_out=n_out)))(
        tokens.x, tokens.size, position
    )
    return tokens.regroup(x, size, position)


def importance(x: Float[Array, "b t p d"]) -> Float[Array, "b t p"]:
    """The sum of magnitudes of each patch, from 0, the least of its frame, to 1, the greatest."""
    total = jnp.abs(x.astype(jnp.float32)).sum(axis=-1)
    low, high = total.min(axis=-1, keepdims=True), total.max(axis=-1, keepdims=True)
    return (total - low) / jnp.maximum(high - low, 1e-12)


def in_order(
    keys: Float[Array, "t p k"],
    important: Float[Array, "t p"],
    real: Bool[Array, " t"],
    *,
    n_out: int,
    backwards: bool,
) -> Int[Array, "t p"]:
    """`accumulate` in the order of time, or against it.

    Padding comes last whichever way, so that frames which are real meet each other alone.
    """
    t = len(keys)
    turn = np.arange(t)[::-1] if backwards else np.arange(t)
    order = jnp.argsort(jnp.where(real, turn, t + turn))
    return accumulate(keys[order], important[order], n_out)[jnp.argsort(order)]


def accumulate(
    keys: Float[Array, "t p k"], important: Float[Array, "t p"], n_out: int
) -> Int[Array, "t p"]:
    """Where every patch goes, frame by frame: int32 in 0 .. n_out-1, or -1 for those that drop."""
    first = first_frame(keys[0], n_out)[None]
    if len(keys) == 1:
        return first
    # The second frame is compared with all of the first, each of which counts once.
    seen = keys[0], jnp.ones(keys.shape[1])
    seen, second = next_frame(seen, (keys[1], important[1]), n_out=n_out)
    step = functools.partial(next_frame, n_out=n_out)
    _, others = jax.lax.scan(step, seen, (keys[2:], important[2:]))
    return jnp.concatenate([first, second[None], others])


def first_frame(keys: Float[Array, "p k"], n_out: int) -> Int[Array, " p"]:
    """Odd patches first, then the even ones, of which those go that are most like an odd one."""
    p, odds = len(keys), len(keys) // 2
    alike = jnp.matmul(keys[0::2], keys[1::2].T, precision=HIGHEST).max(axis=1)
    place = jnp.concatenate([odds + rank_of(-alike), np.arange(odds)])
    patch = np.concatenate([np.arange(0, p, 2), np.arange(1, p, 2)])
    return leave_out(place[np.argsort(patch)], n_out)


def next_frame(
    seen: Seen, frame: tuple[jax.Array, jax.Array], *, n_out: int
) -> tuple[Seen, Int[Array, " p"]]:
    """A frame after those that `seen` sums up: what the next one meets, and who stays.

    Each patch that was seen divides what it holds among the patches of this frame, by their
    likeness. Those that get much and are not important go.
    """
    earlier, held = seen
    keys, important = frame
    alike = jax.nn.softmax(jnp.matmul(keys, earlier.T, precision=HIGHEST), axis=0)
    holds = jnp.matmul(alike, held, precision=HIGHEST)
    position = leave_out(rank_of(-holds * (1 - important)), n_out)
    stays = (position[None, :] == np.arange(n_out)[:, None]).astype(jnp.float32)
    keys, holds = (jnp.matmul(stays, a, precision=HIGHEST) for a in (keys, holds))
    return (keys, holds / holds.sum()), position


def leave_out(place: Int[Array, " p"], n_out: int) -> Int[Array, " p"]:
    """The first `n_out` places, and -1 for the others."""
    return jnp.where(place < n_out, place, -1).astype(jnp.int32)
