"""A text meets the frames of a video: the laws of the score, and who keeps vectors of frames."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_weights import make_random_tree
from toy_clip import FRAMES, make_batch, make_network, make_params
from toy_umt import SMALL

import tempme_jax
from tempme_jax import encoding, late_interaction, methods
from tempme_jax.export.saving import NotExportableError, describe_export
from tempme_jax.late_interaction import FrameVectors, score, score_in_blocks
from tempme_jax.methods import METHODS
from tempme_jax.model import Model
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.backbones import make_network as make_backbone
from tempme_jax.networks.network import LOG_TAU
from tempme_jax.parameters import flatten

INFINITY = float("inf")
TOY = Architecture(
    embed_dim=8, image_size=16, patch=8, width=16, depth=3, heads=2,
    text_width=16, text_depth=1, text_heads=2, vocab_size=50, context_length=48,
)  # fmt: skip
# Methods that leave no vector of each frame, and what they say.
MERGED = {
    "dgl": "DGL reads one learned token",
    "dgl-transformer": "DGLTransformer reads one learned token",
    "testa": "TESTA merges frames, and vectors of 3 of 4 are left",
}


def draw(n=5, m=3, f=4, e=8):
    """Texts, and videos whose first frames are missing here and there."""
    rng = np.random.default_rng(0)
    text, frames = rng.standard_normal((n, e)), rng.standard_normal((m, f, e))
    text, frames = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (text, frames))
    weights = np.array([[1, 2, 1, 1], [0, 1, 3, 0], [0, 0, 0, 0]], np.float32)[:m, :f]
    mean = (weights[:, :, None] * frames).sum(1) / np.maximum(weights.sum(1), 1)[:, None]
    video = FrameVectors(*(np.float32(x) for x in (mean, frames, weights)))
    return np.float32(text), late_interaction.scale_to_unit(video)


def test_the_score_is_as_written():
    """By hand: a softmax over the frames that are there, in double precision."""
    text, video = draw()
    scores, shares = score(text, video.frames, video.weights, 0.3)
    for i, j in np.ndindex(5, 2):
        s = np.float64(video.frames[j]) @ text[i]
        e = video.weights[j] * np.exp(s / 0.3)
        np.testing.assert_allclose(shares[i, j], e / e.sum(), atol=1e-6)
        np.testing.assert_allclose(scores[i, j], e @ s / e.sum(), atol=1e-6)
    assert not scores[:, 2].any() and not shares[:, 2].any()  # of no frame


@pytest.mark.parametrize("tau", [INFINITY, 1e7])
def test_with_a_high_temperature_it_is_the_mean(tau):
    text, video = draw()
    scores, shares = score(text, video.frames, video.weights, tau)
    np.testing.assert_allclose(scores, text @ video.vectors.T, atol=1e-6)
    np.testing.assert_allclose(shares[0, 0], [0.2, 0.4, 0.2, 0.2], atol=1e-6)


def test_one_frame_is_the_mean_and_missing_frames_change_nothing():
    text, video = draw(m=2)
    one = late_interaction.scale_to_unit(
        video._replace(vectors=video.frames[:, 1], weights=np.float32([[0, 1, 0, 0]] * 2))
    )
    for tau in (0.01, 1.0):
        scores, _ = score(text, one.frames, one.weights, tau)
        np.testing.assert_allclose(scores, text @ one.vectors.T, atol=1e-6)
        noise = np.where(video.weights[:, :, None] > 0, video.frames, 100)
        found = score(text, noise, video.weights, tau)
        for ours, expected in zip(found, score(text, *video[1:], tau), strict=True):
            np.testing.assert_array_equal(ours, expected)


def test_blocks_orders_and_jax_give_the_same(monkeypatch):
    text, video = draw()
    expected, shares = score(text, video.frames, video.weights, 0.1)
    monkeypatch.setattr(late_interaction, "BLOCK", 1)
    np.testing.assert_allclose(score_in_blocks(text, video, 0.1), expected, atol=1e-6)
    order = np.array([2, 0, 1])
    turned = FrameVectors(*(array[order] for array in video))
    np.testing.assert_allclose(score_in_blocks(text, turned, 0.1), expected[:, order], atol=1e-6)
    assert isinstance(shares, np.ndarray)
    given = map(jnp.asarray, (text, video.frames, video.weights, np.float32(0.1)))
    scores, of_jax = jax.jit(score)(*given)
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    np.testing.assert_allclose(of_jax, shares, atol=1e-6)


def test_gradients_are_finite_also_of_missing_frames():
    text, video = draw()
    loss = jax.jit(jax.grad(lambda *given: score(*given)[0].sum(), (0, 1, 2, 3)))
    given = (text, video.frames, video.weights, np.float32(0.001))
    for slope in loss(*map(jnp.asarray, given)):
        assert np.isfinite(slope).all()


@pytest.mark.parametrize("tau", [0, -1.0, math.nan, True, "warm"])
def test_what_is_no_temperature(tau):
    with pytest.raises(ValueError, match="must be a number above 0"):
        late_interaction.require_tau("tau", tau)


def test_temperatures_that_float32_does_not_know():
    text, video = draw()
    for tau, as_with in ((1e-50, 1e-6), (1e300, math.inf)):
        given = late_interaction.require_tau("tau", tau)
        found = score(text, video.frames, video.weights, given)[0]
        np.testing.assert_allclose(found, score(text, video.frames, video.weights, as_with)[0])


@functools.cache
def encode_toy(frames=FRAMES):
    """A toy whose clips are joined in pairs: three videos, of which two lack frames."""
    network = make_network("tempme")
    model = Model(network, make_params(network), "tempme", FRAMES, 8)
    pixels = np.random.default_rng(0).integers(0, 256, (3, FRAMES, 16, 16, 3), np.uint8)
    mask = np.arange(FRAMES) < np.array([[4], [2], [1]])
    return model, model.encode_each_frame([(pixels, mask)]), (pixels, mask)


def test_frames_are_those_whose_mean_the_model_compares():
    model, found, batch = encode_toy()
    np.testing.assert_allclose(found.vectors, model.encode_frames([batch]), atol=1e-6)
    assert found.weights.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]
    mean = (found.frames * found.weights[:, :, None]).sum(1) / found.weights.sum(1)[:, None]
    np.testing.assert_allclose(mean, found.vectors, atol=1e-6)
    assert not found.frames[found.weights == 0].any()
    text = model.embed_tokens(make_batch()["ids"])
    of_mean = model.similarity(text, found.vectors)
    np.testing.assert_allclose(model.similarity(text, found), of_mean, atol=1e-4)
    sharp = model.similarity(text, found, tau=0.1)
    np.testing.assert_allclose(sharp[:, 2], of_mean[:, 2], atol=1e-4)  # of one frame
    assert np.abs(sharp - of_mean)[:, 0].max() > 0.01


def test_a_frame_is_in_its_place():
    """Through joined clips: of videos of one frame, that one counts."""
    model, _, (pixels, _) = encode_toy()
    videos = np.repeat(pixels[:1], FRAMES, axis=0)
    found = model.encode_each_frame([(videos, np.eye(FRAMES, dtype=bool))])
    np.testing.assert_array_equal(found.weights, np.eye(FRAMES))
    np.testing.assert_allclose(found.frames.sum(axis=1), found.vectors, atol=1e-6)


def make(name):
    return make_backbone(TOY, *methods.build(name, TOY, 4, max_words=12))


def test_all_methods_that_keep_frames():
    keep = {name for name in METHODS if not make(name).find_frame_problem(4)}
    assert keep == METHODS.keys() - MERGED.keys()


# One for each reducer, and the adapter with a mean of its own.
@pytest.mark.parametrize(
    "name",
    ["plevu", "vop-f", "evit", "diffrate", "diffrate-search", "sta", "tome", "tempme"],
)
def test_shapes_of_vectors_of_frames(name):
    network = make(name)
    found = jax.eval_shape(
        lambda pixels: network.init_with_output(
            jax.random.key(0), pixels, method="encode_video_frames"
        )[0],
        jax.ShapeDtypeStruct((2, 4, 16, 16, 3), jnp.float32),
    )
    assert [array.shape for array in found] == [(2, 8), (2, 4, 8), (2, 4)]


@pytest.mark.parametrize("name", MERGED)
def test_methods_that_do_not_say_who_does(name):
    model = Model(make(name), {}, name, 4, 12)
    problem = methods.find_frame_problem(model.network, 4)
    assert problem.startswith(MERGED[name]) and "keep them: clip, full, lora" in problem
    assert not {"dgl", "testa"} & set(problem.split("keep them: ")[1].split(", "))
    assert not model.keeps_frames
    with pytest.raises(ValueError, match=f"no vectors of frames: {MERGED[name]}"):
        model.embed_frames(np.zeros((4, 16, 16, 3), np.uint8))


def test_umt_keeps_the_frames_that_do_not_merge():
    network = make_backbone(SMALL, *methods.build("clip", SMALL, 4, max_words=12))
    assert not network.find_frame_problem(4) and not network.unit_videos
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 16, 16, 3), np.uint8)
    variables = {"params": make_random_tree(network, 4)}
    found = encoding.encode_each_frame(network, variables, pixels, np.ones((2, 4), bool))
    np.testing.assert_allclose(found.frames.mean(axis=1), found.vectors, atol=1e-6)
    assert np.linalg.norm(found.vectors, axis=1).max() < 1  # as UMT compares them
    unit = late_interaction.scale_to_unit(found)
    np.testing.assert_allclose(np.linalg.norm(unit.vectors, axis=1), 1, atol=1e-6)
    arch = dataclasses.replace(SMALL, depth=5)
    network = make_backbone(arch, *methods.build("tempme", arch, 4, {"r": 0}, max_words=12))
    expected = "TempMe merges frames, and vectors of 1 of 4 are left"
    assert network.find_frame_problem(4) == expected
    answers = make_backbone(dataclasses.replace(SMALL, backbone="umt-qa"))
    assert "reads no vectors of frames" in answers.find_frame_problem(4)


def test_a_learned_temperature_is_saved_and_opened(tmp_path):
    network = make_network("tempme", tau=0.2)
    params = make_params(network)
    params["log_tau"] = jnp.float32(math.log(0.3))
    model = Model(network, params, "tempme", FRAMES, 8, options={})
    model.save(tmp_path / "model.safetensors")
    opened = tempme_jax.load(tmp_path / "model.safetensors")
    assert opened.tau == pytest.approx(0.3) == model.tau
    assert LOG_TAU in flatten(opened.trainable)
    _, found, _ = encode_toy()
    text = opened.embed_tokens(make_batch()["ids"])
    ours = opened.similarity(text, found)
    np.testing.assert_allclose(ours, model.similarity(text, found, tau=0.3), atol=1e-4)
    with pytest.raises(ValueError, match="needs what embed_frames returns"):
        opened.similarity(text, found.vectors)
    with pytest.raises(NotExportableError, match="vectors of whole videos alone"):
        describe_export(opened, "float32")


def test_a_default_model_has_no_temperature():
    model, _, _ = encode_toy()
    assert not model.tau and LOG_TAU not in flatten(model.params)
