"""Bipartite soft matching with static shapes, as pure functions of one clip.

The matching of "Token Merging: Your ViT But Faster" (Bolya et al., ICLR 2023, section 3), with
any number of protected class tokens and with padding; written from the papers' description.
Nothing here knows of batches, of Flax or of this package: `jax.vmap` it, and use it in any ViT.

    position = match(keys, r=8, n_cls=1)            # decide: where every token goes
    x, size = merge(x, size, position, n - 8)       # apply: size-weighted means

No sort is needed: the rank of a score is the count of larger ones, and merging is the product
with a small averaging matrix, which every device does well.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

HIGHEST = jax.lax.Precision.HIGHEST


def match(
    metric: Float[Array, "n d"],
    r: int,
    *,
    n_cls: int = 0,
    size: Float[Array, " n"] | None = None,
) -> Int[Array, " n"]:
    """Chooses `r` tokens of a clip that merge into others, by the cosine of their `metric`.

    The tokens behind the class tokens are split in two by the parity of their index: even ones
    may go, each into the odd one that it resembles most; the `r` best resemblances do. Order
    afterwards: class tokens, even tokens that stayed, odd tokens. Ties: lower index first.
    The choice is made in float32 and has no gradient.

    Args:
        metric: float [n, d], what is compared (keys, or the tokens themselves).
        r: how many tokens to merge away, at most half of those behind the class tokens.
        n_cls: the number of class tokens in front, which neither go nor take in.
        size: float [n]; a token of size 0 is padding: it goes first, and is no target while there
            is another. None: no padding.

    Returns:
        int32 [n]: the new index of every token, in 0 .. n-r-1; tokens that merge share one.

    Raises:
        ValueError: if `r` is negative or too large.
    """
    n = metric.shape[0]
    if not 0 <= r <= max_merged(n, n_cls):
        raise ValueError(
            f"r={r} tokens cannot merge: of {n} tokens {n_cls} are class tokens, "
            f"so r must be in 0..{max_merged(n, n_cls)}"
        )
    if r == 0:
        return jnp.arange(n)
    first_even, first_odd = n_cls + n_cls % 2, n_cls + 1 - n_cls % 2
    metric = jax.lax.stop_gradient(metric).astype(jnp.float32)
    norm = jnp.sqrt(jnp.sum(metric * metric, axis=1, keepdims=True))
    metric = metric / jnp.maximum(norm, 1e-12)
    even, odd = metric[first_even::2], metric[first_odd::2]
    score = jnp.matmul(even, odd.T, precision=HIGHEST)
    if size is not None:
        score = jnp.where(size[None, first_odd::2] > 0, score, -jnp.inf)
    best, target = score.max(axis=1), score.argmax(axis=1)
    if size is not None:
        best = jnp.where(size[first_even::2] > 0, best, jnp.inf)
    return new_index(rank_of(best) < r, target, n=n, n_cls=n_cls, r=r)


def new_index(
    goes: Bool[Array, " e"], target: Int[Array, " e"], *, n: int, n_cls: int, r: int
) -> Int[Array, " n"]:
    """Where every token is after those even ones that go went to their target among the odd."""
    evens = goes.shape[0]
    odds_from = n_cls + evens - r
    of_even = jnp.where(goes, odds_from + target, n_cls + count_before(~goes))
    new = jnp.concatenate([np.arange(n_cls), of_even, np.arange(odds_from, n - r)])
    index = np.arange(n_cls, n)
    old = np.concatenate([np.arange(n_cls), index[index % 2 == 0], index[index % 2 == 1]])
    return new[np.argsort(old)].astype(jnp.int32)


def merge(
    x: Float[Array, "n d"], size: Float[Array, " n"], position: Int[Array, " n"], n_out: int
) -> tuple[Float[Array, "m d"], Float[Array, " m"]]:
    """Replaces the tokens that share a position by their mean, weighted by size.

    Args:
        x: float [n, d].
        size: float [n], what each token counts.
        position: int [n], the new index of every token (of `match`); -1 discards the token.
        n_out: the number of tokens afterwards, m.

    Returns:
        x [m, d] in the dtype of `x`, and size [m]. Sizes are conserved. A position that
        nothing but padding went to holds zeros, of size 0.
    """
    goes_to = position[None, :] == np.arange(n_out)[:, None]  # [m, n]
    weight = jnp.where(goes_to, size[None, :], 0)
    total = weight.sum(axis=1)
    mean = weight / jnp.where(total > 0, total, 1)[:, None]
    # HIGHEST: a token that stays must come out exactly as it was, on every device.
    merged = jnp.matmul(mean, x.astype(mean.dtype), precision=HIGHEST)
    return merged.astype(x.dtype), total


def max_merged(n: int, n_cls: int) -> int:
    """How many of `n` tokens, `n_cls` of them class tokens, can merge at once: half the rest."""
    return (n - n_cls) // 2


def rank_of(score: Float[Array, " n"]) -> Int[Array, " n"]:
    """The place of each score in descending order, from 0; of equal ones the first comes first."""
    other, this = score[:, None], score[None, :]
    return jnp.where(before(score.shape[0]), other >= this, other > this).sum(axis=0)


def count_before(chosen: Bool[Array, " n"]) -> Int[Array, " n"]:
    """How many of the chosen stand before each index."""
    return (chosen[:, None] & before(chosen.shape[0])).sum(axis=0)


def before(n: int) -> Bool[np.ndarray, "n n"]:
    """Whether index i, of the rows, stands before index j, of the columns."""
    return np.arange(n)[:, None] < np.arange(n)[None, :]
