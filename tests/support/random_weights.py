"""Random weights of a toy CLIP, in memory and in files, for tests that read and write them."""

import flax.traverse_util
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from tempme_jax.networks.architecture import Architecture
from tempme_jax.parameters import find_shapes
from tempme_jax.weights.layouts import write_layout

# Heads 64 wide, as they are where nothing says how wide.
TOY = Architecture(
    embed_dim=16, image_size=32, patch=16, width=64, depth=4, heads=1,
    text_width=64, text_depth=1, text_heads=1, vocab_size=50, context_length=12,
)  # fmt: skip


def make_random_params(network, num_frames=1, scale=0.1):
    """Return random values for every parameter, by path, also for those that start at zero."""
    generator = np.random.default_rng(0)
    return {
        path: scale * generator.standard_normal(shape, dtype=np.float32)
        for path, shape in find_shapes(network, num_frames).items()
    }


def make_random_tree(network, num_frames, scale=0.3):
    """Return them as the tree that a module takes; much cheaper than initializing it."""
    flat = make_random_params(network, num_frames, scale)
    return flax.traverse_util.unflatten_dict({path: jnp.asarray(a) for path, a in flat.items()})


def write_weights(file, params, layout):
    """Write a file as others publish it, without metadata."""
    file.parent.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(write_layout(layout, params), file)
    return file


def assert_same_params(params, expected):
    assert params.keys() == expected.keys()
    for path, array in expected.items():
        np.testing.assert_array_equal(params[path], array, err_msg="/".join(path), strict=True)
