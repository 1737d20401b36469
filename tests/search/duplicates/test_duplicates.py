"""Videos and moments that show the same are found, those that only resemble each other are not."""

import json
import os
import types
from pathlib import Path

import click.testing
import numpy as np
import pytest

from tempme_jax.cli import main
from tempme_jax.search import state
from tempme_jax.search.duplicates import pairs
from tempme_jax.search.duplicates.groups import find_duplicates
from tempme_jax.search.store import sidefile, sidewriter
from tempme_jax.search.store.rows import FileRow, Vectors, WindowRow, make_window_id
from tempme_jax.search.store.store import Store

WIDTH, HOP = 24, 6.0


def make_reader(videos, *, copies=()):
    """A stand-in of an index: for each name the vectors of a video's windows, which overlap."""
    names = sorted(videos)
    counts = [len(videos[name]) for name in names]
    starts = np.concatenate([HOP * np.arange(count) for count in counts])
    vectors = Vectors(
        ids=[], contents=np.repeat(np.arange(len(names)), counts), names=names, starts=starts,
        ends=starts + 2 * HOP, matrix=np.concatenate([videos[name] for name in names]),
    )  # fmt: skip
    files = {name: name for name in names} | dict(copies)
    rows = [
        FileRow(
            file, "/videos", os.fsencode(file), 10, 1, content, HOP * (len(videos[content]) + 1),
            len(videos[content]),
        )
        for file, content in files.items()
    ]  # fmt: skip
    return types.SimpleNamespace(
        uri="/videos/.tempme", read_vectors=lambda: vectors, read_files=lambda: rows
    )


@pytest.fixture
def draw():
    """Draws unit vectors, float32 [n, WIDTH], or others near to given ones."""
    random = np.random.default_rng(7)

    def draw(count, *, near=None, noise=0.02):
        vectors = random.normal(size=(count, WIDTH)) if near is None else near
        if near is not None:
            vectors = near + noise * random.normal(size=near.shape)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    return draw


@pytest.fixture(params=[3, 4096], ids=["in small blocks", "at once"])
def blocks(request, monkeypatch):
    monkeypatch.setattr(pairs, "WINDOWS_A_BLOCK", request.param)
    monkeypatch.setattr(pairs, "COSINES_AT_ONCE", 4 * request.param)


def test_groups_of_videos(draw, blocks):
    film, other = draw(20), draw(6)
    videos = {
        "film": film, "small": draw(0, near=film), "cut": draw(0, near=film[5:10]), "other": other,
        "another": draw(6), "one": draw(1), "broken": np.full((2, WIDTH), np.nan, np.float32),
    }  # fmt: skip
    reader = make_reader(videos, copies={"cut2": "cut", "other2": "other"})
    found = find_duplicates(reader, 0.98, None)
    groups = [
        [(one.file.name, one.kind, one.start, one.end) for one in group] for group in found.groups
    ]
    assert groups == [
        [
            ("film", "first", 0, 126), ("small", "same", 0, 126), ("cut", "part", 30, 66),
            ("cut2", "part", 30, 66),
        ],
        [("other", "first", 0, 42), ("other2", "copy", 0, 42)],
    ]  # fmt: skip
    assert all(0.98 <= one.score <= 1 for group in found.groups for one in group)
    assert (found.shared, found.searched, found.notice) == ((), 9, "")
    assert json.loads(json.dumps(found.convert_to_json()))["groups"][0][0]["file"] == "/videos/film"


def test_moments_that_several_videos_share(draw, blocks):
    intro = draw(3)
    videos = {
        name: np.concatenate([draw(before), draw(0, near=intro), draw(8)])
        for name, before in [("a", 4), ("b", 0), ("c", 2)]
    }
    found = find_duplicates(make_reader(videos), 0.98, None)
    assert found.groups == () and len(found.shared) == 1
    spans = {one.file.name: (one.start, one.end) for one in found.shared[0]}
    assert spans == {"a": (24, 48), "b": (0, 24), "c": (12, 36)}


