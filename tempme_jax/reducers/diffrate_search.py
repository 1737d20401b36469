"""The search for DiffRate's rates: how many tokens every block keeps is learned.

"DiffRate: Differentiable Compression Rate for Efficient Vision Transformers" (Chen et al., ICCV
2023; specification section 9). Every block but the first has two vectors of logits over how many
patches pruning and merging leave. All tokens stay in the sequence; those that are gone have size 0,
so that nothing attends to them, and their sizes have the gradient of the probability that they
stay. Where ours departs, the details being unpublished or of a masked softmax that this package
does not need:

* A token that is gone does not even see itself.
* The gradient is that of the product of both probabilities, so that a token that both take has
  one, too.
* Each block answers for the tokens that it leaves, whatever the least of the three numbers is
  that say so: a block that removes nothing yet is pushed as the others are.
"""

import dataclasses
import functools
import math
import numbers
from collections.abc import Callable
from typing import Any

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
from tempme_jax.reducers.base import Reducer, keep
from tempme_jax.reducers.diffrate import DiffRate
from tempme_jax.reducers.evit import attention_rank
from tempme_jax.vectors import HIGHEST, unit_length

# At the start the probability of keeping all patches; the others share the rest.
KEEPS_ALL = 0.95
FEW_TOKENS = 100
# Expectations are rounded up, but not for what float32 adds to them.
NOISE = 1e-3


