"""A damaged index says so or finds what it found before; it returns to its last whole state."""

import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from tempme_jax.search import opening
from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.opening import DamagedIndexWarning, make_searcher, open_store
from tempme_jax.search.store import columns, failures, recovery
from tempme_jax.search.store.checksums import list_versions
from tempme_jax.search.store.rows import FileRow, WindowRow, make_window_id
from tempme_jax.search.store.store import Store

WIDTH = 8
QUERY = np.eye(WIDTH, dtype=np.float32)[0]
CONTENTS = ("aa", "bb", "cc", "dd")
HEADER = {
    "source": {},
    "model": {"method": "clip", "num_frames": 1, "weights": ""},
    "sampling": {"frames": 1, "fps": 1.0, "overlap": 0.5},
}


def make_vectors(seed, count):
    vectors = np.random.default_rng(seed).standard_normal((count, WIDTH)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make_windows(content, count=3):
    return [
        WindowRow(
            make_window_id(content, i), content, 4.0 * i, 4.0 * i + 8, vector, b"\xff\xd8" * 9
        )
        for i, vector in enumerate(make_vectors(int(content, 16), count))
    ]


def make_file(content):
    return FileRow(content, "/v", content.encode() + b".mp4", 5, 7, content, 16.0, 3)


def commit(store, content):
    store.commit(make_windows(content), [make_file(content)])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An index of several commits, of which one was removed."""
    folder = tmp_path_factory.mktemp("made") / "index"
    store = Store.create(folder, HEADER, ["a"] * 30, make_vectors(1, 30))
    for content in CONTENTS:
        commit(store, content)
    store.remove_files(["dd"])
    store.remove_contents(["dd"])
    return folder


@pytest.fixture
def place(made, tmp_path):
    return shutil.copytree(made, tmp_path / "index")


def read_all(place):
    """All that can be asked of an index; an error where it says that it is damaged."""
    store = Store.open(place)
    _, searcher = make_searcher(store)
    found = searcher.search(QUERY, k=20)
    if found.notice:
        raise VideoIndexError(found.notice)
    thumbnails = [
        store.read_thumbnail(f"{content}-0000{i}") for content in CONTENTS for i in (0, 2)
    ]
    scores = searcher.measure_unrelated("video").scores.tolist()
    return found, thumbnails, store.header, store.read_files(), scores


def list_files(place):
    return sorted(path for path in Path(place).rglob("*") if path.is_file())


def flip(path, rng):
    """Change some bytes of a file."""
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 1, 1, 8])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def flip_and_read(made, place, number):
    """The outcome of one change: "" if all is found as before, else the error."""
    rng = random.Random(number)
    files = [path.relative_to(made) for path in list_files(made) if path.stat().st_size]
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(made, place)
    changed = files[number % len(files)]
    flip(place / changed, rng)
    try:
        assert read_all(place) == read_all(made), f"{changed} ({number})"
    except VideoIndexError as error:
        return str(error)
    return ""


def test_a_flipped_bit_is_found_or_does_no_harm(made, tmp_path):
    outcomes = [flip_and_read(made, tmp_path / "index", number) for number in range(24)]
    assert sum(map(bool, outcomes)) >= 5
    assert all("`tempme index" in outcome for outcome in filter(None, outcomes))


@pytest.mark.slow
def test_thousands_of_flipped_bits(made, tmp_path):
    for number in range(3000):
        flip_and_read(made, tmp_path / "index", number)


@pytest.mark.parametrize("damage", ["empty", "zero"])
def test_every_file_in_turn(made, tmp_path, damage):
    """An error or all that was there; opened by `tempme index`, the last whole state."""
    whole = read_all(made)
    for path in list_files(made):
        if damage == "zero" and path.parent.name not in ("_versions", "data"):
            continue
        place = tmp_path / "index"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(made, place)
        file, size = place / path.relative_to(made), path.stat().st_size
        with file.open("r+b") as opened:
            opened.truncate(0)
            opened.truncate(size if damage == "zero" else 0)
        try:
            assert read_all(place) == whole, path
        except VideoIndexError as error:
            assert "damaged" in str(error) or "cannot be read" in str(error)


def test_the_newest_version_is_cut_by_a_power_cut(place):
    """The index returns to the state before, and goes on from there."""
    store = Store.open(place)
    commit(store, "ee")
    versions = list_versions(place, "files")
    newest = max(versions)
    versions[newest].write_bytes(b"")
    with pytest.raises(VideoIndexError, match=r"is damaged \(files.lance/_versions/"):
        Store.open(place)
    with pytest.warns(DamagedIndexWarning, match="was damaged .* last whole state"):
        again = open_store(str(place))
    assert [row.id for row in again.read_files()] == ["aa", "bb", "cc"]
    assert again._tables.files.version > newest  # so that readers notice
    assert list(again.read_contents()) == ["aa", "bb", "cc", "ee"]  # not embedded again
    again.prepare(alone=True)
    again.commit([], [make_file("ee")])
    assert [row.id for row in open_store(str(place)).read_files()] == ["aa", "bb", "cc", "ee"]
    assert not make_searcher(again)[1].damage


def test_what_is_committed_is_forced_to_the_disk(place, monkeypatch):
    store, synced = Store.open(place), []
    before = set(list_files(place))
    monkeypatch.setattr("tempme_jax.search.store.checksums.sync_to_disk", synced.append)
    commit(store, "ee")
    new = [path for path in set(list_files(place)) - before if path.suffix != ".txn"]
    assert len(new) == 4  # of both tables, data and version
    assert set(new) | {path.parent for path in new} | {place / "checksums"} <= set(synced)


def test_windows_that_are_lost_are_embedded_again(place):
    store = Store.open(place)
    before = set((place / "windows.lance" / "data").iterdir())
    commit(store, "ee")
    [new] = set((place / "windows.lance" / "data").iterdir()) - before
    os.truncate(new, 100)
    with pytest.warns(DamagedIndexWarning):
        again = open_store(str(place))
    assert "ee" not in again.read_contents()
    assert make_searcher(again)[1].damage.startswith("1 video cannot be found")
    again.prepare(alone=True)
    assert [row.id for row in again.read_files()] == ["aa", "bb", "cc"]


def test_a_version_that_is_gone(place):
    versions = list_versions(place, "windows")
    versions[max(versions)].unlink()
    with pytest.raises(VideoIndexError, match=r"version \d+ of windows is missing"):
        Store.open(place)
    with pytest.warns(DamagedIndexWarning):
        assert "dd" in open_store(str(place)).read_contents()
    assert open_store(str(place)).uri == str(place)


def test_what_cannot_be_recovered_is_to_be_rebuilt(place):
    for path in (place / "header.lance" / "data").iterdir():
        path.write_bytes(b"")
    with pytest.raises(VideoIndexError, match="no earlier state of it is left; rebuild it with"):
        open_store(str(place))


def test_an_index_that_only_cannot_be_read_now_is_left_alone(place, monkeypatch):
    """Such as on a network drive that is not there."""
    before = {path: path.read_bytes() for path in list_files(place)}

    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("tempme_jax.search.store.checksums.compute_file_checksum", fail)
    with pytest.raises(VideoIndexError, match="Input/output error; check whether its disk or"):
        open_store(str(place))
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_damaged_index_is_not_repaired_while_another_run_writes(place):
    versions = list_versions(place, "files")
    versions[max(versions)].write_bytes(b"")
    with opening.lock_index(place), pytest.raises(VideoIndexError, match="is being written by"):
        open_store(str(place))


def test_an_index_of_an_earlier_version_gets_checksums(tmp_path, monkeypatch):
    import lancedb
    import pyarrow as pa

    place = tmp_path / "index"
    connection, texts = lancedb.connect(place), make_vectors(1, 30)
    unrelated = {"text": ["a"] * 30, "vector": columns.make_vector_column(texts)}
    connection.create_table("unrelated", pa.table(unrelated))
    old = pa.schema([columns.FILES.field(name) for name in FileRow._fields[:10]])
    rows = columns.make_files_table([make_file("aa"), make_file("bb")], {})
    rows = rows.select(old.names).replace_schema_metadata({"made": "0123"})
    connection.create_table("files", rows)
    windows = columns.make_windows_table(make_windows("aa") + make_windows("bb"), WIDTH)
    connection.create_table("windows", windows)
    connection.create_table("header", pa.table({"json": [json.dumps(HEADER | {"format": 1})]}))

    store = open_store(str(place))
    found = make_searcher(store)[1].search(QUERY)
    assert store.header == HEADER | {"format": 1} and store.read_checksums() == {}
    store.prepare(alone=True)
    for again in (store, open_store(str(place))):
        assert again.read_checksums().keys() == {"aa", "bb"}
        assert again.header == HEADER | {"format": 2}
        assert make_searcher(again)[1].search(QUERY) == found
    for number in range(6):
        flip_and_read(place, tmp_path / "changed", number)
    commit(store, "cc")
    assert len(open_store(str(place)).read_files()) == 3


class PanicException(BaseException):
    """As LanceDB's: no Exception."""


def test_a_panic_of_the_database_is_an_error(place):
    with pytest.raises(VideoIndexError, match="cannot be read: out of range; if it is damaged"):
        with failures.explain_read_errors(place):
            raise PanicException("out of range")
    with pytest.raises(VideoIndexError, match="cannot be written: out of range; nothing"):
        with failures.explain_write_errors(place, "nothing was made"):
            raise PanicException("out of range")
    for stop in (KeyboardInterrupt, SystemExit):
        with pytest.raises(stop), failures.explain_read_errors(place):
            raise stop
    assert recovery.recover(place) == []
