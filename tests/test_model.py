"""A model takes what its documentation says, gives unit vectors, and says what is wrong."""

import dataclasses
import pathlib
import subprocess
import sys

import av
import flax.traverse_util
import jax
import numpy as np
import pytest

import tempme_jax
from tempme_jax import building, encoding
from tempme_jax.compile_cache import use_persistent_cache
from tempme_jax.video.pixels import resize_and_crop

TOY = dict(width=64, heads=1, depth=4, image_size=64, patch=16, embed_dim=16)
ARCH = tempme_jax.Architecture(text_width=64, text_depth=1, text_heads=1, **TOY)
FRAMES = 4
TOLERANCE = 1e-6
IDS = np.array([[49406, 320, 2368, 49407, 0, 0, 0, 0]])


@pytest.fixture(scope="module", autouse=True)
def four_videos_at_once():
    """So that a batch has a rest that is filled up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "VIDEO_BATCH", {"cpu": 4})
        yield


@pytest.fixture(scope="module")
def model():
    return tempme_jax.create(ARCH, num_frames=FRAMES, max_words=8)


@pytest.fixture(scope="module")
def videos():
    """Five of as many frames as the model takes, wide and of odd sides."""
    shape = (5, FRAMES, 41, 67, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def pixels():
    shape = (1, FRAMES, 64, 64, 3)
    return np.random.default_rng(1).standard_normal(shape, dtype=np.float32)


@pytest.fixture(scope="module")
def video_file(videos, tmp_path_factory):
    """Twice as many frames as the model takes, in an mp4 that loses nothing."""
    path = tmp_path_factory.mktemp("videos") / "eight.mp4"
    frames = np.concatenate([videos[0], videos[1]])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=10, options={"qp": "0"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "rgb24"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path, frames


def assert_same(ours, theirs, tolerance=TOLERANCE):
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


def assert_unit_vectors(vectors, count):
    assert isinstance(vectors, np.ndarray)
    assert (vectors.dtype, vectors.shape) == (np.float32, (count, ARCH.embed_dim))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_public_names():
    assert set(tempme_jax.__all__) == {
        "METHODS", "Architecture", "Model", "VideoError", "VideoIndex", "VideoIndexError",
        "WeightsError", "__version__", "create", "load", "load_plugin", "merging",
    }  # fmt: skip
    assert dir(tempme_jax) == sorted(tempme_jax.__all__)
    assert tempme_jax.METHODS.keys() >= {"clip", "full", "lora", "tome", "tempme"}
    assert tempme_jax.merging.match(np.eye(5, 4, dtype=np.float32), 1, n_cls=1).shape == (5,)
    assert callable(tempme_jax.merging.merge)
    with pytest.raises(AttributeError, match="'tempme_jax' has no attribute 'laod'"):
        tempme_jax.laod  # noqa: B018


def test_names_of_a_model(model):
    methods = {"embed_video", "embed_text", "embed_pixels", "embed_tokens", "similarity"}
    assert methods | {"params", "trainable"} <= set(dir(model))
    assert isinstance(model, tempme_jax.Model)
    assert len(repr(model)) < 2000


def test_importing_the_package_imports_nothing_heavy():
    heavy = "{'jax', 'flax', 'transformers', 'av', 'PIL'}"
    code = f"import sys, tempme_jax; print(sorted({heavy} & set(sys.modules)))"
    folder = pathlib.Path(tempme_jax.__file__).parents[1]
    found = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert (found.stdout, found.stderr) == ("[]\n", "")


def test_trainable_is_what_clip_does_not_have(model):
    trainable = flax.traverse_util.flatten_dict(model.trainable)
    params = flax.traverse_util.flatten_dict(model.params)
    assert {path[-1] for path in trainable} == {"lora_a", "lora_b", "clip_position"}
    assert all(params[path] is array for path, array in trainable.items())
    assert all(a.dtype == np.float32 for a in params.values())


def test_frames_give_unit_vectors(model, videos):
    assert_unit_vectors(model.embed_video(videos[0]), 1)
    assert_unit_vectors(model.embed_video(videos), 5)
    assert_unit_vectors(model.embed_video(jax.numpy.asarray(videos[:1])), 1)
    assert model.embed_video(videos[:0]).shape == (0, ARCH.embed_dim)
    assert model.embed_video([]).shape == (0, ARCH.embed_dim)


@pytest.mark.parametrize("count", [1, 3, 5])
def test_videos_do_not_depend_on_those_beside_them(model, videos, count):
    together = model.embed_video(videos[:count])
    alone = np.concatenate([model.embed_video(video) for video in videos[:count]])
    assert_same(together, alone)


def test_of_more_frames_the_middle_of_each_span(model, videos):
    twice = np.repeat(videos[0], 2, axis=0)
    twice[::2] = 0
    assert_same(model.embed_video(twice), model.embed_video(videos[0]))


def test_fewer_frames_are_masked(model, videos):
    few = model.embed_video(videos[0, :2])
    assert_unit_vectors(few, 1)
    frames = np.zeros((1, FRAMES, 64, 64, 3), np.uint8)
    frames[0, :2] = resize_and_crop(videos[0, :2], 64)
    pixels = normalised(frames)
    assert_same(few, model.embed_pixels(pixels, np.array([[True, True, False, False]])), 1e-5)
    assert np.abs(few - model.embed_pixels(pixels)).max() > 1e-3


def test_files(model, video_file, tmp_path):
    path, frames = video_file
    vector = model.embed_video(path)
    assert_unit_vectors(vector, 1)
    assert_same(vector, model.embed_video(frames))
    assert_same(vector, model.embed_video(str(path)))
    assert_same(np.repeat(vector, 5, axis=0), model.embed_video([path] * 5))


def test_a_file_that_is_no_video(model, video_file, tmp_path):
    text = tmp_path / "notes.mp4"
    text.write_text("not a video")
    with pytest.raises(tempme_jax.VideoError, match="notes.mp4: not a video"):
        model.embed_video([video_file[0], text])
    with pytest.raises(tempme_jax.VideoError, match="nowhere.mp4: no such file"):
        model.embed_video("nowhere.mp4")


@pytest.mark.parametrize("wrong", [3, None, [3.5], [{}]])
def test_what_is_neither_path_nor_frames(model, wrong):
    reason = "a video must be a path, bytes, a file open for reading, or frames, uint8 .* is none"
    with pytest.raises(TypeError, match=reason):
        model.embed_video(wrong)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((4, 8, 8, 3), np.float32), r"not float32 \[4, 8, 8, 3\].*go to embed_pixels"),
        (np.zeros((8, 8, 3), np.uint8), r"not uint8 \[8, 8, 3\]"),
        (np.zeros((4, 3, 8, 8), np.uint8), r"not uint8 \[4, 3, 8, 8\]"),
        (np.zeros((0, 8, 8, 3), np.uint8), r"\[1, 0, 8, 8, 3\] hold no pixel"),
    ],
)
def test_wrong_frames(model, frames, message):
    with pytest.raises(ValueError, match=message):
        model.embed_video(frames)


def normalised(frames):
    mean = np.array([0.48145466, 0.4578275, 0.40821073])
    std = np.array([0.26862954, 0.26130258, 0.27577711])
    return ((frames / 255 - mean) / std).astype(np.float32)


def test_pixels_are_frames_normalised(model, videos):
    frames = np.resize(videos, (1, FRAMES, 64, 64, 3))
    assert_same(model.embed_pixels(normalised(frames)), model.embed_video(frames), 1e-5)


@pytest.mark.parametrize("content", [0, 7, -1e30, 1e30, np.inf, np.nan])
def test_masked_frames_may_hold_anything(model, pixels, content):
    mask = np.array([[True, False, True, False]])
    other = np.where(mask[:, :, None, None, None], pixels, np.float32(content))
    vector = model.embed_pixels(pixels, mask)
    assert_unit_vectors(vector, 1)
    np.testing.assert_array_equal(model.embed_pixels(other, mask), vector)


def test_no_real_frame_gives_zeros(model, pixels):
    vector = model.embed_pixels(pixels * np.nan, np.zeros((1, FRAMES), bool))
    np.testing.assert_array_equal(vector, np.zeros((1, ARCH.embed_dim), np.float32))


@pytest.mark.parametrize(
    ("shape", "dtype", "value", "message"),
    [
        ((1, 4, 64, 64, 3), np.uint8, 0, r"not uint8 \[1, 4, 64, 64, 3\].*go to embed_video"),
        ((1, 4, 64, 64, 3), np.float64, 0, r"must be float32 .*not float64"),
        ((4, 64, 64, 3), np.float32, 0, r"\[b, 4, 64, 64, 3\].*not float32 \[4, 64, 64, 3\]"),
        ((1, 3, 64, 64, 3), np.float32, 0, r"not float32 \[1, 3, 64, 64, 3\]"),
        ((1, 4, 3, 64, 64), np.float32, 0, r"not float32 \[1, 4, 3, 64, 64\]"),
        ((1, 4, 64, 64, 3), np.float32, 255, r"normalised.*not 255.0 .. 255.0"),
        ((1, 4, 64, 64, 3), np.float32, np.nan, r"normalised.*not nan .. nan"),
        ((1, 4, 64, 64, 3), np.float32, -np.inf, r"normalised.*not -inf .. -inf"),
    ],
)
def test_wrong_pixels(model, shape, dtype, value, message):
    with pytest.raises(ValueError, match=message):
        model.embed_pixels(np.full(shape, value, dtype))


@pytest.mark.parametrize(
    ("mask", "given"),
    [
        (np.ones((1, FRAMES), np.int32), r"int32 \[1, 4\]"),
        (np.ones((1, 3), bool), r"bool \[1, 3\]"),
        (np.ones(FRAMES, bool), r"bool \[4\]"),
    ],
)
def test_wrong_frame_mask(model, pixels, mask, given):
    with pytest.raises(ValueError, match=rf"frame_mask must be bool \[1, 4\].*not {given}"):
        model.embed_pixels(pixels, mask)


def test_texts_give_unit_vectors(model):
    three = model.embed_text(["a cat", "a dog jumps", ""])
    assert_unit_vectors(three, 3)
    assert_same(model.embed_text("a cat"), three[:1])
    assert_same(model.embed_text(["a dog jumps", ""]), three[1:])
    assert model.embed_text([]).shape == (0, ARCH.embed_dim)
    assert_same(model.embed_tokens(IDS), three[:1])


def test_the_mask_of_a_text_says_what_its_end_says(model):
    vector = model.embed_tokens(IDS)
    assert_same(model.embed_tokens(IDS, IDS > 0), vector)
    assert_same(model.embed_tokens(IDS, np.ones(IDS.shape, bool)), vector)
    other = np.where(IDS > 0, IDS, 7)
    assert_same(model.embed_tokens(other, IDS > 0), vector)
    assert_same(model.embed_tokens(other.tolist()), vector)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (IDS + 1, r"lie in 0..49407, the model's vocabulary, not 1..49408"),
        (-IDS, r"not -49407..0"),
        (IDS.astype(np.float32), r"whole numbers \[b, 1..77\], not float32 \[1, 8\]"),
        (IDS[0], r"not int64 \[8\]"),
        (np.zeros((1, 78), np.int32), r"not int32 \[1, 78\]"),
        (np.zeros((1, 0), np.int32), r"not int32 \[1, 0\]"),
    ],
)
def test_wrong_ids(model, ids, message):
    with pytest.raises(ValueError, match=message):
        model.embed_tokens(ids)


@pytest.mark.parametrize("mask", [np.ones((1, 8), np.int32), np.ones((1, 7), bool)])
def test_wrong_mask_of_ids(model, mask):
    with pytest.raises(ValueError, match=r"mask must be bool \[1, 8\].*not (int32|bool)"):
        model.embed_tokens(IDS, mask)


def test_texts_need_a_vocabulary_with_all_bytes(model):
    arch = tempme_jax.Architecture(**TOY, vocab_size=513)
    small = tempme_jax.Model(model.network.copy(arch=arch), {}, "clip", FRAMES, 8)
    with pytest.raises(ValueError, match="vocab_size=513 has no room .* are 514 ids"):
        small.embed_text("a cat")


def test_similarity_by_hand(model):
    rng = np.random.default_rng(2)
    text, video = rng.normal(size=(3, 16)), rng.normal(size=(2, 16))
    cosine = [[t @ v / np.linalg.norm(t) / np.linalg.norm(v) for v in video] for t in text]
    ours = model.similarity(text.astype(np.float32), video.astype(np.float32))
    assert isinstance(ours, np.ndarray)
    assert ours.dtype == np.float32
    assert_same(ours, np.array(cosine) / 0.07, 1e-5)  # CLIP's temperature before training


def with_params_of(model, dtype):
    """A model made anew, but for its parameters."""
    options = {"num_frames": FRAMES, "max_words": 8, "options": {}}
    arch = dataclasses.replace(ARCH)
    made = building.assemble(arch, method="tempme", dtype=dtype, **options)
    return dataclasses.replace(made, params=model.params)


def test_a_second_model_is_not_traced_again(model, pixels):
    first = model.embed_pixels(pixels)
    traced = encoding.encode_pixels._cache_size()
    second = with_params_of(model, "float32")
    assert second.network is not model.network
    np.testing.assert_array_equal(second.embed_pixels(pixels), first)
    assert encoding.encode_pixels._cache_size() == traced


def test_bfloat16_is_near(model, pixels):
    half = with_params_of(model, "bfloat16")
    with jax.numpy_dtype_promotion("standard"):  # Flax's layer norm needs it
        video, text = half.embed_pixels(pixels), half.embed_tokens(IDS)
    assert_unit_vectors(video, 1)
    assert 0.98 < (video * model.embed_pixels(pixels)).sum() < 1 - 1e-6
    assert (text * model.embed_tokens(IDS)).sum() > 0.98
    tower = half.folded[1]["params"]["video"]
    assert tower["block_0"]["mlp"]["fc"]["kernel"].dtype == "bfloat16"
    assert tower["projection"].dtype == "float32"


def test_a_model_computes_where_it_is_put(model):
    last = jax.devices()[-1]
    moved = model.to(f"cpu:{len(jax.devices()) - 1}")
    assert (moved.device, model.device) == (last, jax.devices()[0])
    assert_same(moved.embed_tokens(IDS), model.embed_tokens(IDS))
    [kernel] = {a.devices().pop() for a in jax.tree.leaves(moved.folded[1])}
    assert kernel == last == model.to(last).device
    assert (
        model.to(dtype=jax.numpy.bfloat16).dtype == model.to(dtype="bfloat16").dtype == "bfloat16"
    )
    assert model.dtype == np.float32


@pytest.mark.parametrize(
    ("given", "error", "reason"),
    [
        ({"device": "cpu:9"}, ValueError, "there is no device 'cpu:9' .*; there are: cpu:0"),
        ({"device": "cpu:-1"}, ValueError, "there is no device 'cpu:-1' in this process"),
        ({"device": ""}, ValueError, "there is no device '' in this process"),
        ({"device": "gpus"}, ValueError, "there is no device 'gpus' in this process"),
        ({"device": 0}, TypeError, 'device must be a name such as "cpu" or "gpu:1", .* not int'),
        ({"dtype": np.float16}, ValueError, "unknown dtype: 'float16' .*: bfloat16, float32"),
        ({"dtype": 3}, ValueError, "unknown dtype: '3'"),
    ],
)
def test_devices_and_dtypes_that_are_not_there(model, given, error, reason):
    with pytest.raises(error, match=reason):
        model.to(**given)
    with pytest.raises(error, match=reason):
        tempme_jax.load("tiny-clip", **given)


def test_no_compilation_cache_where_there_is_no_home(monkeypatch, tmp_path):
    enabled = jax.config.jax_enable_compilation_cache
    folder = jax.config.jax_compilation_cache_dir
    (tmp_path / "file").touch()
    try:
        jax.config.update("jax_enable_compilation_cache", True)
        jax.config.update("jax_compilation_cache_dir", None)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        use_persistent_cache()
        assert jax.config.jax_compilation_cache_dir is None
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        use_persistent_cache()
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "cache/tempme_jax/compiled")
    finally:
        jax.config.update("jax_enable_compilation_cache", enabled)
        jax.config.update("jax_compilation_cache_dir", folder)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "temme"}, r"unknown method: 'temme' \(did you mean 'tempme' or .*there are: "),
        ({"arch": "ViT-B32"}, r"unknown backbone: 'ViT-B32' \(did you mean 'ViT-B/32' or "),
        ({"dtype": "bfloat"}, r"unknown dtype: 'bfloat' \(did you mean 'bfloat16' or "),
        ({"widht": 32}, r"unknown size of an architecture: 'widht' \(did you mean 'width' or "),
        ({"method_options": {"grups": (2,)}}, r"'grups' \(did you mean 'groups'\?\)"),
        ({"method": "clip", "method_options": {"rank": 4}}, r"'rank'; there are: none"),
        ({"heads": 3}, r"cannot divide width by heads: 64 by 3"),
        (
            {"activation": "relu"},
            r"unknown activation: 'relu' .* there are: gelu, gelu_pytorch_tanh, quick_gelu",
        ),
        ({"num_frames": 0}, r"num_frames=0 must be a whole number of 1 or more"),
        ({"max_words": 2}, r"max_words=2 must be a whole number from 3 to "),  # start, word, end
        ({"max_words": 1, "tokenizer": "bert"}, r"max_words=1 must be a whole number from 2 to "),
    ],
)
def test_unknown_names_and_sizes(given, message):
    with pytest.raises(ValueError, match=message):
        tempme_jax.create(**{"arch": ARCH, "num_frames": FRAMES} | given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": (3,), "groups": (3,)}, r"block 3 .* groups of 3.* does not divide the 4 clips"),
        ({"layers": (3, 2), "groups": (2, 2)}, r"layers=\(3, 2\) .* in ascending order"),
        ({"layers": (2, 4), "groups": (2, 2)}, r"layers=\(2, 4\) must lie in 0..3"),
        ({"layers": (2,), "groups": (2, 2)}, r"must be of one length"),
        ({"keep_cross": 1.5}, r"keep_cross=1.5 must be in \(0, 1\]"),
        ({"keep_intra": 0.0}, r"keep_intra=0.0 must be in \(0, 1\]"),
        ({"keep_intra": -0.1}, r"keep_intra=-0.1 must be in \(0, 1\]"),
        ({"r": 9}, r"r=9 is too large for block 0: 17 tokens .*, 1 of them .* in 0..8"),
        (
            {"r": 7, "layers": (3,), "groups": (4,)},
            r"r=7 is too large for block 1: 10 tokens .* at most 4 .* in 0..4",
        ),
        ({"rank": 0}, r"rank=0 must be a whole number of 1 or more"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        tempme_jax.create(ARCH, num_frames=FRAMES, method_options=options)
