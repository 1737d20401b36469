"""The side file holds what the tables hold, of their newest state only, and nothing forgotten."""

import os
from pathlib import Path

import numpy as np
import pytest

from tempme_jax.search.opening import make_searcher
from tempme_jax.search.query.results import convert_to_json
from tempme_jax.search.store.rows import FileRow, WindowRow, make_window_id
from tempme_jax.search.store.sidefile import NAME, is_newest, read_side_file, write_side_file
from tempme_jax.search.store.store import Store

NAMES = {"aa": b"a\xff.mp4", "bb": b"b.mp4"}


def make_rows(content, count=3):
    rng = np.random.default_rng(int(content, 16))
    vectors = rng.standard_normal((count, 4), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    windows = [
        WindowRow(make_window_id(content, i), content, 0.1 * i, 0.1 * i + 1, vectors[i], b"jpeg")
        for i in range(count)
    ]
    root = os.fsdecode(b"/videos\xfe")
    file = FileRow(content * 12, root, NAMES.get(content, b"c.mp4"), 9, 8, content, 2.5, count)
    return windows, file


@pytest.fixture
def store(tmp_path):
    texts = ["one", "two"]
    store = Store.create(tmp_path / "index", {"about": "it"}, texts, np.eye(2, 4, dtype="f4"))
    for content in NAMES:
        windows, file = make_rows(content)
        store.commit(windows, [file])
    assert write_side_file(store)
    return store


def test_it_holds_what_the_tables_hold(store):
    side = read_side_file(store.uri)
    assert (side.header, side.unrelated[0]) == (store.header, store.unrelated[0])
    assert np.array_equal(side.unrelated[1], store.unrelated[1])
    assert side.read_files() == store.read_files() and side.count_windows() == 6
    ours, theirs = side.read_vectors(), store.read_vectors()
    assert (ours.ids, ours.names) == (theirs.ids, theirs.names)
    for name in ("contents", "starts", "ends", "matrix"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name
    query = np.eye(4, dtype=np.float32)[0]
    found = [convert_to_json(make_searcher(one)[1].search(query, k=9)) for one in (side, store)]
    assert found[0] == found[1] and len(found[0]["moments"]) > 1


def test_another_state_is_not_taken_for_the_newest(store):
    side = read_side_file(store.uri)
    assert is_newest(side)
    windows, file = make_rows("cc")
    store.commit(windows, [file])
    assert not is_newest(side) and read_side_file(store.uri) is None
    assert write_side_file(store)
    assert read_side_file(store.uri).count_windows() == 9 and side.count_windows() == 6


@pytest.mark.parametrize("where", [20, -100, -1])
def test_a_damaged_one_is_not_read(store, where):
    path = os.path.join(store.uri, NAME)
    with open(path, "r+b") as file:
        data = bytearray(file.read())
        data[where] ^= 1
        file.seek(0)
        file.write(data)
    assert read_side_file(store.uri) is None
    with open(path, "wb") as file:
        file.write(data[:50])
    assert read_side_file(store.uri) is None
    os.unlink(path)
    assert read_side_file(store.uri) is None and write_side_file(store)


def test_what_is_forgotten_is_not_in_it(store):
    store.forget(["aa" * 12])
    assert not os.path.exists(os.path.join(store.uri, NAME))
    assert write_side_file(store)
    data = (Path(store.uri) / NAME).read_bytes()
    assert NAMES["aa"].hex().encode() not in data and NAMES["bb"].hex().encode() in data
    assert read_side_file(store.uri).count_windows() == 3


def test_damaged_tables_say_so(store):
    """Also to who would not need them."""
    [*_, newest] = sorted(os.listdir(os.path.join(store.uri, "files.lance", "data")))
    path = os.path.join(store.uri, "files.lance", "data", newest)
    os.truncate(path, os.path.getsize(path) - 1)
    assert read_side_file(store.uri) is None
