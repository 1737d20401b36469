"""The reducer that keeps every token, and what all reducers share.

A reducer is a frozen dataclass that says what happens to the tokens at the sites of a block. A
site returns something that can be called: a function, or a Flax module that gets its parameters
where it is called.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Float

from tempme_jax.checks import require_wholes
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.tokens import Evidence, Stage, Tokens
from tempme_jax.reducers.merging import match, max_merged, merge

# The attention of a block applied to other sequences than its own: it is called with a residual
# stream [b, t, n, d], in which each [n, d] attends to itself, and sizes [b, t, n] (0 = unseen).
Attend = Callable[[jax.Array, jax.Array], tuple[jax.Array, Evidence]]


# One clip: x [n, d], size [n], score [n] to x [m, d], size [m], and where each token went [n].
ReduceClip = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array, jax.Array]]


def keep(tokens: Tokens, *_: Any) -> Tokens:
    """The site where nothing happens."""
    return tokens


@dataclasses.dataclass(frozen=True)
class Reducer:
    """Keeps every token: plain CLIP on every frame."""

    def proportional(self, layer: int) -> bool:
        """Whether attention counts a token as often as it stands for patches, in block `layer`."""
        return False

    def resolve(self, *, patches: int, frames: int, depth: int) -> "Reducer":
        """The same with every option that was left open (None) set as the paper does.

        Args:
            patches: patches of a frame.
            frames: frames of a video.
            depth: blocks of the tower.
        """
        return self

    def check(self, depth: int) -> None:
        """Raises a ValueError if the options do not fit a tower of `depth` blocks."""

    def stage(self, layer: int, before: Stage) -> Stage:
        """What block `layer` works on after `before`, in plain integers.

        Raises:
            ValueError: if that is impossible; it names the layer and the numbers.
        """
        return unchanged(before)

    def before_attention(self, layer: int, stage: Stage) -> Callable[[Tokens, Attend], Tokens]:
        """What happens to the tokens that enter block `layer`."""
        return keep

    def after_attention(self, layer: int, stage: Stage) -> Callable[[Tokens, Evidence], Tokens]:
        """What happens to the tokens between the attention and the MLP of block `layer`."""
        return keep

    def after_block(self, layer: int, stage: Stage) -> Callable[[Tokens, Evidence], Tokens]:
        """What happens to the tokens that leave block `layer`; the evidence is of its attention."""
        return keep

    def penalty(self, params: dict, arch: Architecture, frames: int) -> jax.Array | float:
        """What training adds to its loss, float32 []."""
        return 0.0

    def found(self, params: dict) -> dict[str, Any]:
        """Options that training found, for a reducer that takes them; none if it seeks none."""
        return {}


def unchanged(before: Stage, *, removed: int = 0) -> Stage:
    """The stage after `before` that works on what that left, of which `removed` go in the block."""
    n = before.out
    return dataclasses.replace(before, attention=n, mlp=n - removed, out=n - removed, temporal=0)


def block_numbers(layers: Any) -> tuple[int, ...]:
    """The option `layers` as a tuple, if it names blocks in ascending order; else a ValueError."""
    layers = require_wholes("layers", layers, least=0)
    if list(layers) != sorted(set(layers)):
        raise ValueError(f"layers={layers} must be block numbers in ascending order")
    return layers


def require_blocks(layers: tuple[int, ...], depth: int) -> None:
    """Raises a ValueError if a tower of `depth` blocks does not have them all."""
    if layers and layers[-1] >= depth:
        raise ValueError(f"layers={layers} must lie in 0..{depth - 1}, the blocks")


def reduce_clips(tokens: Tokens, score: Float[Array, "b t n"], reduce: ReduceClip) -> Tokens:
    """Each clip by itself, by a score of its tokens."""
    return tokens.regroup(*jax.vmap(jax.vmap(reduce))(tokens.x, tokens.size, score))


def merge_tokens(tokens: Tokens, metric: Float[Array, "b t n k"], n_out: int) -> Tokens:
    """Merges the tokens of each clip that are most alike in `metric` until `n_out` are left."""
    r = tokens.x.shape[2] - n_out
    if r == 0:
        return tokens

    def one_clip(x, size, metric):
        position = match(metric, r, n_cls=tokens.n_cls, size=size)
        return *merge(x, size, position, n_out), position

    b, t = tokens.size.shape[:2]
    clips = [a.reshape(b * t, *a.shape[2:]) for a in (tokens.x, tokens.size, metric)]
    merged = jax.vmap(one_clip)(*clips)
    return tokens.regroup(*(a.reshape(b, t, *a.shape[1:]) for a in merged))


def require_mergeable(r: int, *, tokens: int, n_cls: int, layer: int) -> None:
    """Raises a ValueError if `r` of `tokens` tokens cannot merge at once in block `layer`."""
    limit = max_merged(tokens, n_cls)
    if not 0 <= r <= limit:
        raise ValueError(
            f"r={r} is too large for block {layer}: {tokens} tokens are left there, {n_cls} of "
            f"them class tokens, and at most {limit} can merge at once; choose r in 0..{limit}"
        )
