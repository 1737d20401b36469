"""Which parameters a model has, and which of them train.

What trains is a set difference: the parameters that CLIP does not have, and those of CLIP that
the adapter names. Only they are differentiated, optimised and saved in checkpoints.
"""

import functools

import flax.traverse_util
import jax
import jax.numpy as jnp

from tempme_jax.adapters.base import Path
from tempme_jax.clip import Architecture, Clip
from tempme_jax.pretrained import entries


@functools.lru_cache
def shapes(clip: Clip, num_frames: int) -> dict[Path, tuple[int, ...]]:
    """The shape of every parameter by its path, found without computing anything."""
    tree = jax.eval_shape(lambda: initial_tree(clip, num_frames, jax.random.key(0)))
    return {path: a.shape for path, a in flax.traverse_util.flatten_dict(tree).items()}


def initialise(clip: Clip, num_frames: int, paths: set[Path], seed: int) -> dict[Path, jax.Array]:
    """Initial values, float32, of the parameters at some paths, and of no others."""
    if not paths:
        return {}

    @jax.jit  # drops the forward pass, and what is not asked for
    def draw(key):
        flat = flax.traverse_util.flatten_dict(initial_tree(clip, num_frames, key))
        return {path: flat[path] for path in paths}

    return draw(jax.random.key(seed))


def initial_tree(clip: Clip, num_frames: int, key: jax.Array) -> dict:
    """All parameters, as Flax initialises them."""
    side = clip.arch.image_size
    pixels, ids = jnp.zeros((1, num_frames, side, side, 3)), jnp.zeros((1, 3), jnp.int32)
    return clip.init(key, pixels, None, ids, None)["params"]


def pretrained_paths(arch: Architecture) -> set[Path]:
    """The paths of CLIP's own parameters."""
    depth = {"video": arch.depth, "text": arch.text_depth}
    return {entry.path for entry in entries("openai", depth)}


def split(clip: Clip, params: dict) -> tuple[dict, dict]:
    """Two trees: the parameters that train, and those that are frozen. `join` undoes it."""
    pretrained = pretrained_paths(clip.arch)
    flat = flax.traverse_util.flatten_dict(params)
    trains = {path: path not in pretrained or clip.adapter.tunes(path) for path in flat}
    trainable = {path: a for path, a in flat.items() if trains[path]}
    frozen = {path: a for path, a in flat.items() if not trains[path]}
    return flax.traverse_util.unflatten_dict(trainable), flax.traverse_util.unflatten_dict(frozen)


def join(trainable: dict, frozen: dict) -> dict:
    """The whole tree of what `split` made."""
    flat = flax.traverse_util.flatten_dict(trainable) | flax.traverse_util.flatten_dict(frozen)
    return flax.traverse_util.unflatten_dict(flat)
