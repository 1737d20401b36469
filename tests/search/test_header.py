"""An index knows the model that made it by its weights and settings, and refuses any other."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
import toy_index

import tempme_jax
from tempme_jax.fingerprint import describe_model, hash_parameters
from tempme_jax.model import Drawn
from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.header import (
    check_header,
    describe_source,
    list_differences,
    make_header,
    open_model,
    refuse_other_method,
    refuse_other_model,
    refuse_other_sampling,
)
from tempme_jax.video.windows import Sampling

SAMPLING = Sampling(frames=toy_index.FRAMES)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "model.safetensors"
    toy_index.make_model().save(file)
    return file


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A plain CLIP, of which a method learns more than the file holds."""
    file = tmp_path_factory.mktemp("weights") / "clip.safetensors"
    toy_index.make_model("clip").save(file)
    return file


def load_adapted(plain, **options):
    given = {"method": "tempme", "num_frames": 4, "method_options": toy_index.OPTIONS["tempme"]}
    return tempme_jax.load(plain, **given | options)


def header(file):
    model = tempme_jax.load(file)
    return json.loads(json.dumps(make_header(model, describe_source(file), SAMPLING)))


def alter_scale(model, by):
    """The same model with another scale."""
    params = jax.tree_util.tree_map_with_path(
        lambda path, array: by(array) if path[-1].key == "logit_scale" else array, model.params
    )
    return dataclasses.replace(model, params=params)


def test_the_same_file_is_the_same_model(file):
    first, second = tempme_jax.load(file), tempme_jax.load(file)
    assert hash_parameters(first) == hash_parameters(second)
    assert describe_model(first) == describe_model(second)
    assert list_differences(describe_model(first), describe_model(second)) == []
    assert len(hash_parameters(first)) == 64


def test_other_weights_are_another_model(file):
    model = tempme_jax.load(file)
    nearly = alter_scale(model, lambda array: np.nextafter(np.float32(array), np.float32(99)))
    others = [toy_index.make_model(seed=1), toy_index.make_model("clip"), nearly]
    assert len({hash_parameters(one) for one in (model, *others)}) == 4


def test_what_was_drawn_counts_by_its_seed(plain):
    """Not by its bits, in which the draws of two kinds of devices differ."""
    model, again, other = load_adapted(plain), load_adapted(plain), load_adapted(plain, seed=1)
    assert model.drawn.paths and model.drawn.seed == 0
    assert hash_parameters(model) == hash_parameters(again) != hash_parameters(other)
    paths = model.drawn.paths

    def nudge(path, array):
        keys = tuple(part.key for part in path)
        return array + np.float32(1e-7) if keys in paths else array

    params = jax.tree_util.tree_map_with_path(nudge, model.params)
    nearly = dataclasses.replace(model, params=params)
    assert hash_parameters(nearly) == hash_parameters(model)
    trained = dataclasses.replace(nearly, drawn=Drawn())
    assert hash_parameters(trained) not in (hash_parameters(model), hash_parameters(other))


def test_options_of_the_method_count(plain):
    model = load_adapted(plain)
    options = toy_index.OPTIONS["tempme"] | {"r": 0}
    found = list_differences(
        describe_model(model), describe_model(load_adapted(plain, method_options=options))
    )
    assert found == ["r 1, not 0"]
    other = dataclasses.replace(model, num_frames=8, max_words=16)
    assert list_differences(describe_model(model), describe_model(other)) == [
        "max_words 32, not 16",
        "num_frames 4, not 8",
    ]


def test_settings_that_only_one_version_knows_do_not_count(file):
    made = describe_model(tempme_jax.load(file))
    older = {**made, "options": {**made["options"], "forgotten": 1}, "old": 2}
    assert list_differences(older, made) == []


