"""The parameters of a model: their shapes, their initial values, and which of them train.

The parameters that train are a set difference: those that CLIP does not have, and those of CLIP
that the adapter names. Only they are differentiated, optimised and saved in checkpoints.
"""

import functools
import math
from collections.abc import Set
from typing import Any, cast

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from tempme_jax.adapters.base import Path
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.backbones import make_network
from tempme_jax.networks.network import Network
from tempme_jax.weights.layouts import list_backbone_paths

# The values of parameters that are not drawn, by the last part of their path.
CONSTANTS = {
    "scale": 1.0, "bias": 0.0, "logit_scale": math.log(1 / 0.07), "temperature": 0.07,
    "logit_bias": -10.0,
}  # fmt: skip

# The scale of what is added to make the embedding of a word. What all words share is small, or what
# tells them apart would drown in it.
OF_WORDS = {"token_embedding": 0.02, "position_embedding": 0.01, "type_embedding": 0.01}


def flatten(tree: dict) -> dict[Path, Any]:
    """Return the arrays of a tree by their paths.

    >>> flatten({"video": {"ln_pre": {"bias": 0}}, "logit_scale": 1})
    {('video', 'ln_pre', 'bias'): 0, ('logit_scale',): 1}
    """
    return cast(dict[Path, Any], flax.traverse_util.flatten_dict(tree))


def find_shapes(network: Network, num_frames: int) -> dict[Path, tuple[int, ...]]:
    """Return the shape of every parameter by its path, without computing anything."""
    return _trace_shapes(network, num_frames)  # pyright: ignore[reportArgumentType]  # is hashable


@functools.lru_cache
def _trace_shapes(network: Network, num_frames: int) -> dict[Path, tuple[int, ...]]:
    tree = jax.eval_shape(lambda: initialise_tree(network, num_frames, jax.random.key(0)))
    return {path: a.shape for path, a in flatten(tree).items()}


def initialise(
    network: Network, num_frames: int, paths: Set[Path], seed: int
) -> dict[Path, jax.Array]:
    """Return the initial values, float32, of the learned parameters at some paths."""
    if not paths:
        return {}
    return draw_learned(network, num_frames, frozenset(paths), jax.random.key(seed))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))  # so XLA drops the forward pass
def draw_learned(
    network: Network, num_frames: int, paths: frozenset[Path], key: jax.Array
) -> dict[Path, jax.Array]:
    """Draw the initial values at some paths."""
    flat = flatten(initialise_tree(network, num_frames, key))
    return {path: flat[path] for path in paths}


def draw_backbone(
    arch: Architecture, expected: dict[Path, tuple[int, ...]], seed: int
) -> dict[Path, np.ndarray]:
    """Draw CLIP's own parameters, float32, as OpenAI's code does before pretraining.

    NumPy draws them: to compile hundreds of draws would take longer than everything else.
    `expected` gives the shapes of all parameters by path.
    """
    rng = np.random.default_rng(seed)
    paths = sorted(list_pretrained_paths(arch))
    return {path: draw_array(path, expected[path], arch, rng) for path in paths}


def draw_array(
    path: Path, shape: tuple[int, ...], arch: Architecture, rng: np.random.Generator
) -> np.ndarray:
    """Draw one parameter: normal, scaled by its input's width, less where residual branches end."""
    if path[-1] in CONSTANTS:
        return np.full(shape, CONSTANTS[path[-1]], np.float32)
    depth = arch.depth if path[0] == "video" else arch.text_depth
    width = arch.width if path[0] == "video" else arch.text_width
    scale: float = shape[-1] ** -0.5 if path[-2:] == ("patches", "kernel") else width**-0.5
    if path[0] != "video":
        scale = OF_WORDS.get(path[-1], scale)
    if path[-3:-1] == ("mlp", "fc"):
        scale *= 2**-0.5
    if path[-3:-1] in (("attn", "out"), ("mlp", "proj")):
        scale *= (2 * depth) ** -0.5
    return rng.standard_normal(shape, np.float32) * np.float32(scale)


def initialise_tree(network: Network, num_frames: int, key: jax.Array) -> dict:
    """Return all parameters as Flax initialises them."""
    side = network.arch.image_size
    pixels, ids = jnp.zeros((1, num_frames, side, side, 3)), jnp.zeros((1, 3), jnp.int32)
    return cast(dict, network.init(key, pixels, None, ids, None)["params"])


def list_pretrained_paths(arch: Architecture) -> set[Path]:
    """Return the paths of the backbone's own parameters."""
    # A table is quicker than tracing the network, and a backbone need not have one yet.
    return list_backbone_paths(arch) or set(find_shapes(make_network(arch), 1))


def split(network: Network, params: dict) -> tuple[dict, dict]:
    """Split the parameters into two trees: those that train, and those that are frozen."""
    pretrained = list_pretrained_paths(network.arch)
    flat = flatten(params)
    trains = {path: path not in pretrained or network.adapter.is_trained(path) for path in flat}
    trainable = {path: a for path, a in flat.items() if trains[path]}
    frozen = {path: a for path, a in flat.items() if not trains[path]}
    return flax.traverse_util.unflatten_dict(trainable), flax.traverse_util.unflatten_dict(frozen)


def cast_kernels(params: dict, dtype: Any) -> dict:
    """Return the tree with the kernels in another dtype; None = float32."""
    flat = flatten(params)
    for path in [path for path in flat if path[-1] == "kernel"]:
        flat[path] = jnp.asarray(flat[path], dtype or jnp.float32)
    return flax.traverse_util.unflatten_dict(flat)


def join(trainable: dict, frozen: dict) -> dict:
    """Join the two trees that `split` returned."""
    return flax.traverse_util.unflatten_dict(flatten(trainable) | flatten(frozen))
