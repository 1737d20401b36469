"""The search for DiffRate's rates: the number of tokens that every block keeps is learned.

"DiffRate: Differentiable Compression Rate for Efficient Vision Transformers" (Chen et al., ICCV
2023). Every block but the first has two vectors of logits over the numbers of patches that pruning
and merging leave. All tokens stay in the sequence, beside a mask with the gradient of the
probability that a token stays; a masked token is seen by itself alone. See
docs/methods/diffrate.md.
"""

import dataclasses
import functools
import math
import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tempme_jax.checks import require_whole
from tempme_jax.networks import macs
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.clip import Clip
from tempme_jax.networks.tokens import Evidence, Stage, Tokens
from tempme_jax.reducers.base import Reducer, keep_tokens
from tempme_jax.reducers.diffrate import DiffRate
from tempme_jax.reducers.evit import rank_by_attention
from tempme_jax.vectors import HIGHEST, normalize

FEW_TOKENS = 100
# Expectations are rounded up; float32 errors of this size must not raise them.
NOISE = 1e-3


@dataclasses.dataclass(frozen=True)
class DiffRateSearch(Reducer):
    """Learn how many tokens every block keeps, for the options of `DiffRate`.

    Attributes:
        granularity: difference between neighbouring choices of the number of patches. None: 4, or
            1 if a frame has fewer than 100 tokens.
        target: cost to reach, in 1e9 multiply-accumulates of the video tower for one video
            (`costs.Cost.mac`). None: the cost of `DiffRate` without options.
        weight: factor of the squared difference from the target in the loss. The published 5 is
            for ViT-B; smaller models cost less and need a larger weight.
    """

    granularity: int | None = None
    target: float | None = None
    weight: float = 5.0

    def __post_init__(self):
        if self.granularity is not None:
            require_whole("granularity", self.granularity, least=1)
        for name in ("target", "weight"):
            value = getattr(self, name)
            is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
            if value is not None and not (is_number and 0 < float(value) < math.inf):
                raise ValueError(f"{name}={value!r} must be a positive number")

    def is_proportional(self, layer: int) -> bool:
        return True

    @property
    def class_token_use(self) -> str:
        return "it ranks the patches by the attention of the class token"

    def resolve(self, *, patches: int, frames: int, depth: int, n_cls: int = 1) -> "Reducer":
        if self.granularity is not None:
            return self
        return dataclasses.replace(self, granularity=1 if 1 + patches < FEW_TOKENS else 4)

    def check(self, depth: int) -> None:
        if depth < 2:
            raise ValueError(
                "the first block keeps all tokens, so a search needs a model of 2 blocks or more"
            )

    def after_attention(self, layer: int, stage: Stage) -> Callable[[Tokens, Evidence], Tokens]:
        if layer == 0:
            return keep_tokens
        assert self.granularity is not None  # set by `resolve`
        return LearnedRates(self.granularity, name="rates")

    def compute_penalty(self, params: dict, arch: Architecture, frames: int) -> jax.Array:
        """Return the weighted squared difference of the current cost from the target."""
        target = self.target
        if target is None:
            fixed = DiffRate().resolve(patches=arch.patches, frames=frames, depth=arch.depth)
            target = macs.count_macs(Clip(arch, reducer=fixed), frames)[0] / 1e9
        return self.weight * (self.compute_cost(params, arch, frames) - target) ** 2

    def compute_cost(self, params: dict, arch: Architecture, frames: int) -> jax.Array:
        """Return the cost of the current rates, 1e9 multiply-accumulates of a video, float32 [].

        Its value follows from the numbers of `read_found_options`. Its gradient is that of the
        expectations: each of both numbers passes on the whole gradient of what is left.
        """
        network = Clip(arch)
        # Traced, to have a gradient, and floats: products of counts do not fit into an int32.
        entering: Any = 1.0 + arch.patches
        stages = macs.list_stages(network, frames)
        total: Any = macs.count_macs(network, frames)[0] / 1e9
        total -= (
            sum(macs.count_products(network, layer, stage) for layer, stage in enumerate(stages))
            / 1e9
        )
        for layer in range(arch.depth):
            left: Any = entering
            if layer > 0:
                prune, merge = self._count_kept(params, layer, arch.patches)
                least = jnp.minimum(jnp.minimum(prune, merge), entering)
                left = apply_straight_through(least, prune + merge)
            stage = Stage(clips=frames, n_cls=1, attention=entering, mlp=left)
            total += macs.count_products(network, layer, stage) / 1e9
            entering = left
        return total

    def read_found_options(self, params: dict) -> dict[str, Any]:
        """Return the current rates as the options `prune` and `merge` of `DiffRate`."""
        video = params["video"]
        left = len(video["position_embedding"])
        kept = [(left, left)]
        for layer in range(1, sum(name.startswith("block_") for name in video)):
            prune, merge = self._count_kept(params, layer, patches=kept[0][0] - 1)
            pruned = min(left, round(float(prune)))
            left = min(pruned, round(float(merge)))
            kept.append((pruned, left))
        prune, merge = zip(*kept, strict=True)
        return {"prune": prune, "merge": merge}

    def _count_kept(self, params: dict, layer: int, patches: int) -> list[jax.Array]:
        """Count the tokens, class token included, that pruning and merging leave in a block."""
        assert self.granularity is not None  # set by `resolve`
        rates = params["video"][f"block_{layer}"]["rates"]
        chances = (
            compute_chance(rates[name], patches, self.granularity) for name in ("prune", "merge")
        )
        return [1 + count_kept_patches(chance) for chance in chances]


