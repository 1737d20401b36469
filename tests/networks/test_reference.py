"""What the published PyTorch code computes, on weights that anyone can draw, we compute too."""

import dataclasses

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_weights
from repository import FIXTURES

from tempme_jax import methods
from tempme_jax.losses import compute_contrastive_loss, compute_similarity
from tempme_jax.networks.block import Block
from tempme_jax.networks.clip import Clip
from tempme_jax.parameters import split
from tempme_jax.training.config import TrainSettings
from tempme_jax.training.objectives.contrastive import ContrastiveObjective
from tempme_jax.training.optim import make_learning_rate, make_optimizer
from tempme_jax.training.step import TrainState, leave_unchanged, train_step
from tempme_jax.weights.files import infer_architecture
from tempme_jax.weights.layouts import read_layout, write_layout

FOLDER = FIXTURES / "reference"
TOLERANCE = 1e-5

CASES = {
    # stem: patch, batch, frames, words, method, clips joined by (block, group)
    "tiny_b32_f12": (32, 3, 12, 32, "tempme", ((8, 2), (9, 2), (10, 3))),
    "tiny_b16_f12": (16, 2, 12, 32, "tempme", ((8, 2), (9, 2), (10, 3))),
    "tiny_b32_f64": (32, 1, 64, 64, "tempme", ((8, 4), (9, 4), (10, 4))),
    "tiny_tome_b32_f12": (32, 2, 12, 32, "tome", ()),
}


def published(stem):
    """The Flax module of a case, and its parameters read from a checkpoint as published."""
    patch, _, frames, _, method, joins = CASES[stem]
    sizes = dict(reference_weights.TINY, patch=patch)
    arrays = {
        f"clip.{name}": a for name, a in reference_weights.make_clip_state_dict(**sizes).items()
    } | reference_weights.make_tempme_state_dict(sizes, frames, joins)
    _, params = read_layout(arrays)
    arch = infer_architecture(params)
    network = Clip(arch, *methods.build(method, arch, frames))
    return network, params, arrays


def inputs(stem):
    _, batch, frames, words, _, _ = CASES[stem]
    pixels = reference_weights.make_video(stem, batch, frames).transpose(0, 1, 3, 4, 2)
    ids, mask = reference_weights.make_token_ids(batch, words, 512)
    return jnp.asarray(pixels), jnp.asarray(ids, jnp.int32), jnp.asarray(mask, bool)


def tree(params):
    return {"params": flax.traverse_util.unflatten_dict(params)}


def assert_close(ours, golden, what=""):
    """To 1e-5 of the largest golden value."""
    golden = np.asarray(golden)
    scale = max(np.abs(golden).max(), 1e-30)
    error = np.abs(np.asarray(ours) - golden).max() / scale
    assert error < TOLERANCE, f"{what}: {error:.2e} of the largest value"


@pytest.mark.parametrize("stem", [stem for stem in CASES if stem != "tiny_b32_f12"])
def test_features(stem):
    golden = np.load(FOLDER / f"{stem}.npz")
    network, params, _ = published(stem)
    pixels, ids, mask = inputs(stem)
    video, tokens = jax.jit(lambda p, x: network.apply(p, x, method="encode_video"))(
        tree(params), pixels
    )
    assert_close(video, golden["video_features"], "video features")
    assert tokens.x.shape[2] == golden["n_tokens"]
    text = network.apply(tree(params), ids, mask, method="encode_text")
    assert_close(text, golden["text_features"], "text features")


def test_features_and_the_tokens_after_every_block():
    golden = np.load(FOLDER / "tiny_b32_f12.npz")
    network, params, _ = published("tiny_b32_f12")
    pixels, _, _ = inputs("tiny_b32_f12")

    def run(params, pixels):
        (features, _), state = network.apply(
            params,
            pixels,
            method="encode_video",
            capture_intermediates=lambda module, _: isinstance(module, Block),
            mutable=["intermediates"],
        )
        return features, state["intermediates"]["video"]

    features, blocks = jax.jit(run)(tree(params), pixels)
    assert_close(features, golden["video_features"], "video features")
    assert blocks["block_11"]["__call__"][0].x.shape[2] == golden["n_tokens"]
    for layer in range(12):
        tokens = blocks[f"block_{layer}"]["__call__"][0]
        assert_close(tokens.x[0], golden[f"tokens_{layer:02}"], f"tokens of block {layer}")
        sizes = golden[f"sizes_{layer:02}"].reshape(tokens.size[0].shape)
        np.testing.assert_array_equal(tokens.size[0], sizes)


