"""Bipartite soft matching with static shapes, as pure functions of one clip.

The matching of "Token Merging: Your ViT But Faster" (Bolya et al., ICLR 2023, section 3), extended
by padding and any number of protected class tokens. The functions work on one clip, use neither
Flax nor the rest of this package, and can be used in any ViT with `jax.vmap`:

    position = match(keys, r=8, n_cls=1)            # decide: where every token goes
    x, size = merge(x, size, position, n - 8)       # apply: size-weighted means

They need no sort: the rank of a score is the number of larger scores, and merging is a product with
a small averaging matrix, which is fast on every device.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

HIGHEST = jax.lax.Precision.HIGHEST


def match(
    metric: Float[Array, "n d"], r: int, *, n_cls: int = 0, size: Float[Array, " n"] | None = None
) -> Int[Array, " n"]:
    """Choose `r` tokens of a clip that merge into others, by the cosine of their `metric`.

    The tokens after the class tokens are split by the parity of their index. Each even token has
    a most similar odd one; the `r` most similar pairs merge. The order afterwards is: class tokens,
    even tokens that stayed, odd tokens. Of equal similarities the one of lower index comes first.
    The choice is made in float32 and has no gradient.

    Args:
        metric: float [n, d], the features that are compared (keys, or the tokens themselves).
        r: number of tokens to merge away, at most half of those after the class tokens.
        n_cls: number of class tokens, which come first and never merge.
        size: float [n], sizes of the tokens. A token of size 0 is padding: it merges away first,
            and others merge into it only if there is no real odd token. None: no padding.

    Returns:
        int32 [n]: the new index of every token, in 0 .. n-r-1; tokens that merge share one.

    Raises:
        ValueError: if `r` is negative or too large.

    >>> import jax.numpy as jnp
    >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [1.0, 0.1]])
    >>> position = match(x, r=1)  # token 0 is most like token 3
    >>> print(position)
    [2 1 0 2]
    >>> x, size = merge(x, jnp.ones(4), position, 3)
    >>> print(size)
    [1. 1. 2.]
    """
    n = metric.shape[0]
    if not 0 <= r <= limit_merges(n, n_cls):
        raise ValueError(
            f"r={r} tokens cannot merge: of {n} tokens {n_cls} are class tokens, "
            f"so r must be in 0..{limit_merges(n, n_cls)}"
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
    return compute_new_index(rank_scores(best) < r, target, n=n, n_cls=n_cls, r=r)


def compute_new_index(
    goes: Bool[Array, " e"], target: Int[Array, " e"], *, n: int, n_cls: int, r: int
) -> Int[Array, " n"]:
    """Return the new index of every token after the even ones in `goes` merged into `target`."""
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
    """Replace the tokens that share a position by their mean, weighted by size.

    Args:
        x: float [n, d], the tokens.
        size: float [n], the weight of each token: the number of patches it stands for.
        position: int [n], the new index of every token (from `match`); -1 discards the token.
        n_out: number of tokens afterwards, m.

    Returns:
        x [m, d] in the dtype of `x`, and size [m]. The sum of the sizes of the tokens that are
        not discarded does not change. A position that only padding merged into is zero, of size 0.
    """
    goes_to = position[None, :] == np.arange(n_out)[:, None]  # [m, n]
    weight = jnp.where(goes_to, size[None, :], 0)
    total = weight.sum(axis=1)
    mean = weight / jnp.where(total > 0, total, 1)[:, None]
    # HIGHEST: a token that does not merge must stay exactly the same on every device.
    merged = jnp.matmul(mean, x.astype(mean.dtype), precision=HIGHEST)
    return merged.astype(x.dtype), total


def limit_merges(n: int, n_cls: int) -> int:
    """Return how many of `n` tokens can merge at once: half of those that are not class tokens."""
    return (n - n_cls) // 2


def rank_scores(score: Float[Array, " n"]) -> Int[Array, " n"]:
    """Return the place of each score in descending order, from 0; ties go to the lower index."""
    other, this = score[:, None], score[None, :]
    return jnp.where(mask_earlier(score.shape[0]), other >= this, other > this).sum(axis=0)


def count_before(chosen: Bool[Array, " n"]) -> Int[Array, " n"]:
    """Count the chosen tokens before each index."""
    return (chosen[:, None] & mask_earlier(chosen.shape[0])).sum(axis=0)


def mask_earlier(n: int) -> Bool[np.ndarray, "n n"]:
    """Return the mask that is True where the index of the row is less than that of the column."""
    return np.arange(n)[:, None] < np.arange(n)[None, :]