@dataclasses.dataclass(frozen=True)
class DiffRateSearch(Reducer):
    """Learns how many tokens every block is to keep, for `DiffRate`.

    Attributes:
        granularity: steps between the numbers of patches that are weighed against each other;
            None: 4, or 1 where a frame has fewer than 100 tokens.
        target: 1e9 multiply-accumulates of the video tower for one video (`costs.Cost.mac`) that
            the rates are to cost; None: those of `DiffRate` without options.
        weight: of the squared difference from the target, in the loss. The published 5 is for the
            ViT-B; the cost of smaller models is a smaller number, and needs more weight.
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
            if value is not None and not (is_number and 0 < value < math.inf):
                raise ValueError(f"{name}={value!r} must be a positive number")

    def proportional(self, layer: int) -> bool:
        return True

    def resolve(self, *, patches: int, frames: int, depth: int) -> "Reducer":
        if self.granularity is not None:
            return self
        return dataclasses.replace(self, granularity=1 if 1 + patches < FEW_TOKENS else 4)

    def check(self, depth: int) -> None:
        if depth < 2:
            raise ValueError("the first block keeps all tokens, and there is no other to search in")

    def after_attention(self, layer: int, stage: Stage) -> Callable[[Tokens, Evidence], Tokens]:
        if layer == 0:
            return keep
        return LearnedRates(self.granularity, name="rates")

    def penalty(self, params: dict, arch: Architecture, frames: int) -> jax.Array:
        """How far the cost of the rates, as they are now, is from the target: squared, weighted."""
        target = self.target
        if target is None:
            fixed = DiffRate().resolve(patches=arch.patches, frames=frames, depth=arch.depth)
            target = macs.multiply_accumulates(Clip(arch, reducer=fixed), frames)[0] / 1e9
        return self.weight * (self.cost(params, arch, frames) - target) ** 2

    def cost(self, params: dict, arch: Architecture, frames: int) -> jax.Array:
        """1e9 multiply-accumulates of one video by the rates as they are now, float32 [].

        The value is that of the numbers of tokens that `found` gives, the gradient that of their
        expectations.
        """
        # Not a whole number: products of these do not fit into an int32.
        network, entering = Clip(arch), 1.0 + arch.patches
        stages = macs.list_stages(network, frames)
        total = macs.multiply_accumulates(network, frames)[0] / 1e9
        total -= (
            sum(macs.products(network, layer, stage) for layer, stage in enumerate(stages)) / 1e9
        )
        for layer in range(arch.depth):
            left = entering
            if layer > 0:
                prune, merge = self._kept(params, layer, arch.patches)
                least = jnp.minimum(jnp.minimum(prune, merge), entering)
                left = straight_through(least, (prune + merge) / 2)
            stage = Stage(clips=frames, n_cls=1, attention=entering, mlp=left)
            total += macs.products(network, layer, stage) / 1e9
            entering = left
        return total

    def found(self, params: dict) -> dict[str, Any]:
        """What the blocks keep now, as the options `prune` and `merge` of `DiffRate`."""
        video = params["video"]
        left = len(video["position_embedding"])
        kept = [(left, left)]
        for layer in range(1, sum(name.startswith("block_") for name in video)):
            prune, merge = self._kept(params, layer, patches=kept[0][0] - 1)
            pruned = min(left, round(float(prune)))
            left = min(pruned, round(float(merge)))
            kept.append((pruned, left))
        prune, merge = zip(*kept, strict=True)
        return {"prune": prune, "merge": merge}

    def _kept(self, params: dict, layer: int, patches: int) -> list[jax.Array]:
        """How many tokens, class token included, pruning and merging leave in a block."""
        rates = params["video"][f"block_{layer}"]["rates"]
        chances = (staying(rates[name], patches, self.granularity) for name in ("prune", "merge"))
        return [1 + kept_patches(chance) for chance in chances]


class LearnedRates(nn.Module):
    """Prunes and merges in place, to numbers of tokens that are learned."""

    granularity: int

    @nn.compact
    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """[b, t, n, d] -> [b, t, n, d]; the sizes of tokens that are gone become 0."""
        patches = tokens.x.shape[2] - tokens.n_cls
        shape = (len(choices(patches, self.granularity)),)
        prune, merge = (
            staying(self.param(name, mostly_all, shape), patches, self.granularity)
            for name in ("prune", "merge")
        )
        compress = functools.partial(
            prune_and_merge_in_place,
            chance=jnp.concatenate([jnp.ones(tokens.n_cls), prune * merge]),
            prune=tokens.n_cls + kept_patches(prune),
            merge=tokens.n_cls + kept_patches(merge),
            n_cls=tokens.n_cls,
        )
        of_all = jax.vmap(jax.vmap(compress))
        return tokens.regroup(*of_all(tokens.x, tokens.size, evidence.class_attention))


def prune_and_merge_in_place(
    x: Float[Array, "n d"],
    size: Float[Array, " n"],
    score: Float[Array, " n"],
    *,
    chance: Float[Array, " n"],
    prune: Float[Array, ""],
    merge: Float[Array, ""],
    n_cls: int,
) -> tuple[Float[Array, "n d"], Float[Array, " n"], Int[Array, " n"]]:
    """The same as `diffrate.prune_and_merge` of one clip, where every token keeps its index.

    Args:
        x: float [n, d].
        size: float [n]; a token of size 0 is gone, or padding.
        score: float32 [n], what the class token gives to each.
        chance: float32 [n], the probability that the token of each rank stays, which has the
            gradient of its size.
        prune: float32 [], tokens that pruning keeps, class tokens counted: a whole number.
        merge: float32 [], tokens that merging leaves.
        n_cls: class tokens, in front.

    Returns:
        x [n, d], size [n], and for every token the index of the one that holds it now, int32 [n];
        -1 = pruned.
    """
    own = np.arange(x.shape[0])
    there, rank = size > 0, attention_rank(size, score, n_cls=n_cls)
    place = rank.astype(jnp.float32)
    stays = place < jnp.minimum(prune, merge)
    goes = there & ~stays & (place < prune)
    direction = unit_length(jax.lax.stop_gradient(x).astype(jnp.float32))
    alike = jnp.matmul(direction, direction.T, precision=HIGHEST)
    alike = jnp.where((there & stays & (own >= n_cls))[None, :], alike, -jnp.inf)
    target = alike.argmax(axis=1)
    into = goes[:, None] & (target[:, None] == own[None, :])  # [n, n]: from, to
    chance = jnp.where(rank[:, None] == own[None, :], chance[None, :], 0).sum(axis=1)
    stay = size * straight_through(stays.astype(jnp.float32), chance)
    moved = (size - stay) * jnp.maximum(alike.max(axis=1), 0)
    size = stay + jnp.where(into, moved[:, None], 0).sum(axis=0)
    came = into.astype(jnp.float32)
    total = x.astype(jnp.float32) + jnp.matmul(came.T, x.astype(jnp.float32), precision=HIGHEST)
    x = (total / (1 + came.sum(axis=0))[:, None]).astype(x.dtype)
    return x, size, jnp.where(goes, target, jnp.where(stays | ~there, own, -1))


def choices(patches: int, granularity: int) -> np.ndarray:
    """float32 [c]: the numbers of patches among which a block chooses, all of them first."""
    return np.arange(patches, 0, -granularity, dtype=np.float32)


def staying(logits: Float[Array, " c"], patches: int, granularity: int) -> Float[Array, " p"]:
    """The probability that a patch stays, by its rank: that of all choices above the rank."""
    above = choices(patches, granularity)[:, None] > np.arange(patches)[None, :]
    return jnp.where(above, jax.nn.softmax(logits)[:, None], 0).sum(axis=0)


def kept_patches(chance: Float[Array, " p"]) -> Float[Array, ""]:
    """How many patches stay: their expectation, rounded up, with the gradient of it."""
    expected = chance.sum()
    return straight_through(jnp.clip(jnp.ceil(expected - NOISE), 1, chance.shape[0]), expected)


def straight_through(hard: jax.Array, soft: jax.Array) -> jax.Array:
    """The value of `hard`, exactly, with the gradient of `soft`."""
    return jax.lax.stop_gradient(hard) + (soft - jax.lax.stop_gradient(soft))


def mostly_all(key: jax.Array, shape: tuple[int], dtype: Any = jnp.float32) -> jax.Array:
    """Logits by which all patches stay with probability `KEEPS_ALL`, and the rest is even."""
    del key
    others = max(shape[0] - 1, 1)
    odds = math.log(others * KEEPS_ALL / (1 - KEEPS_ALL))
    return jnp.zeros(shape, dtype).at[0].set(odds)