def test_a_header_is_of_jsons_types_and_opens_its_model_again(file, monkeypatch, tmp_path):
    monkeypatch.chdir(file.parent)
    made = make_header(
        tempme_jax.load(file.name), describe_source(file.name, method=None), SAMPLING
    )
    assert json.loads(json.dumps(made)) == made
    assert made["source"] == {"source": str(file)}
    assert made["sampling"] == {"frames": 4, "fps": 1.0, "overlap": 0.5}
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(
        open_model(made, "index").embed_text("a cat"), toy_index.make_model().embed_text("a cat")
    )


def test_sources(file, tmp_path, monkeypatch):
    assert describe_source("openai/clip-vit-base-patch32") == {
        "source": "openai/clip-vit-base-patch32"
    }
    assert describe_source("tiny-clip", method="clip", num_frames=None) == {
        "source": "tiny-clip", "method": "clip",
    }  # fmt: skip
    (tmp_path / "link").symlink_to(file)
    assert describe_source(tmp_path / "link") == {"source": str(file)}


def test_other_models_are_refused_with_what_differs(file, tmp_path):
    made = header(file)
    copy = shutil.copy(file, tmp_path / "copy.safetensors")
    refuse_other_model(
        made, tempme_jax.load(copy), "index"
    )  # the same weights from elsewhere will do
    with pytest.raises(VideoIndexError) as caught:
        refuse_other_model(made, toy_index.make_model(seed=1), "index")
    assert str(caught.value) == (
        "the index index was built with another model (other weights). Vectors from different "
        f"models cannot be compared. Use the model that it was built with ({file}), or rebuild it: "
        "`tempme index FOLDER --rebuild --model MODEL`"
    )
    with pytest.raises(VideoIndexError, match="method tempme, not clip, other weights"):
        refuse_other_model(made, toy_index.make_model("clip"), "index")


def test_weights_that_changed_in_their_place_are_refused(tmp_path):
    file = tmp_path / "model.safetensors"
    toy_index.make_model().save(file)
    made = header(file)
    file.unlink()
    toy_index.make_model(seed=1).save(file)
    with pytest.raises(VideoIndexError, match="other weights"):
        open_model(made, "index")
    file.unlink()
    with pytest.raises(VideoIndexError, match="cannot be opened: .*--model") as caught:
        open_model(made, "index")
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    with pytest.raises(VideoIndexError, match="a program passed"):
        open_model(made | {"source": {}}, "index")


def test_other_windows_and_methods_are_refused(file):
    made = header(file)
    refuse_other_sampling(made, SAMPLING, "index")
    with pytest.raises(VideoIndexError, match="not of 4 at 0.5 with 0.5; .* --rebuild"):
        refuse_other_sampling(made, dataclasses.replace(SAMPLING, fps=0.5), "index")
    refuse_other_method(made, None, "index")
    refuse_other_method(made, "tempme", "index")
    with pytest.raises(VideoIndexError, match="with method tempme, not lora; .* --rebuild"):
        refuse_other_method(made, "lora", "index")


def test_a_saved_model_is_the_same(plain, tmp_path):
    model = load_adapted(plain)
    assert model.drawn.paths
    model.save(tmp_path / "model.safetensors")
    loaded = tempme_jax.load(tmp_path / "model.safetensors")
    assert loaded.drawn == model.drawn
    assert hash_parameters(loaded) == hash_parameters(model)


HEADER = {
    "source": {},
    "model": {"method": "clip", "num_frames": 1, "weights": "", "later": []},
    "sampling": {"frames": 1, "fps": 1.0, "overlap": 0.5},
    "later": 1,
}


def test_a_header_with_fields_of_later_versions_is_taken():
    check_header(HEADER, "index")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"source": None}, "source=None must be an object"),
        ({"model": []}, "model=.. must be an object"),
        ({"model": {"method": "clip"}}, "the field model.num_frames is missing"),
        ({"sampling": HEADER["sampling"] | {"fps": "1"}}, "sampling.fps='1' must be a number"),
    ],
)
def test_wrong_fields_are_named(changed, message):
    with pytest.raises(VideoIndexError, match=f"index index is damaged: {message}"):
        check_header(HEADER | changed, "index")