def test_a_group_holds_only_what_is_like_its_first(draw):
    """No chain of videos, each like the next, joins the first with the last."""
    first = draw(8)
    second = draw(0, near=first, noise=0.03)
    third = draw(0, near=second, noise=0.03)
    cosines = [np.vecdot(first, each).min() for each in (second, third)]
    threshold = float(np.mean(cosines))
    assert cosines[1] < threshold < cosines[0]
    long = np.concatenate([first, draw(1)])
    reader = make_reader({"a": long, "b": second, "c": third})
    names = [[each.file.name for each in group] for group in
             find_duplicates(reader, threshold, None).groups]  # fmt: skip
    assert names == [["a", "b"]]


def test_all_that_is_alike_takes_one_group(draw, blocks):
    still = draw(1)
    videos = {f"{number:03d}": np.repeat(still, 4, axis=0) for number in range(40)}
    found = find_duplicates(make_reader(videos), 0.98, None)
    assert [len(group) for group in found.groups] == [40] and found.shared == ()


def test_none_and_one_and_a_threshold_that_cannot_be():
    none = np.zeros(0)
    empty = types.SimpleNamespace(
        uri="/a/.tempme", read_files=lambda: [],
        read_vectors=lambda: Vectors([], none.astype(int), [], none, none, np.zeros((0, 4))),
    )  # fmt: skip
    assert find_duplicates(empty, 0.98, None).searched == 0
    with pytest.raises(ValueError, match="at most 1"):
        find_duplicates(empty, 1.5, None)


@pytest.fixture
def store(tmp_path, draw):
    """An index on the disk: a film, a copy of its bytes, one in another size, and others."""
    film = draw(70)
    videos = {"aa": film, "bb": draw(0, near=film), "cc": draw(9), "dd": draw(70)}
    store = Store.create(tmp_path / "index", {}, ["a"] * 25, draw(25))
    files = {"film.mp4": "aa", "copy.mp4": "aa", "\x1b[31msmall.mp4": "bb", "c": "cc", "d": "dd"}
    windows = [
        WindowRow(make_window_id(name, i), name, HOP * i, HOP * i + 12, vector, b"x")
        for name, vectors in videos.items()
        for i, vector in enumerate(vectors)
    ]
    rows = [
        FileRow(f"{number:024x}", "..", file.encode(), 9, 9, name, 430.0, len(videos[name]))
        for number, (file, name) in enumerate(files.items())
    ]
    store.commit(windows, rows)
    return store


def test_of_a_large_index_as_of_a_small_one(store, monkeypatch):
    expected = find_duplicates(store, 0.98, None)
    assert [one.kind for one in expected.groups[0]] == ["first", "copy", "same"]
    monkeypatch.setattr(sidewriter, "EXACT_WINDOWS", 100)
    assert sidefile.write_side_file(store)
    side = sidefile.read_side_file(store.uri)
    assert side.is_large
    assert find_duplicates(side, 0.98, None).groups == expected.groups


def test_the_command(store, monkeypatch):
    place = Path(store.uri).parent
    monkeypatch.setattr("tempme_jax.commands.duplicates.find_place", lambda *_: (store.uri, None))
    monkeypatch.setattr(state, "IndexState", lambda *_, **__: types.SimpleNamespace(reader=store))
    run = click.testing.CliRunner().invoke(main, ["duplicates", str(place)])
    assert run.exit_code == 0, run.output
    assert "equal bytes" in run.stdout and "looks alike from start to end" in run.stdout
    assert "1 by their bytes, 1 by their looks" in run.stdout and "\x1b" not in run.stdout
    listed = click.testing.CliRunner().invoke(main, ["duplicates", "--json"])
    assert json.loads(listed.stdout)["groups"][0][0]["file"] == str(place / "copy.mp4")
    one = click.testing.CliRunner().invoke(main, ["duplicates", "--threshold", "1"])
    assert "1 by their bytes, 0 by their looks" in one.stdout
