"""The text tower alone gives the vectors of the model, as long as its files are the same."""

import os

import numpy as np
import pytest
import toy_index

import tempme_jax
from tempme_jax import text_encoder
from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.index import VideoIndex
from tempme_jax.search.indexing.run import refuse_rebuilt

TEXTS = ["a red circle", "two cats &amp; a dog, in the rain", ""]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of this test alone, which is on."""
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tempme_jax" / "text"


@pytest.fixture(scope="module")
def model():
    made = toy_index.make_model(seed=7)  # of this test alone
    flat = made.params["text"]["block_0"]["attn"]["qkv"]
    flat["lora_b"] = np.full(flat["lora_b"].shape, 0.1, np.float32)  # so that folding matters
    return made


@pytest.fixture
def file(model, tmp_path):
    model.save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_it_embeds_as_the_model(cache, model, file):
    source = {"source": str(file)}
    assert text_encoder.find(source) is None
    assert text_encoder.keep(model, source, {"about": "it"})
    found = text_encoder.find(source)
    assert found.description == {"about": "it"}
    assert np.allclose(found.embed_text(TEXTS), model.embed_text(TEXTS), atol=1e-6)
    assert found.embed_text("a cat").shape == (1, 16)
    [entry] = cache.iterdir()
    assert entry.stat().st_size < 100_000  # without the parameters, which the file holds
    assert text_encoder.find(source | {"num_frames": 8}) is None


def test_a_changed_file_is_not_taken_for_the_old_one(cache, model, file, monkeypatch):
    source = {"source": str(file)}
    assert text_encoder.keep(model, source, {})
    os.utime(file, ns=(1, 1))
    assert text_encoder.find(source) is None
    assert text_encoder.keep(model, source, {}) and text_encoder.find(source)
    [entry] = cache.iterdir()
    data = bytearray(entry.read_bytes())
    data[-50] ^= 1
    entry.write_bytes(data)
    assert text_encoder.find(source) is None
    entry.write_bytes(b"")
    assert text_encoder.find(source) is None
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "0")
    assert not text_encoder.keep(model, source, {}) and text_encoder.find(source) is None


def test_a_folder_of_the_name_of_a_built_in_model(cache, tmp_path, monkeypatch):
    """A name means a folder here, if there is one."""
    entry = text_encoder.Entry(
        files=[text_encoder.describe_file(__file__)], description={}, tokenizer=[], names=[]
    )
    monkeypatch.chdir(tmp_path)
    assert text_encoder.is_current(entry, "owner/name")
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert not text_encoder.is_current(entry, "owner/name")
    assert text_encoder.is_current(entry, os.path.dirname(__file__))


def test_parameters_that_the_file_holds_otherwise_are_kept():
    stored = {"half": np.ones((2, 70), np.float16), "other": np.zeros((2, 70), np.float32)}
    changed = np.zeros((2, 70), np.float32)
    changed[-1, -1] = 1
    params = [np.ones((2, 70), np.float32), changed, np.zeros((70, 2), np.float32)]
    assert text_encoder.name_arrays(params, stored) == ["half", "", ""]


def test_the_rows_of_a_few_words():
    table = np.arange(20.0, dtype=np.float32).reshape(10, 2)
    rows, places = text_encoder.pick_words(table, np.array([[7, 3, 9, 0, 0]]))
    assert np.array_equal(rows[places], table[[[7, 3, 9, 0, 0]]])
    assert places.argmax() == 2 and rows.shape == (5, 2)


def test_a_search_opens_the_text_tower_alone(cache, file, tmp_path, monkeypatch):
    """From the second search on; an index of another model refuses it."""
    toy_index.decode_here(monkeypatch)
    folder = toy_index.write_films(tmp_path / "videos", {"a.mp4": "1", "b.mp4": "long"})
    index = VideoIndex(folder, model=file)
    index.add(folder, quiet=True)
    first = VideoIndex(folder).search("a red circle")
    again = VideoIndex(folder)
    assert again.search("a red circle").moments == first.moments
    assert "model" not in vars(again)
    expected = index.search("a red circle").moments
    assert [one.window for one in first.moments] == [one.window for one in expected]
    assert np.allclose([m.score for m in first.moments], [m.score for m in expected], atol=1e-6)
    other = tmp_path / "other.safetensors"
    toy_index.make_model(seed=1).save(other)
    text_encoder.keep(tempme_jax.load(other), {"source": str(file)}, {"weights": "others"})
    assert VideoIndex(folder).search("a red circle").moments == first.moments  # by the model
    text_encoder.keep(tempme_jax.load(other), {"source": str(file)}, {"weights": "others"})
    other.replace(file)
    with pytest.raises(VideoIndexError, match="other weights"):
        VideoIndex(folder).search("a red circle")


def test_an_open_index_that_is_rebuilt_with_another_model(cache, file, tmp_path, monkeypatch):
    """Neither its searches nor its runs go on with the model that was there before."""
    toy_index.decode_here(monkeypatch)
    folder = toy_index.write_films(tmp_path / "videos", {"a.mp4": "1", "b.mp4": "long"})
    VideoIndex(folder, model=file).add(folder, quiet=True)
    whole, quick, late, writer = (VideoIndex(folder) for _ in range(4))
    assert whole.model and whole.search("a cat") and quick.search("a cat")
    assert late.model and writer.model
    other = tmp_path / "other.safetensors"
    toy_index.make_model(seed=1).save(other)
    VideoIndex(folder, model=other, anew=True).add(folder, quiet=True)
    with pytest.raises(VideoIndexError, match="was rebuilt by another process"):
        refuse_rebuilt(VideoIndex(folder).store, whole.header)
    toy_index.write_films(folder, {"c.mp4": "2"})
    writer.add(folder, quiet=True)
    whole.refresh()
    quick.refresh()
    expected = [
        (one.file.name, pytest.approx(one.score, abs=1e-6))
        for one in VideoIndex(folder, model=tempme_jax.load(other)).search("a cat").moments
    ]
    for index in (whole, quick, late):
        found = index.search("a cat").moments
        assert [(one.file.name, one.score) for one in found] == expected
    VideoIndex(folder, model=other, anew=True).add(folder, quiet=True)
    again = VideoIndex(folder, model=other).search("a cat").moments
    assert [(one.file.name, one.score) for one in again] == expected
