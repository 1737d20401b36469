"""Matching and merging: by hand, against a slow loop, and by the laws they keep."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from slow_merging import match_slowly, merge_slowly

from tempme_jax.reducers.merging import limit_merges, match, merge, rank_scores


def test_four_tokens_by_hand():
    """Token 0 is most like 3, token 2 like 1; the better pair, 2 and 1, merges."""
    metric = jnp.array([[1.0, 0.1], [0.0, 1.0], [0.0, 2.0], [1.0, 0.0]])
    position = match(metric, 1)
    np.testing.assert_array_equal(position, [0, 1, 1, 2])
    x = jnp.array([[1.0], [2.0], [8.0], [4.0]])
    merged, size = merge(x, jnp.array([1.0, 2.0, 1.0, 1.0]), position, 3)
    np.testing.assert_allclose(merged, [[1.0], [4.0], [4.0]], rtol=1e-7)
    np.testing.assert_array_equal(size, [1, 3, 1])


def test_discarded_tokens_are_gone():
    x, size = jnp.arange(3.0)[:, None], jnp.ones(3)
    merged, total = merge(x, size, jnp.array([1, -1, 0]), 2)
    np.testing.assert_array_equal(merged[:, 0], [2, 0])
    np.testing.assert_array_equal(total, [1, 1])


def test_ranks_with_ties_by_hand():
    np.testing.assert_array_equal(
        rank_scores(jnp.array([1.0, 3.0, 1.0, 2.0, 3.0])), [3, 0, 4, 2, 1]
    )


@pytest.mark.parametrize(
    ("n", "n_cls", "r"), [(5, 1, 2), (8, 1, 3), (9, 2, 3), (12, 6, 2), (2, 0, 1)]
)
def test_agrees_with_a_slow_loop(n, n_cls, r):
    rng = np.random.default_rng(n)
    metric, x = rng.standard_normal((n, 6)), rng.standard_normal((n, 4))
    size = rng.integers(1, 5, n).astype(np.float32)
    position = match(jnp.float32(metric), r, n_cls=n_cls, size=jnp.asarray(size))
    np.testing.assert_array_equal(position, match_slowly(metric, r, n_cls, size))
    merged, total = merge(jnp.float32(x), jnp.asarray(size), position, n - r)
    slow, slow_total = merge_slowly(x, size, np.asarray(position), n - r)
    np.testing.assert_allclose(merged, slow, atol=1e-6)
    np.testing.assert_array_equal(total, slow_total)


@hypothesis.given(st.integers(0, 2**32 - 1))
@hypothesis.settings(max_examples=25, deadline=None)
def test_laws_with_padding(seed):
    """Sizes are conserved, class tokens stay, padding goes first and counts for nothing."""
    rng = np.random.default_rng(seed)
    n, n_cls, r, d = 12, 2, 4, 3
    metric, x = rng.standard_normal((2, n, d)).astype(np.float32)
    size = rng.integers(0, 4, n).astype(np.float32)
    size[:n_cls] = 1
    size[n_cls + 1] = 2  # one target that is no padding
    position = np.asarray(JITTED_MATCH(metric, size))
    np.testing.assert_array_equal(position, match_slowly(metric, r, n_cls, size))
    merged, total = JITTED_MERGE(x, size, position)
    assert total.sum() == size.sum()
    np.testing.assert_array_equal(merged[:n_cls], x[:n_cls])
    garbage = np.where(size[:, None] > 0, x, 1e6 * rng.standard_normal(x.shape)).astype(np.float32)
    metric = np.where(size[:, None] > 0, metric, 1e6).astype(np.float32)
    again = np.asarray(JITTED_MATCH(metric, size))
    np.testing.assert_array_equal(again[size > 0], position[size > 0])
    np.testing.assert_array_equal(JITTED_MERGE(garbage, size, again)[0], merged)


JITTED_MATCH = jax.jit(lambda metric, size: match(metric, 4, n_cls=2, size=size))
JITTED_MERGE = jax.jit(lambda x, size, position: merge(x, size, position, 8))


def test_nothing_merges_at_zero():
    x = jax.random.normal(jax.random.key(0), (7, 3))
    position = match(x, 0, n_cls=1)
    merged, size = merge(x, jnp.ones(7), position, 7)
    np.testing.assert_array_equal(merged, x)
    np.testing.assert_array_equal(size, np.ones(7))


def test_the_choice_has_no_gradient_and_the_mean_has():
    x = jax.random.normal(jax.random.key(0), (6, 3))

    def merged_sum(x, metric):
        return merge(x, jnp.ones(6), match(metric, 2), 4)[0].sum()

    of_x, of_metric = jax.grad(merged_sum, argnums=(0, 1))(x, x)
    np.testing.assert_array_equal(of_metric, np.zeros((6, 3)))
    assert of_x.sum() == pytest.approx(4 * 3)  # each of 4 means has weights that sum to 1


def test_half_precision_stays_and_kept_tokens_are_exact():
    x = jax.random.normal(jax.random.key(0), (8, 4), jnp.bfloat16)
    position = match(x, 2, n_cls=1)
    merged, _ = merge(x, jnp.ones(8), position, 6)
    assert merged.dtype == jnp.bfloat16
    counts = np.bincount(np.asarray(position), minlength=6)
    for old, new in enumerate(np.asarray(position)):
        if counts[new] == 1:
            np.testing.assert_array_equal(merged[new], x[old])


def test_too_many_to_merge_says_how_many_can():
    assert limit_merges(10, 3) == 3
    with pytest.raises(ValueError, match=r"r=4 .* of 10 tokens 3 are class tokens.*0\.\.3"):
        match(jnp.ones((10, 2)), 4, n_cls=3)
