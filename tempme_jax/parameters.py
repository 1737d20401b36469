"""Which parameters a model has, and which of them train.

What trains is a set difference: the parameters that CLIP does not have, and those of CLIP that
the adapter names. Only they are differentiated, optimised and saved in checkpoints.
"""

import functools
import math
from collections.abc import Set

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from tempme_jax.adapters.base import Path
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.clip import Clip
from tempme_jax.weights.layouts import entries


@functools.lru_cache
def shapes(network: Clip, num_frames: int) -> dict[Path, tuple[int, ...]]:
    """The shape of every parameter by its path, found without computing anything."""
    tree = jax.eval_shape(lambda: initial_tree(network, num_frames, jax.random.key(0)))
    return {path: a.shape for path, a in flax.traverse_util.flatten_dict(tree).items()}


def initialise(
    network: Clip, num_frames: int, paths: Set[Path], seed: int
) -> dict[Path, jax.Array]:
    """Initial values, float32, of what is learned beside CLIP, at some paths and at no others."""
    return draw(network, num_frames, frozenset(paths), jax.random.key(seed)) if paths else {}


@functools.partial(jax.jit, static_argnums=(0, 1, 2))  # drops the forward pass, and all else
def draw(
    network: Clip, num_frames: int, paths: frozenset[Path], key: jax.Array
) -> dict[Path, jax.Array]:
    """The initial values at some paths."""
    flat = flax.traverse_util.flatten_dict(initial_tree(network, num_frames, key))
    return {path: flat[path] for path in paths}


def initial_backbone(
    arch: Architecture, expected: dict[Path, tuple[int, ...]], seed: int
) -> dict[Path, np.ndarray]:
    """CLIP's own parameters, float32, as OpenAI's code draws them before pretraining.

    Drawn by NumPy: compiling hundreds of draws would take longer than all else.

    Args:
        arch: of the model.
        expected: the shapes of all its parameters.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    paths = sorted(pretrained_paths(arch))
    return {path: initial_array(path, expected[path], arch, rng) for path in paths}


def initial_array(
    path: Path, shape: tuple[int, ...], arch: Architecture, rng: np.random.Generator
) -> np.ndarray:
    """One of them: normal, by the width of its input, less at the ends of residual branches."""
    if path[-1] in ("scale", "bias", "logit_scale"):
        value = {"scale": 1.0, "bias": 0.0, "logit_scale": math.log(1 / 0.07)}[path[-1]]
        return np.full(shape, value, np.float32)
    depth = arch.depth if path[0] == "video" else arch.text_depth
    width = arch.width if path[0] == "video" else arch.text_width
    scale = {
        ("text", "token_embedding"): 0.02,
        ("text", "position_embedding"): 0.01,
        ("video", "patches", "kernel"): shape[-1] ** -0.5,
    }.get(path, width**-0.5)
    if path[-3:-1] == ("mlp", "fc"):
        scale *= 2**-0.5
    if path[-3:-1] in (("attn", "out"), ("mlp", "proj")):
        scale *= (2 * depth) ** -0.5
    return rng.standard_normal(shape, np.float32) * np.float32(scale)


def initial_tree(network: Clip, num_frames: int, key: jax.Array) -> dict:
    """All parameters, as Flax initialises them."""
    side = network.arch.image_size
    pixels, ids = jnp.zeros((1, num_frames, side, side, 3)), jnp.zeros((1, 3), jnp.int32)
    return network.init(key, pixels, None, ids, None)["params"]


def pretrained_paths(arch: Architecture) -> set[Path]:
    """The paths of CLIP's own parameters."""
    depth = {"video": arch.depth, "text": arch.text_depth}
    return {entry.path for entry in entries("openai", depth)}


def split(network: Clip, params: dict) -> tuple[dict, dict]:
    """Two trees: the parameters that train, and those that are frozen. `join` undoes it."""
    pretrained = pretrained_paths(network.arch)
    flat = flax.traverse_util.flatten_dict(params)
    trains = {path: path not in pretrained or network.adapter.tunes(path) for path in flat}
    trainable = {path: a for path, a in flat.items() if trains[path]}
    frozen = {path: a for path, a in flat.items() if not trains[path]}
    return flax.traverse_util.unflatten_dict(trainable), flax.traverse_util.unflatten_dict(frozen)


def join(trainable: dict, frozen: dict) -> dict:
    """The whole tree of what `split` made."""
    flat = flax.traverse_util.flatten_dict(trainable) | flax.traverse_util.flatten_dict(frozen)
    return flax.traverse_util.unflatten_dict(flat)
