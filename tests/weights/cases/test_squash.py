"""Frames are squashed for models that were trained so, wherever they are read."""

import dataclasses
import json

import numpy as np
import pytest
import toy_run
from PIL import Image
from random_weights import TOY, make_random_params, write_weights
from video_files import encode, make_listed_set, make_video_entry

from tempme_jax.building import create
from tempme_jax.datasets.prepare import prepare
from tempme_jax.datasets.prepared import Prepared, decode_jpeg
from tempme_jax.datasets.records import PreparationError
from tempme_jax.fingerprint import describe_model
from tempme_jax.loading import load
from tempme_jax.networks.architecture import RESIZES
from tempme_jax.networks.clip import Clip
from tempme_jax.search.header import list_differences
from tempme_jax.search.index import VideoIndex
from tempme_jax.training.model import build_model
from tempme_jax.training.run import run
from tempme_jax.training.splits import require_same_resize
from tempme_jax.training.workdir import check_workdir
from tempme_jax.video.frames import read_frames
from tempme_jax.video.pixels import SQUARES, make_square
from tempme_jax.visualize.merged import trace
from tempme_jax.weights.files import load_weights

SMALL = dataclasses.replace(TOY, depth=1)
FRAMES = 4


def paint(edge):
    """A frame, twice as wide as high, black in the middle, which is all that a crop leaves."""
    frame = np.zeros((64, 128, 3), np.uint8)
    frame[:, :32] = frame[:, 96:] = edge
    return frame


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A folder with films that differ at their edges only."""
    folder = tmp_path_factory.mktemp("films")
    for name, edge in (("white.mp4", (255, 255, 255)), ("blue.mp4", (0, 0, 255))):
        encode(folder / name, [paint(edge)] * 10)
    return folder


@pytest.fixture(scope="module")
def models():
    sizes = {n: v for n, v in dataclasses.asdict(SMALL).items() if n not in ("resize", "tokenizer")}
    return {
        resize: create(
            **sizes | {"resize": resize, "vocab_size": 600}, method="clip", num_frames=FRAMES
        )
        for resize in RESIZES
    }


def test_both_sides_are_resized():
    assert tuple(SQUARES) == RESIZES
    frames = np.random.default_rng(0).integers(0, 256, (2, 20, 50, 3), np.uint8)
    expected = [Image.fromarray(f).resize((32, 32), Image.Resampling.BICUBIC) for f in frames]
    np.testing.assert_array_equal(make_square(frames, 32, "squash"), np.stack(expected))
    with pytest.raises(ValueError, match="unknown resize: 'squish'"):
        make_square(frames, 32, "squish")


def test_files_and_frames_are_embedded_alike(films, models):
    whole = read_frames(films / "white.mp4", FRAMES)
    for resize, model in models.items():
        vectors = model.embed_video(films / "white.mp4")
        np.testing.assert_array_equal(model.embed_video(whole), vectors)
        square = make_square(whole, 32, resize)
        np.testing.assert_array_equal(model.embed_video(square), vectors)
        assert (square.mean() > 100) == (resize != "crop")
        drawn = trace(model, films / "white.mp4")
        np.testing.assert_array_equal(drawn.frames, square)
        np.testing.assert_array_equal(trace(model, whole).frames, square)


def test_an_index_and_its_queries_read_frames_as_the_model_does(films, models, tmp_path):
    Image.fromarray(paint((0, 0, 255))).save(tmp_path / "blue.png")
    index = VideoIndex(tmp_path / "index", model=models["squash"])
    index.add(films, quiet=True)
    for found in (index.search_image(tmp_path / "blue.png"), index.search_clip(films / "blue.mp4")):
        scores = {moment.file.name: moment.score for moment in found.moments}
        assert scores["blue.mp4"] > 0.99
        assert scores["white.mp4"] < scores["blue.mp4"] - 0.01


def test_another_resize_is_another_model(models):
    crop, squash = (describe_model(models[resize]) for resize in ("crop", "squash"))
    assert "resize" in " ".join(list_differences(crop, squash))


OPEN_CLIP = {"vision_cfg": {"width": 64}, "text_cfg": {"heads": 1}}
HEADS = {"num_attention_heads": 1}
CLIP = {"vision_config": HEADS, "text_config": HEADS}


@pytest.mark.parametrize(
    ("layout", "configs", "resize"),
    [
        ("openai", {"open_clip_config": {"preprocess_cfg": {"resize_mode": "squash"}}}, "squash"),
        ("openai", {"open_clip_config": {"preprocess_cfg": {"resize_mode": "shortest"}}}, "crop"),
        ("huggingface", {"preprocessor_config": {"size": {"height": 32, "width": 32}}}, "squash"),
        ("huggingface", {"preprocessor_config": {"size": [32, 32]}}, "squash"),
        (
            "huggingface",
            {"preprocessor_config": {"size": {"height": 32, "width": 32}, "do_center_crop": False}},
            "squash",
        ),
        ("huggingface", {"preprocessor_config": {"size": {"shortest_edge": 32}}}, "crop"),
        (
            "openai",  # that of the library that wrote the arrays counts
            {
                "open_clip_config": {"preprocess_cfg": {"resize_mode": "squash"}},
                "preprocessor_config": {"size": 32},
            },
            "squash",
        ),
    ],
)
def test_configs_say_how_frames_are_resized(layout, configs, resize, tmp_path, caplog):
    write_weights(tmp_path / "model.safetensors", make_random_params(Clip(SMALL)), layout)
    for name, content in configs.items():
        if name == "open_clip_config":
            content = {"model_cfg": OPEN_CLIP} | content
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    assert load_weights(tmp_path).arch.resize == resize
    told = "preprocessor_config.json: resize is crop, which does not count"
    assert (told in caplog.text) == (len(configs) == 2)
    model = load(tmp_path, method="clip", num_frames=2)
    model.save(tmp_path / "saved.safetensors")
    assert load_weights(tmp_path / "saved.safetensors").arch.resize == resize


def test_prepared_frames_have_a_place_of_their_own(films, tmp_path):
    entry, places, means = make_video_entry(films / "white.mp4"), [], []
    for resize in RESIZES:
        builder = make_listed_set(tmp_path, train=[entry])
        storage = dataclasses.replace(builder.storage, resize=resize)
        builder = type(builder)(data_dir=tmp_path, root=tmp_path, config=storage)
        builder.SPLITS, builder.listed = ("train",), {"train": [entry]}
        prepare(builder, quiet=True, workers=1)
        places.append(builder.data_dir)
        means.append(decode_jpeg(Prepared(builder.data_dir, "train")[0][0][0]).mean())
    assert places[0] != places[1]
    assert means[0] < 50 < 100 < means[1]


def test_a_run_refuses_frames_of_another_resize(tmp_path_factory, tmp_path):
    home = toy_run.make_home(tmp_path_factory)
    config = toy_run.make_config(home, method="clip")
    sizes = config.model.architecture | {"resize": "squash"}
    config = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, architecture=sizes),
        data=dataclasses.replace(config.data, prepared=str(tmp_path / "frames")),
    )
    with pytest.raises(PreparationError, match=r"give --config\.data\.resize=squash"):
        run(config, tmp_path / "run", evaluate_only=True)
    assert not list(tmp_path.iterdir())  # before anything is prepared
    model = build_model(config.model, 0)
    require_same_resize(dataclasses.replace(config.data, resize="squash"), model)
    with pytest.raises(ValueError, match="resize"):
        toy_run.make_config(home, {"data.resize": "stretch"})


def test_a_workdir_from_before_the_setting_is_the_same(tmp_path):
    config = toy_run.make_config(tmp_path)
    settings = config.to_json()
    del settings["data"]["resize"]
    (tmp_path / "config.json").write_text(json.dumps(settings))
    (tmp_path / "results.json").write_text("{}")
    check_workdir(tmp_path, config)
    other = dataclasses.replace(config, data=dataclasses.replace(config.data, resize="squash"))
    with pytest.raises(ValueError, match="data.resize was 'crop', is 'squash'"):
        check_workdir(tmp_path, other)
