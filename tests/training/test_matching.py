"""UMT's losses, gradients and training are those of the published code; laws of the negatives."""

import functools

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from repository import ROOT
from umt_weights import (
    TINY_UMT,
    clip_positions,
    make_architecture,
    texts,
    umt_state_dict,
    video,
)

from tempme_jax import methods
from tempme_jax.losses import (
    compute_contrastive_loss,
    compute_matching_loss,
    compute_soft_contrastive_loss,
    draw_hard_negatives,
)
from tempme_jax.networks.backbones import make_network
from tempme_jax.training.config import TrainSettings
from tempme_jax.training.objectives.matching import MatchingObjective
from tempme_jax.training.optim import make_learning_rate, make_optimizer
from tempme_jax.training.step import TrainState, leave_unchanged, train_step
from tempme_jax.weights.layouts import fit_backbone, read_layout, write_layout

GOLDEN = np.load(ROOT / "tests/fixtures/reference/umt/objective.npz")
ARCH = make_architecture(TINY_UMT)
MERGED = {"r": 2, "layers": (1, 2), "groups": (2, 2), "keep_cross": 0.6, "keep_intra": 0.9}
WAYS = {
    "tiny_umt": ("full+joined", {}),
    "tiny_umt4clip": ("full", {}),
    "tiny_umt4clip_tempme": ("full+tempme", MERGED),
}
KEY = jax.random.key(0)
POSITION = "vision_encoder.encoder.blocks.{}.TVPt_Video_Positional_embedding"


@pytest.fixture(autouse=True)
def exact():
    with jax.default_matmul_precision("highest"):
        yield


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


def publish(tree):
    """Return arrays by the names of the fine-tuned model."""
    flat = {path: np.asarray(a) for path, a in flax.traverse_util.flatten_dict(tree).items()}
    positions = {p: flat.pop(p) for p in list(flat) if p[-1] == "clip_position"}
    named = {POSITION.format(p[1].removeprefix("block_")): a for p, a in positions.items()}
    return write_layout("umt_retrieval", flat) | named


def pick(array, count):
    flat = np.asarray(array).ravel()
    return flat[np.linspace(0, flat.size - 1, count).astype(int)]


def is_key_bias(name):
    """Its gradient is zero but for rounding."""
    return name.endswith(".key.bias")


def assert_close(ours, golden, what, scale=None):
    error = np.abs(np.asarray(ours) - golden).max() / (scale or np.abs(golden).max())
    assert np.shape(ours) == np.shape(golden) and error < 1e-5, f"{what}: {error:.1e}"


@pytest.mark.parametrize("name", WAYS)
def test_losses_and_gradients_as_published(name):
    golden = {k.removeprefix(f"{name}/"): v for k, v in GOLDEN.items() if k.startswith(f"{name}/")}
    objective, params, batch = make(name), read_params(name), make_batch(name)

    @jax.jit
    def compute(params, batch):
        parts = objective.compute_losses(params, objective.encode(params, batch, KEY), batch, KEY)
        return parts, objective.compute_gradients(params, {}, batch, KEY)

    (vtc, vtm), (loss, gradients) = compute(params, batch)
    assert_close(vtc, golden["loss_vtc"], "VTC")
    assert_close(vtm, golden["loss_vtm"], "VTM")
    assert_close(loss, golden["loss"], "the sum")
    ours = publish(gradients)
    assert set(ours) == set(golden["norm_names"].tolist())
    for array, norm in zip(golden["norm_names"], golden["norms"], strict=True):
        if not is_key_bias(array):
            assert_close(np.linalg.norm(ours[array]), norm, f"norm of {array}")
    rows = golden["grad_names"], golden["grads"], golden["largest"]
    for array, values, largest in zip(*rows, strict=True):
        if not is_key_bias(array):
            assert_close(pick(ours[array], 16), values, array, largest)
