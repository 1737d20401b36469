"""A check of an index finds what is wrong with it; what it takes out is embedded anew."""

import shutil

import numpy as np
import pytest
import toy_index
from toy_index import list_decoded, list_files, list_windows, make_toy_index, write_films

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.index import VideoIndex
from tempme_jax.search.store import locking
from tempme_jax.search.store.rows import WindowRow

SOME = {"a.mp4": "1", "b.mp4": "2", "copy of b.mp4": "2", "long.mp4": "long"}


@pytest.fixture(autouse=True)
def done(monkeypatch):
    return toy_index.decode_here(monkeypatch)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with an index, to be copied."""
    with pytest.MonkeyPatch.context() as patch:
        toy_index.decode_here(patch)
        folder = write_films(tmp_path_factory.mktemp("made"), SOME)
        make_toy_index(folder)
        return folder


@pytest.fixture
def index(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "videos")  # with the times of the files
    return VideoIndex(folder, model=toy_index.make_model())


@pytest.fixture
def folder(index, tmp_path):
    return tmp_path / "videos"


@pytest.fixture
def whole(index):
    return list_files(index), list_windows(index)


def find_content(index, name):
    return list_files(index)[name].content


def list_problems(found):
    return dict(found.problems)


def check(index, **expected):
    """What is found without repair, which changes nothing, and with it."""
    before = list_files(index), [row[:4] for row in index.store.scan()]
    found = index.verify(repair=False, quiet=True)
    assert (list_files(index), [row[:4] for row in index.store.scan()]) == before
    assert not found.repaired
    again = index.verify(quiet=True)
    assert (again.problems, again.leftovers) == (found.problems, found.leftovers)
    assert again.repaired
    return found


def assert_healed(index, folder, whole, done, expected):
    """The next run decodes the `expected` videos, after which all is as it was."""
    assert index.verify(quiet=True).is_clean
    done.clear()
    index.add(folder, quiet=True)
    assert list_decoded(done) == expected
    assert (list_files(index), list_windows(index)) == whole
    assert index.verify(repair=False, quiet=True).leftovers == 0


def damage(index, name, change):
    """Changes the windows of a file behind the back of the index."""
    table, content = index.store._windows, find_content(index, name)
    rows = [row for row in index.store.scan() if row.content == content]
    change(table, content, rows)


def test_nothing_is_wrong(index, whole):
    found = check(index)
    assert found.is_clean
    assert (found.files, found.windows, found.leftovers, found.folders) == (4, 9, 0, [])
    assert found.summary == "4 files and 9 windows checked: no problems"
    assert (list_files(index), list_windows(index)) == whole


def test_a_damaged_vector(index, folder, whole, done):
    def change(table, content, rows):
        vector = [float(value) for value in rows[0].vector[::-1]]
        table.update(where=f"content = '{content}'", values={"vector": vector})

    damage(index, "b.mp4", change)
    found = check(index)
    what = "a vector or thumbnail has changed since it was stored (checksum)"
    assert list_problems(found) == {"b.mp4": what, "copy of b.mp4": what}
    assert found.folders == [folder]
    assert found.summary.splitlines() == [
        "4 files and 9 windows checked: 2 files with problems", f"  b.mp4: {what}",
        f"  copy of b.mp4: {what}",
    ]  # fmt: skip
    assert len(index.store.read_files()) == 2
    assert_healed(index, folder, whole, done, ["b.mp4"])


def test_a_repair_that_is_killed_midway(index, folder, whole, done, monkeypatch):
    """The next run embeds anew; it must not take damaged windows for whole."""

    def change(table, content, rows):
        vector = [float(value) for value in rows[0].vector[::-1]]
        table.update(where=f"content = '{content}'", values={"vector": vector})

    damage(index, "b.mp4", change)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(type(index.store), "remove_files", lambda *_: interrupt())
        index.verify(quiet=True)
    done.clear()
    index.add(folder, quiet=True)
    assert list_decoded(done) == ["b.mp4"]
    assert (list_files(index), list_windows(index)) == whole
    assert index.verify(repair=False, quiet=True).is_clean


def interrupt():
    raise KeyboardInterrupt


def test_a_damaged_thumbnail(index, folder, whole, done):
    def change(table, content, rows):
        table.update(where=f"id = '{rows[-1].id}'", values={"thumbnail": b"\xff\xd8"})

    damage(index, "long.mp4", change)
    assert list_problems(check(index)).keys() == {"long.mp4"}
    assert_healed(index, folder, whole, done, ["long.mp4"])


def test_a_vector_that_is_none(index, folder, whole, done):
    """Stored as it was given, so that its checksum is right."""

    def change(table, content, rows):
        index.store.remove_contents([content])
        vector = np.full_like(rows[0].vector, 0.5)
        row = WindowRow(rows[0].id, content, 0.0, 1.0, vector, b"")
        index.store.commit([row], [])

    damage(index, "a.mp4", change)
    [problem] = check(index).problems
    assert problem.file == "a.mp4"
    assert problem.what == "a vector has the length 2, not 1"
    assert_healed(index, folder, whole, done, ["a.mp4"])


def test_missing_windows(index, folder, whole, done):
    damage(index, "long.mp4", lambda table, _, rows: table.delete(f"id = '{rows[3].id}'"))
    damage(index, "a.mp4", lambda table, content, _: table.delete(f"content = '{content}'"))
    assert list_problems(check(index)) == {
        "a.mp4": "0 of its 1 windows are stored",
        "long.mp4": "6 of its 7 windows are stored",
    }
    assert_healed(index, folder, whole, done, ["a.mp4", "long.mp4"])


def test_windows_that_are_there_twice(index, folder, whole, done):
    def change(table, content, rows):
        index.store.commit([WindowRow(*rows[0][:6])], [])

    damage(index, "long.mp4", change)
    assert list_problems(check(index)) == {"long.mp4": "a window is stored twice"}
    assert_healed(index, folder, whole, done, ["long.mp4"])


def test_files_that_are_gone_or_hold_something_else(index, folder, whole, done):
    (folder / "copy of b.mp4").unlink()
    (folder / "a.mp4").write_bytes(b"no video")
    write_films(folder, {"long.mp4": "3"})
    found = list_problems(check(index))
    assert found.keys() == {"copy of b.mp4", "a.mp4", "long.mp4"}
    assert found["long.mp4"] == "has another content than when it was indexed"
    assert found["a.mp4"].startswith("cannot be opened any more (not a video")
    assert found["copy of b.mp4"] == "cannot be opened any more (no such file)"
    assert list_files(index).keys() == {"b.mp4"}
    assert len(list_windows(index)) == 1  # of b.mp4, which its copy shared
    write_films(folder, SOME)
    assert_healed(index, folder, whole, done, ["a.mp4", "long.mp4"])


def test_leftovers_do_no_harm(index, folder, whole, done):
    """Windows of a run that was ended before it wrote the rows of their files."""
    lost = list_files(index)["long.mp4"]
    index.store.remove_files([lost.id])
    assert "long.mp4" not in {moment.file.name for moment in index.search("a cat").moments}
    found = index.verify(repair=False, quiet=True)
    assert (found.is_clean, found.leftovers) == (True, 7)
    assert found.summary.endswith("7 windows that no file needs: kept; they are harmless")
    done.clear()
    index.add(folder, quiet=True)
    assert list_decoded(done) == []  # they are used, not made again
    assert (list_files(index), list_windows(index)) == whole
    index.store.remove_files([lost.id])
    found = index.verify(quiet=True)
    assert found.summary.endswith("7 windows that no file needs: removed")
    assert_healed(index, folder, whole, done, ["long.mp4"])


def test_failed_files_are_no_problem(folder, done):
    (folder / "bad.mp4").write_bytes(b"no video")
    index = make_toy_index(folder)
    assert index.stats().failed == 1
    done.clear()
    assert index.verify(quiet=True).is_clean
    assert ("probe_file", "bad.mp4") not in done


def test_a_folder_that_is_not_there_loses_nothing(index, folder, whole, tmp_path):
    """Another one of the same index is repaired nevertheless."""
    index = make_toy_index(folder, fps=None)
    other = write_films(tmp_path / "other", {"c.mp4": "3", "d.mp4": "4", "copy.mp4": "2"})
    index.add(other, quiet=True)
    before = list_files(index), list_windows(index)
    other.rename(tmp_path / "unplugged")
    (folder / "a.mp4").unlink()
    found = index.verify(quiet=True)
    assert list_problems(found).keys() == {str(other), "a.mp4"}
    assert (
        "none of its 3 videos is there; is a disk not mounted?" in list_problems(found)[str(other)]
    )
    assert found.folders == [folder]
    assert list_files(index).keys() == before[0].keys() - {"a.mp4"}
    write_films(folder, {"a.mp4": "1"})
    (tmp_path / "unplugged").rename(other)
    index.add(folder, quiet=True)
    assert index.verify(repair=False, quiet=True).is_clean
    assert (list_files(index), list_windows(index)) == before


def test_an_index_that_is_being_written_is_not_checked(index):
    with locking.lock_index(index.uri), pytest.raises(VideoIndexError, match="is being written"):
        index.verify()


def test_many_problems_are_summed_up(tmp_path):
    folder = write_films(tmp_path / "videos", {f"{number}.mp4": "1" for number in range(13)})
    index = make_toy_index(folder)
    index.store.remove_contents(index.store.read_contents())
    lines = VideoIndex(folder).verify(repair=False, quiet=True).summary.splitlines()
    assert lines[0] == "13 files and 0 windows checked: 13 files with problems"
    assert (len(lines), lines[-1]) == (12, "  and 3 more")
