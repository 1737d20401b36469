"""DiffRate: in every block the least attended patches are dropped, and the next ones merge.

"DiffRate: Differentiable Compression Rate for Efficient Vision Transformers" (Chen et al., ICCV
2023) with fixed rates; `diffrate_search` learns them. See docs/methods/diffrate.md. Differences
from the published code:

* No rates for the 49 patches of B/32 are published. Ours are the published ones for 197 tokens,
  rescaled.
* A similarity below 0 counts as 0. The published rule multiplies sizes by the similarity, and
  attention needs the logarithm of a size.
"""

import dataclasses
import functools
from collections.abc import Callable
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tempme_jax.checks import require_wholes
from tempme_jax.networks.tokens import Evidence, Stage, Tokens
from tempme_jax.reducers import merging
from tempme_jax.reducers.base import Reducer, keep_tokens, make_stage, reduce_each_clip
from tempme_jax.reducers.evit import rank_by_attention
from tempme_jax.vectors import HIGHEST, normalize

# Tokens left of 197 in two published schedules for ViT-B (MAE), of 11.5 and of 10.4 GFLOPs.
PRUNE_11_5 = (197, 196, 182, 172, 162, 147, 131, 109, 101, 94, 70, 49)
MERGE_11_5 = (197, 192, 178, 164, 150, 133, 115, 101, 96, 82, 49, 49)
PRUNE_10_4 = (197, 195, 179, 159, 140, 122, 105, 100, 89, 71, 56, 45)
MERGE_10_4 = (197, 187, 166, 145, 125, 109, 102, 97, 75, 64, 45, 45)
# Rescaled schedules leave 20 of 50 tokens, as the TempMe paper prints for B/32.
SHARE_LEFT = Fraction(20, 50)
# The class token, and a patch that others can merge into.
LEAST = 2


@dataclasses.dataclass(frozen=True)
class DiffRate(Reducer):
    """Pruning, then merging, to given numbers of tokens in every block.

    Attributes:
        prune: number of tokens of a clip, the class token counted, that are left after pruning in
            each block. None: the published 11.5 GFLOPs schedule for 12 blocks and 196 patches;
            otherwise the published 10.4 GFLOPs schedule, interpolated over the depth and rescaled:
            the first block keeps all tokens, the last one two fifths. A block with fewer tokens
            than its number prunes nothing. Where frames have no class token nothing is pruned.
        merge: number of these tokens that are left after merging; give both or neither.
    """

    prune: tuple[int, ...] | None = None
    merge: tuple[int, ...] | None = None

    def __post_init__(self):
        if (self.prune is None) != (self.merge is None):
            raise ValueError(
                f"prune={self.prune} and merge={self.merge}: give both or neither; equal numbers "
                "merge nothing"
            )
        if self.prune is None or self.merge is None:
            return
        for name in ("prune", "merge"):  # lists, as configs give them
            counts = require_wholes(name, getattr(self, name), least=LEAST)
            object.__setattr__(self, name, counts)
            if list(counts) != sorted(counts, reverse=True):
                raise ValueError(f"{name}={counts} must not increase: no token comes back")
        if any(merged > pruned for pruned, merged in zip(self.prune, self.merge, strict=False)):
            raise ValueError(
                f"merge={self.merge} must nowhere be more than prune={self.prune}: merging takes "
                "from what pruning leaves"
            )

    def is_proportional(self, layer: int) -> bool:
        return True

    def resolve(self, *, patches: int, frames: int, depth: int, n_cls: int = 1) -> "Reducer":
        if self.prune is not None:
            return self
        prune, merge = PRUNE_11_5, MERGE_11_5
        if (patches, depth) != (196, 12):
            prune = rescale(PRUNE_10_4, tokens=1 + patches, depth=depth)
            merge = rescale(MERGE_10_4, tokens=1 + patches, depth=depth)
        return dataclasses.replace(self, prune=prune, merge=merge)

    def check(self, depth: int) -> None:
        assert self.prune is not None and self.merge is not None  # set by `resolve`
        if not len(self.prune) == len(self.merge) == depth:
            raise ValueError(
                f"prune={self.prune} and merge={self.merge} must have a number for each of the "
                f"{depth} blocks; they have {len(self.prune)} and {len(self.merge)}"
            )

    def stage(self, layer: int, before: Stage) -> Stage:
        assert self.prune is not None and self.merge is not None  # set by `resolve`
        if layer == 0 and before.n_cls and self.prune[0] > before.out:
            raise ValueError(
                f"prune={self.prune} is for frames of more tokens: it begins with "
                f"{self.prune[0]}, and there are {before.out}; begin with {before.out} or fewer"
            )
        return make_stage(before, removed=max(before.out - self.merge[layer], 0))

    def after_attention(self, layer: int, stage: Stage) -> Callable[[Tokens, Evidence], Tokens]:
        """Rank the tokens by the attention of the class token, prune, and merge."""
        if stage.mlp == stage.attention:
            return keep_tokens
        assert self.prune is not None  # set by `resolve`
        pruned = min(self.prune[layer], stage.attention) if stage.n_cls else stage.attention
        compress = functools.partial(
            prune_and_merge, prune=pruned, merge=stage.mlp, n_cls=stage.n_cls
        )
        return lambda tokens, evidence: reduce_each_clip(tokens, evidence.class_attention, compress)


