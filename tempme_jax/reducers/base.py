"""The base class of all reducers, and the functions that they share.

A reducer is a frozen dataclass that says which tokens are merged or dropped, and in which blocks.
Its methods are called at named sites of a block. A site returns a callable: a function, or a Flax
module whose parameters are created where the block calls it. See docs/adding_a_method.md.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Float

from tempme_jax.checks import require_wholes
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.kept import keep
from tempme_jax.networks.tokens import Evidence, Stage, Tokens
from tempme_jax.reducers.merging import limit_merges, match, merge

# The attention of a block, for use on other sequences than the block's own. It takes a residual
# stream [b, t, n, d], of which each [n, d] attends to itself, and sizes [b, t, n]. Tokens of size 0
# are not attended to.
Attend = Callable[[jax.Array, jax.Array], tuple[jax.Array, Evidence]]


# Reduces one clip: from x [n, d], size [n] and score [n] to x [m, d], size [m] and the new index of
# every token [n].
ReduceClip = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array, jax.Array]]


def keep_tokens(tokens: Tokens, *_: Any) -> Tokens:
    """Return the tokens unchanged: the default of all sites."""
    return tokens


@dataclasses.dataclass(frozen=True)
class Reducer:
    """The reducer that keeps every token: the backbone on every frame."""

    @property
    def class_token_use(self) -> str:
        """Say what the reducer does with the class token of a frame; empty if it needs none."""
        return ""

    def is_proportional(self, layer: int) -> bool:
        """Return whether attention in block `layer` counts a token as often as its size."""
        return False

    def resolve(self, *, patches: int, frames: int, depth: int, n_cls: int = 1) -> "Reducer":
        """Return a copy in which every option that was None has the paper's value.

        Args:
            patches: number of patches of a frame.
            frames: number of frames of a video.
            depth: number of blocks of the tower.
            n_cls: number of class tokens of a frame.
        """
        return self

    def check(self, depth: int) -> None:
        """Raise a ValueError if the options do not fit a tower of `depth` blocks."""

    def stage(self, layer: int, before: Stage) -> Stage:
        """Return the counts of clips and tokens of block `layer`.

        Args:
            layer: number of the block, from 0.
            before: the stage of the block before it.

        Raises:
            ValueError: if the options are impossible there; it names the block and the numbers.
        """
        return make_stage(before)

    def before_attention(self, layer: int, stage: Stage) -> Callable[[Tokens, Attend], Tokens]:
        """Return a callable that changes the tokens that enter block `layer`."""
        return keep_tokens

    def after_attention(self, layer: int, stage: Stage) -> Callable[[Tokens, Evidence], Tokens]:
        """Return a callable that changes the tokens between attention and MLP of block `layer`."""
        return keep_tokens

    def after_block(self, layer: int, stage: Stage) -> Callable[[Tokens, Evidence], Tokens]:
        """Return a callable that changes the tokens that leave block `layer`."""
        return keep_tokens

    def compute_penalty(self, params: dict, arch: Architecture, frames: int) -> jax.Array | float:
        """Return a term that training adds to its loss, float32 []."""
        return 0.0

    def read_found_options(self, params: dict) -> dict[str, Any]:
        """Return the options that training found, for another reducer; empty if it seeks none."""
        return {}

    def scale(self, strength: float) -> dict[str, Any]:
        """Return options that remove so many times as many tokens, for the dial; empty if none do.

        Args:
            strength: 0 removes nothing, 1 is the reducer itself, which is settled.
        """
        return {}


def require_class_token(half: Any, n_cls: int) -> None:
    """Raise a ValueError if an adapter or reducer needs a class token that frames do not have."""
    if half.class_token_use and not n_cls:
        raise ValueError(
            f"{type(half).__name__} does not work with this backbone, whose frames have no class "
            f"token: {half.class_token_use}"
        )


def make_stage(before: Stage, *, removed: int = 0) -> Stage:
    """Return the stage after `before`, in which `removed` tokens go between attention and MLP."""
    n = before.out
    return dataclasses.replace(
        before, attention=n, mlp=n - removed, out=n - removed, temporal=0, across=0
    )


def require_block_numbers(layers: Any) -> tuple[int, ...]:
    """Return the option `layers` as a tuple; raise a ValueError unless it is ascending."""
    layers = require_wholes("layers", layers, least=0)
    if list(layers) != sorted(set(layers)):
        raise ValueError(f"layers={layers} must be block numbers in ascending order")
    return layers


def require_within_depth(layers: tuple[int, ...], depth: int) -> None:
    """Raise a ValueError if a tower of `depth` blocks lacks one of `layers`."""
    if layers and layers[-1] >= depth:
        raise ValueError(f"layers={layers} must lie in 0..{depth - 1}, the blocks of the tower")


def reduce_each_clip(tokens: Tokens, score: Float[Array, "b t n"], reduce: ReduceClip) -> Tokens:
    """Apply `reduce` to each clip by itself, with a score of its tokens."""
    # Kept: computed again, scores that are almost equal might choose other tokens.
    return tokens.regroup(*jax.vmap(jax.vmap(reduce))(tokens.x, tokens.size, keep(score)))


def merge_tokens(tokens: Tokens, metric: Float[Array, "b t n k"], n_out: int) -> Tokens:
    """Merge the tokens of each clip that are most alike in `metric`, until `n_out` are left."""
    r = tokens.x.shape[2] - n_out
    if r == 0:
        return tokens

    def merge_clip(x, size, metric):
        position = keep(match(metric, r, n_cls=tokens.n_cls, size=size))
        return *merge(x, size, position, n_out), position

    b, t = tokens.size.shape[:2]
    clips = [a.reshape(b * t, *a.shape[2:]) for a in (tokens.x, tokens.size, metric)]
    merged = jax.vmap(merge_clip)(*clips)
    return tokens.regroup(*(a.reshape(b, t, *a.shape[1:]) for a in merged))


def require_mergeable(r: int, *, tokens: int, n_cls: int, layer: int) -> None:
    """Raise a ValueError if `r` of `tokens` tokens cannot merge at once in block `layer`."""
    limit = limit_merges(tokens, n_cls)
    if not 0 <= r <= limit:
        raise ValueError(
            f"r={r} is too large for block {layer}: {tokens} tokens are left there, {n_cls} of "
            f"them class tokens, and at most {limit} can merge at once; choose r in 0..{limit}"
        )
