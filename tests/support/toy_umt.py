"""Tiny UMTs with the published code's weights and inputs, and a smaller one that compiles soon."""

import dataclasses
import functools

import flax.traverse_util
import jax
import jax.numpy as jnp
from umt_weights import TINY_UMT, clip_positions, make_architecture, texts, umt_state_dict, video

from tempme_jax import methods
from tempme_jax.networks.backbones import make_network
from tempme_jax.training.objectives.matching import MatchingObjective
from tempme_jax.weights.layouts import fit_backbone, read_layout

ARCH = make_architecture(TINY_UMT)
MERGED = {"r": 2, "layers": (1, 2), "groups": (2, 2), "keep_cross": 0.6, "keep_intra": 0.9}
WAYS = {
    "tiny_umt": ("full+joined", {}),
    "tiny_umt4clip": ("full", {}),
    "tiny_umt4clip_tempme": ("full+tempme", MERGED),
}
KEY = jax.random.key(0)
SMALL = dataclasses.replace(
    ARCH, image_size=16, patch=8, width=16, depth=1, text_width=12, text_depth=2, first_cross=1
)


class PixelObjective(MatchingObjective):
    """Takes pixels that are normalised already, and the most likely negatives, as the golden."""

    def make_pixels(self, batch):
        return batch["frames"]


def take_largest(key, weights):
    return weights.argmax(axis=1)


def make(name, **options):
    method, settings = WAYS[name]
    network = make_network(ARCH, *methods.build(method, ARCH, 4, settings, max_words=12), **options)
    return PixelObjective(network, draw=take_largest)


@functools.cache
def read_params(name):
    positions = clip_positions(TINY_UMT, 4, ((1, 2), (2, 2))) if "tempme" in name else {}
    _, flat = read_layout(umt_state_dict(**TINY_UMT) | positions)
    return flax.traverse_util.unflatten_dict(fit_backbone(flat, ARCH, "umt"))


def make_batch(tag, seed=7, videos=(0, 1, 2, 0)):
    ids, mask = texts(4, 12, seed=seed)
    return {
        "frames": jnp.asarray(video(tag, 4, 4).transpose(0, 1, 3, 4, 2)),
        "frame_mask": jnp.ones((4, 4), bool),
        "ids": jnp.asarray(ids, jnp.int32),
        "text_mask": jnp.asarray(mask > 0),
        "video": jnp.asarray(videos, jnp.int32),
    }


def make_small(depth=1, **options):
    """Return an objective that compiles soon, its parameters, and a batch."""
    arch = dataclasses.replace(SMALL, depth=depth)
    network = make_network(arch, *methods.build("full", arch, 4, {}, max_words=12), **options)
    batch = make_batch("small")
    batch["frames"] = batch["frames"][:, :, :16, :16]
    inputs = (batch[name] for name in ("frames", "frame_mask", "ids", "text_mask"))
    params = jax.jit(network.init)(KEY, *inputs)["params"]
    return PixelObjective(network), params, batch
