"""Models open from the files of others and from their own, with the method's settings."""

import dataclasses

import flax.traverse_util
import numpy as np
import pytest
import safetensors.numpy
from random_weights import TOY, assert_same_params, make_random_params, write_weights

from tempme_jax.adapters.base import Adapter
from tempme_jax.building import assemble, fill_params
from tempme_jax.loading import load
from tempme_jax.methods import METHODS
from tempme_jax.networks.clip import Clip
from tempme_jax.weights.layouts import WeightsError, write_layout

NARROW_HEADS = dataclasses.replace(TOY, heads=4, text_heads=2, activation="gelu")
FRAMES = 4


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    file = tmp_path_factory.mktemp("backbone") / "clip.safetensors"
    return write_weights(file, make_random_params(Clip(TOY)), "openai")


@pytest.fixture(scope="module")
def tempme():
    return random_model("tempme")


@pytest.fixture(scope="module")
def published(tempme, tmp_path_factory):
    """What the published code of TempMe saves."""
    file = tmp_path_factory.mktemp("published") / "best.safetensors"
    return write_weights(file, flat(tempme), "published")


def random_model(method, *, arch=TOY, num_frames=FRAMES, **options):
    """A model whose every array is random, made without compiling what `create` draws."""
    model = assemble(
        arch, method=method, num_frames=num_frames, max_words=7, options=options, dtype="float32"
    )
    return fill_params(model, make_random_params(model.network, num_frames), seed=0)


def flat(model):
    return flax.traverse_util.flatten_dict(model.params)


def pixels(model, videos=2):
    size = model.arch.image_size
    shape = (videos, model.num_frames, size, size, 3)
    return np.random.default_rng(2).standard_normal(shape, dtype=np.float32)


def assert_same_model(model, expected):
    assert_same_params(flat(model), flat(expected))
    settings = ("network", "method", "num_frames", "max_words", "schedule")
    for name in settings:
        assert getattr(model, name) == getattr(expected, name), name


@pytest.mark.parametrize("method", METHODS)
def test_a_saved_model_opens_as_it_was(method, tmp_path):
    learned = {field.name for field in dataclasses.fields(METHODS[method][0])}
    few = {name: 1 for name in ("count", "text") if name in learned}  # of 12 positions
    frames = {"num_frames": 4} | ({"r_frame": 0} if method == "testa" else {})
    model = random_model(method, arch=NARROW_HEADS, **frames, **few)
    model.save(tmp_path / "x.safetensors")
    assert_same_model(load(tmp_path / "x.safetensors"), model)


def test_options_are_saved_too(tmp_path):
    options = {"rank": 3, "targets": ("qkv", "fc"), "layers": (1, 3), "groups": (4, 1), "r": 1}
    model = random_model("tempme", **options)
    model.save(tmp_path / "x.safetensors")
    loaded = load(tmp_path / "x.safetensors")
    assert_same_model(loaded, model)
    assert loaded.reducer.layers == (1, 3) and loaded.adapter.targets == ("qkv", "fc")


def test_another_number_of_frames_is_grouped_anew(tmp_path):
    options = {"clip_positions": False, "keep_cross": 0.8}
    model = random_model("tempme", **options)
    assert (model.reducer.layers, model.reducer.groups) == ((1, 2), (2, 2))
    model.save(tmp_path / "x.safetensors")
    loaded = load(tmp_path / "x.safetensors", num_frames=3)
    assert (loaded.num_frames, loaded.reducer.layers, loaded.reducer.groups) == (3, (2,), (3,))
    assert loaded.reducer.keep_cross == 0.8 and not loaded.reducer.clip_positions
    assert_same_params(flat(loaded), flat(model))
    given = {"layers": (3,), "groups": (3,), "keep_cross": 0.9}
    again = load(tmp_path / "x.safetensors", num_frames=3, method_options=given)
    assert (again.reducer.layers, again.reducer.keep_cross) == ((3,), 0.9)


def test_given_options_are_kept_for_another_number_of_frames(tmp_path):
    """Also those that are what the paper sets for the first number of frames."""
    given = {"layers": (1, 2), "groups": (2, 2), "clip_positions": False}
    model = random_model("tempme", **given)
    assert (model.reducer.layers, model.reducer.groups) == ((1, 2), (2, 2))
    assert model.reducer == random_model("tempme", clip_positions=False).reducer
    model.save(tmp_path / "x.safetensors")
    loaded = load(tmp_path / "x.safetensors", num_frames=8)
    assert (loaded.reducer.layers, loaded.reducer.groups) == ((1, 2), (2, 2))
    loaded.save(tmp_path / "y.safetensors")
    again = load(tmp_path / "y.safetensors", num_frames=FRAMES, method_options={"r": 1})
    assert (again.reducer.layers, again.reducer.r) == ((1, 2), 1)
    assert again.options.keys() == given.keys() | {"r"}


