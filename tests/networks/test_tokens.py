"""Clips join in temporal order, and the source map follows every patch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tempme_jax.networks.tokens import Tokens, join_clips, make_tokens
from tempme_jax.reducers.base import merge_tokens


def numbered(frames=4, patches=2):
    """One video in which frame f holds class token 10 f and patches 10 f + 1, 10 f + 2."""
    x = 10.0 * np.arange(frames)[:, None] + np.arange(1 + patches)
    return make_tokens(jnp.asarray(x[None, :, :, None]), None, trace=True)


def test_joining_puts_class_tokens_first():
    joined = join_clips(numbered(), 2)
    assert joined.n_cls == 2
    np.testing.assert_array_equal(
        joined.x[0, :, :, 0], [[0, 10, 1, 2, 11, 12], [20, 30, 21, 22, 31, 32]]
    )
    again = join_clips(joined, 2)
    np.testing.assert_array_equal(again.x[0, 0, :4, 0], [0, 10, 20, 30])


def test_joining_needs_whole_groups():
    with pytest.raises(ValueError, match="4 clips cannot be joined in groups of 3"):
        join_clips(numbered(), 3)


def test_masked_frames_have_size_zero():
    mask = jnp.array([[True, True, False]])
    tokens = make_tokens(jnp.ones((1, 3, 5, 2)), mask, trace=False)
    np.testing.assert_array_equal(tokens.size[0].sum(axis=1), [5, 5, 0])
    assert tokens.source is None


def test_source_map_follows_joining():
    tokens = join_clips(join_clips(numbered(), 2), 2)
    held = tokens.x.reshape(-1)[tokens.source[0]]
    np.testing.assert_array_equal(held, [1, 2, 11, 12, 21, 22, 31, 32])


@pytest.mark.parametrize("group", [1, 2, 4])
def test_source_map_counts_are_the_sizes(group):
    """Each patch is where the map says: recomputing every token from its patches gives it back."""
    x = jax.random.normal(jax.random.key(0), (2, 4, 10, 6))
    patches = np.asarray(x[:, :, 1:]).reshape(2, -1, 6)

    @jax.jit
    def reduce(x):
        tokens = make_tokens(x, None, trace=True)
        tokens = join_clips(merge_tokens(tokens, tokens.x, 7), group)
        return merge_tokens(tokens, tokens.x, tokens.x.shape[2] - 2)

    tokens = reduce(x)
    size, merged = (np.asarray(a).reshape(2, -1, *a.shape[3:]) for a in (tokens.size, tokens.x))
    for video in range(2):
        source = np.asarray(tokens.source[video])
        count = np.bincount(source, minlength=size.shape[1])
        of_patches = np.tile(np.arange(tokens.x.shape[2]) >= tokens.n_cls, tokens.x.shape[1])
        np.testing.assert_array_equal(count[of_patches], size[video][of_patches])
        assert not count[~of_patches].any()
        for token in np.flatnonzero(of_patches):
            mean = patches[video][source == token].mean(axis=0)
            np.testing.assert_allclose(merged[video][token], mean, atol=1e-6)


def test_discarded_patches_stay_discarded():
    tokens = numbered(frames=1)
    gone = tokens.regroup(tokens.x[:, :, :2], tokens.size[:, :, :2], jnp.array([[[0, -1, 1]]]))
    np.testing.assert_array_equal(gone.source, [[-1, 1]])
    later = gone.regroup(gone.x, gone.size, jnp.array([[[0, 1]]]))
    np.testing.assert_array_equal(later.source, [[-1, 1]])


def test_tokens_pass_through_jit():
    tokens = numbered()
    out = jax.jit(lambda t: t)(tokens)
    assert isinstance(out, Tokens) and out.n_cls == tokens.n_cls
