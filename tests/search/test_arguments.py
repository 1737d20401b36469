"""Wrong arguments of `VideoIndex` are told in words, and what it answers can be passed on."""

import json
from pathlib import Path

import numpy as np
import pytest
import toy_index

import tempme_jax
from tempme_jax.search.index import VideoIndex
from tempme_jax.search.query.filters import check_options
from tempme_jax.search.query.results import convert_from_json


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = toy_index.write_films(tmp_path_factory.mktemp("videos"), {"a.mp4": "1", "b.mp4": "2"})
    with pytest.MonkeyPatch.context() as patch:
        toy_index.decode_here(patch)
        return toy_index.make_toy_index(folder)


@pytest.mark.parametrize(
    ("ask", "error", "reason"),
    [
        (lambda i: i.search(3), TypeError, "query must be a sentence or a list .*, not int; sear"),
        (lambda i: i.search(["a", 3]), TypeError, "query number 2 must be .* not int"),
        (lambda i: i.search(Path("a.jpg")), TypeError, "not PosixPath; search_image and search_c"),
        (lambda i: i.search(b"a cat"), TypeError, "not bytes"),
        (lambda i: i.search(" "), ValueError, "the text is empty; describe what"),
        (lambda i: i.search(["a", ""]), ValueError, "the text number 2 is empty"),
        (lambda i: i.search("a", "5"), TypeError, "k='5' must be a whole number, of 1 or more"),
        (lambda i: i.search("a", 2.5), TypeError, "k=2.5 must be a whole number"),
        (lambda i: i.search("a", 0), ValueError, "k=0 must be a whole number of 1 or more"),
        (lambda i: i.search("a", limit=3), TypeError, "no argument 'limit'; there are: "),
        (lambda i: i.search("a", floder="x"), TypeError, r"'floder' \(did you mean 'folder'"),
        (lambda i: i.search("a", folder=3), TypeError, "folder must be a path: str or os."),
        (lambda i: i.search("a", min_seconds="1"), TypeError, "min_seconds='1' must be a number"),
        (lambda i: i.search("a", name=["x"]), TypeError, "name must be text, not list"),
        (lambda i: i.search("a", per_video=0), ValueError, "per_video=0 must be a whole"),
        (lambda i: i.search("a", rerank=-1), ValueError, "rerank=-1 must be a whole number of 0"),
        (lambda i: i.search_image(3), TypeError, "a picture must be .*; int is none"),
        (lambda i: i.search_image("a.jpg", k=None), TypeError, "k=None must be a whole number"),
        (lambda i: i.search_clip(np.zeros(3)), TypeError, "video must be a path: .*, not ndarray"),
        (lambda i: i.similar(3), TypeError, "window must be text, not int"),
        (lambda i: i.add(3), TypeError, "folder must be a path: .*, not int"),
        (lambda i: i.add(".", exclude="*.tmp"), TypeError, r"list of patterns, such as \['\*.tmp"),
        (lambda i: i.add(".", workers="2"), TypeError, "workers='2' must be a whole number"),
        (lambda i: i.add(".", shard="0/4"), TypeError, r"shard='0/4' must be two .* \(0, 4\)"),
        (lambda i: i.add(".", budget="1h"), TypeError, "budget='1h' must be a number of seconds"),
        (lambda _: VideoIndex(3), TypeError, "path must be a path: .*, not int"),
        (lambda _: VideoIndex(".", model=3), TypeError, "model must be a Model, or .*, not int"),
    ],
)  # fmt: skip
def test_wrong_arguments(index, ask, error, reason):
    with pytest.raises(error, match=reason):
        ask(index)


def test_numbers_of_numpy_are_numbers(index):
    assert len(index.search("a cat", np.int64(1), min_seconds=np.float32(0)).moments) == 1
    check_options("search", np.int32(2), {"per_video": np.int64(1)})


def test_windows_of_a_wrong_kind(tmp_path):
    toy_index.write_films(tmp_path, {"a.mp4": "1"})
    for given in ({"fps": "2"}, {"overlap": True}):
        with pytest.raises(TypeError, match=r"(fps='2'|overlap=True) must be a number"):
            VideoIndex(tmp_path, model=toy_index.make_model(), **given).add(tmp_path, quiet=True)


def test_many_queries_at_once(index):
    texts = ["a cat", "a dog jumps", "a cat"]
    found = index.search(texts, 1)
    assert [one.query for one in found] == texts
    assert found[0] == found[2]
    [alone] = index.search(("a dog jumps",), 1)
    assert alone.moments[0].window == found[1].moments[0].window
    assert abs(alone.moments[0].score - found[1].moments[0].score) < 1e-6
    assert index.search([]) == []


def test_results_as_dicts(index):
    found = index.search("a cat")
    told = found.as_dict()
    assert convert_from_json(json.loads(json.dumps(told))) == convert_from_json(told)
    assert told["moments"][0] == found.moments[0].as_dict()
    assert told["moments"][0]["file"] == str(found.moments[0].file)
    assert isinstance(told["moments"], list) and told["query"] == "a cat"


def test_what_an_index_looks_like(index, tmp_path):
    shown = repr(index)
    assert shown.startswith(f"VideoIndex({index.uri!r}, 2 windows, method 'tempme' of ")
    assert repr(VideoIndex(tmp_path)) == f"VideoIndex({str(tmp_path)!r}, no index yet)"
    assert isinstance(index, tempme_jax.VideoIndex)
