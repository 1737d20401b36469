"""The side file of a large index: coded vectors lead to the exact ones, and damage is found."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tempme_jax.search import opening
from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.query.searcher import Searcher
from tempme_jax.search.state import IndexState
from tempme_jax.search.store import sidefile, sidewriter
from tempme_jax.search.store.coded import ROWS_A_CHECKSUM, Coder
from tempme_jax.search.store.rows import FileRow, WindowRow, make_window_id
from tempme_jax.search.store.store import Store

WIDTH, VIDEOS, WINDOWS = 32, 30, 7


def make_vectors(seed, *shape):
    vectors = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def make_rows(number, count=WINDOWS):
    """A file and its windows."""
    content = f"{7919 * number % 256:02x}{number:04x}"  # in another order than they are stored
    vectors = make_vectors(number, count, WIDTH)
    windows = [
        WindowRow(make_window_id(content, i), content, 6.0 * i, 6.0 * i + 12, vector, b"x")
        for i, vector in enumerate(vectors)
    ]
    path = f"{'even' if number % 2 == 0 else 'odd'}/{number:02d}.mp4".encode()
    return windows, FileRow(f"{number:024x}", "..", path, 1, 1, content, 60.0, count)


def make_searcher(reader):
    rows = reader.read_files()
    return Searcher(reader, rows, {row.id: Path("/v") / row.path.decode() for row in rows})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An index of more windows than are compared in memory, and its side file."""
    store = Store.create(
        tmp_path_factory.mktemp("made"), {}, ["a"] * 25, make_vectors(99, 25, WIDTH)
    )
    for start in range(0, VIDEOS, 10):
        parts = [make_rows(number) for number in range(start, start + 10)]
        store.commit([row for windows, _ in parts for row in windows], [file for _, file in parts])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sidewriter, "EXACT_WINDOWS", 100)
        assert sidefile.write_side_file(store)
    return store


@pytest.fixture
def place(made, tmp_path):
    shutil.copytree(made.uri, tmp_path / "index")
    return tmp_path / "index"


def test_the_moments_are_those_of_a_search_in_memory(made):
    side = sidefile.read_side_file(made.uri)
    assert side is not None and side.is_large
    coded, exact = make_searcher(side), make_searcher(made)
    for query in make_vectors(100, 10, WIDTH):
        for filters in ({}, {"k": 40}, {"k": 3, "folder": "/v/odd"}, {"exclude_content": "0000"}):
            found, expected = (one.search(query, **filters) for one in (coded, exact))
            assert found.moments and len(found.moments) == len(expected.moments)
            for one, other in zip(found.moments, expected.moments, strict=True):
                assert (one.window, one.start, one.end) == (other.window, other.start, other.end)
                assert one.score == pytest.approx(other.score, abs=1e-6)
                assert one.percentile == other.percentile
    window = expected.moments[0].window
    found, expected = (one.search_similar(window) for one in (coded, exact))
    assert [one.window for one in found.moments] == [one.window for one in expected.moments]
    for kind in ("text", "video"):
        found, expected = (one.measure_unrelated(kind).scores for one in (coded, exact))
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert coded.find_window("0000-00099") is coded.find_window("ffff-00000") is None