def prune_and_merge(
    x: Float[Array, "n d"],
    size: Float[Array, " n"],
    score: Float[Array, " n"],
    *,
    prune: int,
    merge: int,
    n_cls: int,
) -> tuple[Float[Array, "m d"], Float[Array, " m"], Int[Array, " n"]]:
    """Keep the first `prune` tokens by score, and merge those after the first `merge` into others.

    Each merging token goes to the patch that it resembles most, by the cosine of `x`, which has no
    gradient. The merged token is the plain mean. Its size is that of the patch plus, for each token
    that merged into it, that token's size times the cosine.

    Args:
        x: float [n, d], the tokens of one clip.
        size: float [n]; a token of size 0 is padding: it ranks last and adds nothing.
        score: float32 [n], attention of the class token to each token.
        prune: number of tokens that are left after pruning, class tokens counted.
        merge: number of these that are left after merging.
        n_cls: number of class tokens, which come first and never merge.

    Returns:
        x [merge, d], size [merge], and the new index of every token, int32 [n]; -1 = pruned.
    """
    rank = rank_by_attention(size, score, n_cls=n_cls)
    order = rank[None, :] == np.arange(prune)[:, None]  # [prune, n]: which token has this place
    direction = normalize(jax.lax.stop_gradient(x).astype(jnp.float32))
    direction = jnp.matmul(order.astype(jnp.float32), direction, precision=HIGHEST)
    alike = jnp.matmul(direction[merge:], direction[n_cls:merge].T, precision=HIGHEST)
    place = jnp.concatenate([np.arange(merge), n_cls + alike.argmax(axis=1)])
    share = jnp.concatenate([jnp.ones(merge), jnp.maximum(alike.max(axis=1), 0)])
    position = jnp.where(order, 1 + place[:, None], 0).sum(axis=0) - 1
    share = jnp.where(order, share[:, None], 0).sum(axis=0)
    x, _ = merging.merge(x, (size > 0).astype(jnp.float32), position, merge)
    goes_to = position[None, :] == np.arange(merge)[:, None]
    return x, jnp.where(goes_to, (size * share)[None, :], 0).sum(axis=1), position


def rescale(published: tuple[int, ...], *, tokens: int, depth: int) -> tuple[int, ...]:
    """Rescale a schedule to `depth` blocks, from all of `tokens` to two fifths of them."""
    first, last = published[0], published[-1]
    left = max(round(SHARE_LEFT * tokens), LEAST)
    blocks = np.linspace(0, len(published) - 1, depth)
    shares = (np.interp(blocks, np.arange(len(published)), published) - last) / (first - last)
    return tuple(round(float(left + (tokens - left) * share)) for share in shares)