def test_positions_of_another_number_of_frames_are_refused(tempme, tmp_path):
    tempme.save(tmp_path / "x.safetensors")
    message = (
        r"x\.safetensors does not fit method 'tempme' with 6 frames: 2 misshapen: .*, "
        r"video/block_2/join_clips/clip_position \(2, 64\), not \(3, 64\)"
    )
    with pytest.raises(WeightsError, match=message):
        load(tmp_path / "x.safetensors", num_frames=6)


@pytest.mark.parametrize("wrong", [{"num_frames": 0}, {"num_frames": -1}])
def test_no_frames_are_no_default(wrong, backbone):
    with pytest.raises(ValueError, match="num_frames=.* must be a whole number of 1 or more"):
        load(backbone, **wrong)


def test_a_published_checkpoint_opens_and_gives_the_same_features(tempme, published):
    loaded = load(published, method="tempme", num_frames=FRAMES, max_words=7)
    assert_same_model(loaded, tempme)
    video = pixels(tempme)
    np.testing.assert_array_equal(loaded.embed_pixels(video), tempme.embed_pixels(video))


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("clip", r"'clip' with 4 frames: 12 unexpected: text/block_0/attn/qkv/lora_a, "),
        ("lora", r"'lora' with 4 frames: 2 unexpected: video/block_1/join_clips/clip_position, "),
        ("prompt", r"'prompt' with 4 frames: 12 unexpected: .*lora_a, "),
    ],
)
def test_a_published_checkpoint_for_another_method_is_refused(method, message, published):
    with pytest.raises(WeightsError, match=rf"best\.safetensors does not fit method {message}"):
        load(published, method=method, num_frames=FRAMES)


def test_a_checkpoint_that_lacks_some_of_what_was_learned_is_refused(tempme, tmp_path):
    arrays = flat(tempme)
    del arrays["video", "block_1", "join_clips", "clip_position"]
    del arrays["text", "block_0", "attn", "qkv", "lora_b"]
    file = write_weights(tmp_path / "x.safetensors", arrays, "published")
    message = r"2 missing: text/block_0/attn/qkv/lora_b, video/block_1/join_clips/clip_position$"
    with pytest.raises(WeightsError, match=message):
        load(file, num_frames=FRAMES)


def test_misshapen_arrays_of_a_backbone_are_listed(tmp_path):
    arrays = write_layout("openai", make_random_params(Clip(TOY))) | {
        "visual.positional_embedding": np.zeros((8, 64), np.float32),
        "transformer.resblocks.0.mlp.c_fc.bias": np.zeros(255, np.float32),
    }
    safetensors.numpy.save_file(arrays, tmp_path / "x.safetensors")
    message = (
        r"2 misshapen: text/block_0/mlp/fc/bias \(255,\), not \(256,\), "
        r"video/position_embedding \(8, 64\), not \(5, 64\)"
    )
    with pytest.raises(WeightsError, match=message):
        load(tmp_path / "x.safetensors")


def test_what_is_learned_starts_as_the_backbone(backbone):
    network = load(backbone, method="clip", num_frames=FRAMES)
    lora = load(backbone, method="lora", num_frames=FRAMES)
    assert network.method == "clip" and not network.trainable
    assert flat(lora).keys() > flat(network).keys()
    video = pixels(network)
    np.testing.assert_allclose(lora.embed_pixels(video), network.embed_pixels(video), atol=1e-6)


def test_what_is_learned_starts_by_the_seed(backbone):
    first, other = (flat(load(backbone, method="lora", num_frames=1, seed=seed)) for seed in (0, 1))
    differ = {path for path in first if not np.array_equal(first[path], other[path])}
    assert {path[-1] for path in differ} == {"lora_a"}  # lora_b is zero, the rest is the file's


@pytest.mark.parametrize("layout", ["tempme_jax", "published"])
def test_a_folded_model_opens_as_it_was(layout, tempme, tmp_path):
    folded = tempme.fold()
    folded.save(tmp_path / "x.safetensors", layout=layout)
    loaded = load(tmp_path / "x.safetensors")
    assert loaded.adapter == Adapter()
    assert_same_model(loaded, folded)
    loaded.save(tmp_path / "again.safetensors", layout=layout)
    assert_same_model(load(tmp_path / "again.safetensors"), folded)
    assert loaded.adapter_folded and not tempme.adapter_folded
    video = pixels(tempme)
    np.testing.assert_array_equal(loaded.embed_pixels(video), tempme.embed_pixels(video))


def test_a_folded_lora_is_a_plain_clip_for_others(tmp_path):
    lora = random_model("lora")
    file = tmp_path / "x.safetensors"
    with pytest.raises(WeightsError, match="10 without a place in the layout 'openai': .*lora_a"):
        lora.save(file, layout="openai")
    lora.fold().save(file, layout="openai")
    with safetensors.safe_open(file, "numpy") as opened:
        assert "visual.conv1.weight" in opened.keys()
        assert not [name for name in opened.keys() if "lora" in name.lower()]
    network = load(file, method="clip", num_frames=FRAMES)
    video = pixels(network)
    np.testing.assert_array_equal(network.embed_pixels(video), lora.embed_pixels(video))
    fresh = load(file, method="lora", method_options={"rank": 2})
    assert fresh.adapter.rank == 2 and fresh.trainable