@dataclasses.dataclass(frozen=True)
class PixelObjective(ContrastiveObjective):
    """Takes pixels that are normalised already, as those of the reference are."""

    def encode(self, params, batch, key):
        names = ("frames", "frame_mask", "ids", "text_mask")
        return self.network.apply({"params": params}, *(batch[name] for name in names))


def trained_and_frozen(params):
    """TempMe's parameters, and CLIP's."""
    params = {path: jnp.asarray(a) for path, a in params.items()}
    trained = {p: a for p, a in params.items() if p[-1] in ("lora_a", "lora_b", "clip_position")}
    return trained, {p: a for p, a in params.items() if p not in trained}


def make_loss(network, frozen):
    def loss(trained, pixels, ids, mask):
        video, text = network.apply(tree(frozen | trained), pixels, None, ids, mask)
        return compute_contrastive_loss(
            compute_similarity(text, video, jnp.exp(frozen["logit_scale",]))
        )

    return loss


def published_names(arrays_by_path, clip_params):
    """Gradients or parameters under the published names."""
    whole = write_layout("published", clip_params | arrays_by_path)
    only_frozen = write_layout(
        "published", {p: a for p, a in clip_params.items() if p not in arrays_by_path}
    )
    return {name: a for name, a in whole.items() if name not in only_frozen}


def test_loss_and_gradients():
    golden = np.load(FOLDER / "tiny_b32_f12.npz")
    network, params, _ = published("tiny_b32_f12")
    trained, frozen = trained_and_frozen(params)
    pixels, ids, mask = inputs("tiny_b32_f12")
    text = network.apply(tree(params), ids, mask, method="encode_text")
    assert_close(text, golden["text_features"], "text features")
    loss, gradients = jax.jit(jax.value_and_grad(make_loss(network, frozen)))(
        trained, pixels, ids, mask
    )
    assert_close(loss, golden["loss"], "loss")
    ours = published_names(gradients, params)
    names = {name.removeprefix("grad_norm/") for name in golden if name.startswith("grad_norm/")}
    assert {name.removeprefix("clip.") for name in ours} == {n.removeprefix("clip.") for n in names}
    ours = {name.removeprefix("clip."): a for name, a in ours.items()}
    for name in names:
        gradient = ours[name.removeprefix("clip.")]
        assert_close(np.linalg.norm(gradient), golden[f"grad_norm/{name}"], f"norm of {name}")
        if f"grad/{name}" in golden:
            assert_close(gradient, golden[f"grad/{name}"], f"gradient of {name}")


@pytest.mark.slow
def test_training_for_eight_steps():
    """Warm-up of 2 steps to 6e-4, then half a cosine; gradients clipped to a global norm of 1."""
    golden = np.load(FOLDER / "tiny_training.npz")
    network, params, _ = published("tiny_b32_f12")
    trainable, frozen = split(network, tree(params)["params"])
    settings = TrainSettings(warmup=0.25)
    rate = make_learning_rate(settings, 8)
    update = make_optimizer(settings, rate)
    state = TrainState(jnp.int32(0), jax.tree.map(jnp.asarray, trainable), update.init(trainable))
    objective = PixelObjective(network)
    ids, mask = reference_weights.make_token_ids(4, 32, 512)
    batch = {"ids": jnp.asarray(ids, jnp.int32), "text_mask": jnp.asarray(mask, bool)}
    for i in range(8):
        np.testing.assert_allclose(rate(i), golden["learning_rate"][i], rtol=1e-6, atol=1e-12)
        pixels = reference_weights.make_video(f"train.{i}", 4, 12).transpose(0, 1, 3, 4, 2)
        given = batch | {"frames": jnp.asarray(pixels), "frame_mask": jnp.ones((4, 12), bool)}
        state, measured = train_step(objective, update, leave_unchanged, state, frozen, given)
        assert_close(measured["loss"], golden["loss"][i], f"loss of step {i}")
        assert_close(measured["gradient_norm"], golden["grad_norm"][i], f"gradient norm of {i}")
    assert int(state.step) == 8
    ours = published_names(flax.traverse_util.flatten_dict(state.trainable), params)
    names = {name for name in golden if name.startswith("param/")}
    assert {name.removeprefix("param/") for name in names} <= ours.keys()
    for name in names:
        assert_close(ours[name.removeprefix("param/")], golden[name], name)