def test_all_that_was_stored_is_there(made):
    side = sidefile.read_side_file(made.uri)
    assert side is not None
    found, expected = side.read_vectors(), made.read_vectors()
    assert (found.ids, found.names) == (expected.ids, expected.names)
    for name in ("contents", "starts", "ends", "matrix"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert side.read_files() == made.read_files()
    rows = np.array([200, 3, 64, 127, 209, 3])
    np.testing.assert_array_equal(side.coded.read(rows), expected.matrix[rows])


def test_codes_are_off_by_half_a_step():
    vectors = make_vectors(1, 1000, WIDTH) * np.linspace(0.1, 5, WIDTH, dtype=np.float32) + 3
    vectors[:, 0] = 0.5  # the same everywhere
    coder = Coder(vectors.min(axis=0), vectors.max(axis=0))
    middle = (vectors.min(axis=0) + vectors.max(axis=0)) / 2
    error = np.abs(coder.encode(vectors) * coder.steps + middle - vectors)
    assert (error <= 0.501 * coder.steps + 1e-6).all()


def test_videos_that_are_too_long_are_not_read_whole(made, monkeypatch):
    monkeypatch.setattr("tempme_jax.search.query.coded_candidates.WINDOWS_AT_MOST", 20)
    searcher = make_searcher(sidefile.read_side_file(made.uri))
    allowed = np.ones(VIDEOS, bool)
    found = searcher._candidates.score_windows(make_vectors(5, WIDTH), allowed, 4)
    # Two contents for a moment: both are whole.
    assert len(found.ids) == 2 * WINDOWS and not found.complete
    found = searcher._candidates.score_windows(make_vectors(5, WIDTH), allowed, 4 * 20)
    assert len(found.ids) == 8 * WINDOWS
    monkeypatch.setattr("tempme_jax.search.query.coded_candidates.WINDOWS_AT_MOST", 8)
    found = searcher._candidates.score_windows(make_vectors(5, WIDTH), allowed, 4)
    assert len(found.ids) == WINDOWS + 4
    query = make_vectors(5, WIDTH)
    expected = make_searcher(made).search(query, k=12).moments
    assert [one.window for one in searcher.search(query, k=12).moments] == [
        one.window for one in expected
    ]


def test_of_equal_videos_the_first_by_path_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(sidewriter, "EXACT_WINDOWS", 0)
    store = Store.create(tmp_path, {}, ["a"], make_vectors(99, 1, WIDTH))
    parts = [make_rows(number, 1) for number in range(VIDEOS)]
    same = [windows[0]._replace(vector=make_vectors(3, WIDTH)) for windows, _ in parts]
    store.commit(same, [file for _, file in parts])
    assert sidefile.write_side_file(store)
    side = sidefile.read_side_file(str(tmp_path))
    found = make_searcher(side).search(make_vectors(3, WIDTH), k=2).moments
    assert [str(one.file) for one in found] == ["/v/even/00.mp4", "/v/even/02.mp4"]


def test_a_vector_that_changed_is_never_compared(place, monkeypatch):
    path = place / sidefile.NAME
    data = bytearray(path.read_bytes())
    place_of_vectors = 8 + int.from_bytes(data[:8], "little")
    data[place_of_vectors + 4 * WIDTH * ROWS_A_CHECKSUM + 3] ^= 64
    path.write_bytes(data)
    side = sidefile.read_side_file(str(place))
    assert side is not None
    searcher = make_searcher(side)
    with monkeypatch.context() as patch:

        def refuse(*_, **__):
            raise PermissionError(13, "Permission denied")

        patch.setattr("pathlib.Path.unlink", refuse)
        with pytest.raises(VideoIndexError, match="Permission denied.*Remove it, and search again"):
            searcher.search(make_vectors(5, WIDTH), k=40)
    with pytest.raises(VideoIndexError, match="has changed since it was written.*Search again"):
        searcher.search(make_vectors(5, WIDTH), k=40)
    assert not sidefile.is_newest(side)
    assert sidefile.read_side_file(str(place)) is None
    # Without it the tables are searched.
    assert make_searcher(Store.open(place)).search(make_vectors(5, WIDTH)).moments


def test_other_damage_is_found_when_it_is_opened(place):
    path = place / sidefile.NAME
    data = path.read_bytes()
    vectors = 4 * VIDEOS * WINDOWS * WIDTH
    start = 8 + int.from_bytes(data[:8], "little")
    for at in (3, 40, start + vectors + 1, len(data) - 1):
        damaged = bytearray(data)
        damaged[at] ^= 1
        path.write_bytes(damaged)
        assert sidefile.read_side_file(str(place)) is None
    path.write_bytes(data[:-1])
    assert sidefile.read_side_file(str(place)) is None
    path.write_bytes(data)
    assert sidefile.read_side_file(str(place)) is not None


def test_what_is_damaged_or_missing_is_not_copied(place, monkeypatch):
    monkeypatch.setattr(sidewriter, "EXACT_WINDOWS", 100)
    store = Store.open(place)
    windows, file = make_rows(40)
    store.commit(windows[1:], [file])  # one is missing
    assert not sidefile.write_side_file(store)
    store.remove_files([file.id])
    assert sidefile.write_side_file(store)
    windows, file = make_rows(41)
    windows[2].vector[3] = np.inf
    store.commit(windows, [file])
    assert not sidefile.write_side_file(store)
    assert sidefile.read_side_file(str(place)) is None


def test_it_is_written_only_if_nobody_writes_to_the_index(place, monkeypatch):
    store, other = Store.open(place), Store.open(place)
    windows, file = make_rows(50)
    scan = store.scan_vectors

    def scan_late():
        yield from scan()
        other.commit(windows, [file])

    store.commit(*[[one] if i else one for i, one in enumerate(make_rows(51))])
    monkeypatch.setattr(store, "scan_vectors", scan_late)
    assert not sidefile.write_side_file(store)
    assert sidefile.read_side_file(str(place)) is None
    assert [path.name for path in place.glob(f".{sidefile.NAME}*")] == []


def test_nothing_that_was_forgotten_stays(place):
    (place / f".{sidefile.NAME}.12345").write_bytes(b"of a process that was killed")
    store = Store.open(place)
    store.forget([make_rows(0)[1].id])
    assert list(place.glob(f"*{sidefile.NAME}*")) == []
    assert sidefile.write_side_file(store)
    names = sidefile.read_side_file(str(place)).names
    assert len(names) == VIDEOS - 1 and "000000" not in names


def test_an_open_index_leaves_a_side_file_that_is_old_and_takes_a_new_one(place, monkeypatch):
    monkeypatch.setattr(opening, "check_header", lambda header, uri: None)
    monkeypatch.setattr(sidewriter, "EXACT_WINDOWS", 100)
    state, store = IndexState(str(place), anew=False), Store.open(place)
    assert isinstance(state.reader, sidefile.SideFile)
    assert len(state.get_searcher().files) == VIDEOS
    windows, file = make_rows(60)
    store.commit(windows, [file])
    state.refresh()
    assert isinstance(state.reader, Store) and len(state.get_searcher().files) == VIDEOS + 1
    assert sidefile.write_side_file(store)
    state.refresh()
    assert isinstance(state.reader, sidefile.SideFile)
    assert len(state.get_searcher().files) == VIDEOS + 1
    data = bytearray((place / sidefile.NAME).read_bytes())
    data[9 + int.from_bytes(data[:8], "little")] ^= 1  # of the first vector
    (place / sidefile.NAME).write_bytes(data)
    state.finish_writing(anew=True)
    assert len(state.get_searcher().search(make_vectors(5, WIDTH), k=60).moments) > VIDEOS
