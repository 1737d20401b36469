"""A process that is killed between any two writes of an index leaves one that a run heals."""

import itertools
import shutil

import pytest
import toy_index
from toy_index import list_files, list_windows, make_toy_index, write_films

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.index import VideoIndex
from tempme_jax.search.indexing import run
from tempme_jax.search.store import checksums, tables

pytestmark = pytest.mark.slow

SOME = {"a.mp4": "1", "b.mp4": "2", "copy of b.mp4": "2", "long.mp4": "long"}


class KilledError(BaseException):
    """As if the process were killed."""


@pytest.fixture(autouse=True)
def done(monkeypatch):
    monkeypatch.setattr(run, "WINDOWS_A_COMMIT", 1)
    return toy_index.decode_here(monkeypatch)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        toy_index.decode_here(patch)
        folder = write_films(tmp_path_factory.mktemp("made"), SOME)
        make_toy_index(folder)
        return folder


def open_index(folder):
    return VideoIndex(folder, model=toy_index.make_model())


def read_state(index):
    good = {row.content for row in list_files(index).values()}
    windows = list_windows(index).items()
    return list_files(index), {name: row for name, row in windows if name[:32] in good}


def kill_at(monkeypatch, number, work):
    """Do some work, and kill it at the write of this number; return whether it came that far."""
    calls = itertools.count(1)

    def wrap(owner, name):
        original = getattr(owner, name)

        def write(*arguments, **options):
            if next(calls) == number:
                raise KilledError
            result = original(*arguments, **options)
            if next(calls) == number:
                raise KilledError
            return result

        monkeypatch.setattr(owner, name, write)

    with monkeypatch.context() as monkeypatch:
        for owner, name in (
            (tables.Tables, "write"), (tables.Tables, "_overwrite"),
            (checksums.Checksums, "note"), (checksums.Checksums, "prune"),
        ):  # fmt: skip
            wrap(owner, name)
        try:
            work()
        except KilledError:
            return True
    return False


def damage(folder):
    """Damage windows behind the back of the index, and change one of the files."""
    index = open_index(folder)
    rows = list_files(index)
    table = index.store._tables.windows
    where = f"content = '{rows['b.mp4'].content}'"
    [vector] = [row.vector for row in index.store.scan() if row.content == rows["b.mp4"].content]
    table.update(where=where, values={"vector": [float(value) for value in vector[::-1]]})
    table.delete(f"id = '{rows['long.mp4'].content}-00003'")
    index.store._tables.note("windows")
    write_films(folder, {"a.mp4": "3"})
    return VideoIndex(folder, model=toy_index.make_model())


@pytest.mark.parametrize("checks_again", [False, True])
def test_verify(made, tmp_path, monkeypatch, checks_again):
    films = write_films(tmp_path / "whole", SOME | {"a.mp4": "3"})
    whole = read_state(make_toy_index(films))
    for number in itertools.count(1):
        folder = shutil.copytree(made, tmp_path / str(number))
        index = damage(folder)
        killed = kill_at(monkeypatch, number, lambda index=index: index.verify(quiet=True))
        index = open_index(folder)
        if checks_again:
            index.verify(quiet=True)
        index.add(folder, quiet=True)
        if number == 1 and not checks_again:  # nothing has been repaired yet
            continue
        assert index.verify(repair=False, quiet=True).problems == [], number
        assert read_state(index) == whole, number
        if not killed:
            break
    assert number > 6


def test_forget(made, tmp_path, monkeypatch):
    for number in itertools.count(1):
        folder = shutil.copytree(made, tmp_path / str(number))
        other = write_films(tmp_path / f"other{number}", {"c.mp4": "3", "copy.mp4": "2"})
        index = open_index(folder)
        before = read_state(index)
        index.add(other, quiet=True)
        killed = kill_at(monkeypatch, number, lambda index=index, other=other: index.forget(other))
        index = open_index(folder)
        if killed:
            try:
                index.forget(other)
            except VideoIndexError as error:  # it was all done before
                assert "is not in the index" in str(error)
        assert read_state(index) == before, number
        assert list_windows(index).keys() == before[1].keys()
        if not killed:
            break
    assert number > 4


def test_index(made, tmp_path, monkeypatch):
    """With new, changed, moved and removed files, and tables that are put together."""
    monkeypatch.setattr("tempme_jax.search.store.lance.FEW_PARTS", 1)
    monkeypatch.setattr("tempme_jax.search.store.lance.MANY_PARTS", 2)
    monkeypatch.setattr(run, "COMMITS_BETWEEN_TIDYING", 2)
    whole = None
    for number in itertools.count(1):
        folder = shutil.copytree(made, tmp_path / str(number))
        write_films(folder, {"a.mp4": "3", "new.mp4": "4"})
        (folder / "long.mp4").rename(folder / "moved.mp4")
        (folder / "copy of b.mp4").unlink()
        index = open_index(folder)
        killed = kill_at(
            monkeypatch, number, lambda index=index, folder=folder: index.add(folder, quiet=True)
        )
        index = open_index(folder)
        index.add(folder, quiet=True)
        whole = whole or read_state(make_toy_index(shutil.copytree(
            folder, tmp_path / "whole", ignore=shutil.ignore_patterns(".tempme")
        )))  # fmt: skip
        assert index.verify(repair=False, quiet=True).problems == [], number
        assert read_state(index) == whole, number
        if not killed:
            break
    assert number > 6