class Rate(NamedTuple):
    """A learned number of tokens.

    Attributes:
        kept: float32 [], a whole number of tokens that stay, class tokens counted.
        chance: float32 [n], probability that the token of each rank stays.
    """

    kept: jax.Array
    chance: jax.Array


class LearnedRates(nn.Module):
    """Pruning and merging in place, to learned numbers of tokens."""

    granularity: int

    @nn.compact
    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Map [b, t, n, d] to [b, t, n, d]; removed tokens are masked."""
        patches, n_cls = tokens.x.shape[2] - tokens.n_cls, tokens.n_cls
        shape = (len(list_choices(patches, self.granularity)),)
        rates = {}
        for name in ("prune", "merge"):
            logits = self.param(name, nn.initializers.zeros, shape)
            chance = compute_chance(logits, patches, self.granularity)
            rates[name] = Rate(
                n_cls + count_kept_patches(chance), jnp.concatenate([jnp.ones(n_cls), chance])
            )
        compress = jax.vmap(jax.vmap(functools.partial(compress_in_place, **rates, n_cls=n_cls)))
        mask = jnp.ones(tokens.size.shape) if tokens.mask is None else tokens.mask
        *changed, mask = compress(tokens.x, tokens.size, mask, evidence.class_attention)
        return tokens.regroup(*changed).replace(mask=mask)


def compress_in_place(
    x: Float[Array, "n d"],
    size: Float[Array, " n"],
    mask: Float[Array, " n"],
    score: Float[Array, " n"],
    *,
    prune: Rate,
    merge: Rate,
    n_cls: int,
) -> tuple[Float[Array, "n d"], Float[Array, " n"], Int[Array, " n"], Float[Array, " n"]]:
    """Prune and merge like `diffrate.prune_and_merge`, but leave every token at its index.

    A number that removes nothing has no effect and no gradient. Unlike there, a token that merges
    adds at least 1 to the size of another.

    Args:
        x: float [n, d], the tokens of one clip.
        size: float [n]; a token of size 0 is padding.
        mask: float32 [n], 0 for tokens that are removed already.
        score: float32 [n], attention of the class token to each token.
        prune: number of tokens that are left after pruning.
        merge: number of these that are left after merging.
        n_cls: number of class tokens, which come first.

    Returns:
        x [n, d], size [n], for every token the index of the one that it is now part of, int32 [n]
        (-1 = pruned), and the mask [n].
    """
    own = np.arange(x.shape[0])
    living = (size > 0) & (mask > 0)
    rank = rank_by_attention(living.astype(jnp.float32), score, n_cls=n_cls)
    before = living.sum().astype(jnp.float32)
    mask = mask * mask_by_rank(rank, prune, before)
    after = jnp.minimum(before, prune.kept)
    mask = mask * mask_by_rank(rank, merge, after)

    place = rank.astype(jnp.float32)
    goes = living & (place >= merge.kept) & (place < after)
    stays = living & (mask > 0)
    direction = normalize(jax.lax.stop_gradient(x).astype(jnp.float32))
    alike = jnp.matmul(direction, direction.T, precision=HIGHEST)
    alike = jnp.where((stays & (own >= n_cls))[None, :], alike, -jnp.inf)
    target = alike.argmax(axis=1)
    came = (goes[:, None] & (target[:, None] == own[None, :])).astype(jnp.float32)  # from, to
    total = x.astype(jnp.float32) + jnp.matmul(came.T, x.astype(jnp.float32), precision=HIGHEST)
    x = (total / (1 + came.sum(axis=0))[:, None]).astype(x.dtype)
    size = jnp.where(goes, jnp.maximum(size * alike.max(axis=1), 1), size)
    size = size + (came * size[:, None]).sum(axis=0)
    return x, size, jnp.where(goes, target, jnp.where(stays | ~living, own, -1)), mask


def mask_by_rank(rank: Int[Array, " n"], rate: Rate, there: jax.Array) -> Float[Array, " n"]:
    """Return 1 for tokens that stay and 0 for those that go, with the gradient of their chance.

    Of `there` tokens, those that are not there any more keep the mask that removed them. If `rate`
    removes none, this is 1 without a gradient.
    """
    at = rank[:, None] == np.arange(rank.shape[0])[None, :]
    chance = jnp.where(at, rate.chance[None, :], 0).sum(axis=1)
    place = rank.astype(jnp.float32)
    hard = ((place < rate.kept) | (place >= there)).astype(jnp.float32)
    return jnp.where(rate.kept < there, apply_straight_through(hard, chance), 1)


def list_choices(patches: int, granularity: int) -> np.ndarray:
    """Return the numbers of patches among which a block chooses, float32 [c], all of them first."""
    return np.arange(patches, 0, -granularity, dtype=np.float32)


def compute_chance(
    logits: Float[Array, " c"], patches: int, granularity: int
) -> Float[Array, " p"]:
    """Return the probability that a patch stays, by its rank: that of all larger choices."""
    above = list_choices(patches, granularity)[:, None] > np.arange(patches)[None, :]
    return jnp.where(above, jax.nn.softmax(logits)[:, None], 0).sum(axis=0)


def count_kept_patches(chance: Float[Array, " p"]) -> Float[Array, ""]:
    """Return the expected number of patches that stay, rounded up, with the gradient of it."""
    expected = chance.sum()
    return apply_straight_through(
        jnp.clip(jnp.ceil(expected - NOISE), 1, chance.shape[0]), expected
    )


def apply_straight_through(hard: jax.Array, soft: jax.Array) -> jax.Array:
    """Return the value of `hard` with the gradient of `soft` (straight-through estimator)."""
    return jax.lax.stop_gradient(hard) + (soft - jax.lax.stop_gradient(soft))
