"""An index that an earlier version made is looked at again, once; what it holds is not lost."""

import os
import shutil
import tarfile

import pytest
import toy_index
from repository import FIXTURES
from toy_index import (
    list_decoded,
    list_files,
    list_windows,
    make_toy_index,
    patch_unsampled,
    write_films,
    write_large_film,
)

import tempme_jax
from tempme_jax.search import stats
from tempme_jax.search.index import VideoIndex
from tempme_jax.search.indexing import identify, plan, survey
from tempme_jax.video import changes
from tempme_jax.video.errors import VideoError
from tempme_jax.video.reading import READING_VERSION

SOME = {"a.mp4": "1", "b.mp4": "2", "copy of b.mp4": "2", "c.mp4": "3"}
NOW = READING_VERSION


@pytest.fixture
def done(monkeypatch):
    return toy_index.decode_here(monkeypatch)


@pytest.fixture
def folder(tmp_path, done):
    folder = write_films(tmp_path / "videos", SOME)
    (folder / "bad.mp4").write_bytes(b"no video")
    make_toy_index(folder)
    return folder


@pytest.fixture
def changed(monkeypatch):
    """A later version, which reads files otherwise for reasons that a test adds by their names."""
    reasons = {}

    def list_changes(path):
        found = reasons.get(os.path.basename(path), [])
        if isinstance(found, Exception):
            raise found
        return found

    for module in (identify, plan, survey, stats):
        monkeypatch.setattr(module, "READING_VERSION", NOW + 1)
    monkeypatch.setattr(changes, "list_changes", list_changes)
    return reasons


def add(folder, **options):
    index = VideoIndex(folder, model=toy_index.make_model())
    return index, index.add(folder, quiet=True, **options)


def list_checked(done):
    return sorted(name for what, name in done if what == "check_file")


def test_files_that_are_read_otherwise_are_embedded_anew(folder, changed, done):
    before = list_files(VideoIndex(folder))
    changed["b.mp4"] = changed["copy of b.mp4"] = ["timestamps restart"]
    assert VideoIndex(folder).stats().outdated == 5
    done.clear()
    index, told = add(folder)
    assert list_checked(done) == ["a.mp4", "b.mp4", "c.mp4", "copy of b.mp4"]
    assert list_decoded(done) == ["b.mp4"]
    assert (told.embedded, told.renewed, told.unchanged) == (2, 2, 4)
    assert (
        "2 files embedded anew, since this version reads them otherwise: timestamps restart (2)"
        in told.summary
    )
    rows = list_files(index)
    assert {row.reading for row in rows.values()} == {NOW + 1}
    assert rows["a.mp4"].content == before["a.mp4"].content
    assert rows["b.mp4"].content == rows["copy of b.mp4"].content != before["b.mp4"].content
    assert {name[:32] for name in list_windows(index)} == {
        row.content for row in rows.values() if not row.reason
    }
    assert index.stats().outdated == 0
    assert index.verify(repair=False, quiet=True).is_clean
    done.clear()
    assert add(folder)[1].unchanged == 4
    assert done == []


def test_a_file_that_cannot_be_read_again_keeps_its_windows(folder, changed, done, monkeypatch):
    before, windows = list_files(VideoIndex(folder)), list_windows(VideoIndex(folder))
    changed["a.mp4"] = VideoError("a.mp4", "cannot be read (Input/output error)")
    index, told = add(folder)
    assert (told.embedded, told.renewed) == (0, 0)
    assert list_files(index)["a.mp4"] == before["a.mp4"]
    assert list_windows(index) == windows
    assert index.stats().outdated == 1  # it is tried again
    changed["a.mp4"] = ["another size"]

    def fail(*_, **__):
        raise VideoError("a.mp4", "no decodable frame")

    with monkeypatch.context() as patch:
        patch.setattr("tempme_jax.search.indexing.reading.scan", fail)
        index, told = add(folder)
    assert told.kept == 1
    assert "1 file could not be read anew: what was found of them before stays" in told.summary
    assert list_files(index)["a.mp4"][:10] == before["a.mp4"][:10]
    assert list_windows(index) == windows
    assert index.stats().outdated == 0


def test_a_budget_ends_a_run_which_the_next_goes_on_with(folder, changed, done):
    for name in SOME:
        changed[name] = ["another size"]
    lefts = []
    while not lefts or lefts[-1]:
        index, told = add(folder, budget=1e-9)
        lefts.append(told.left)
        assert told.stopped == ("The time is up" if told.left else "")
        assert {row.path for row in index.store.read_files() if not row.reason} == {
            os.fsencode(name) for name in SOME
        }
    assert lefts == [3, 2, 1, 0]
    assert index.stats().outdated == 0
    assert index.verify(repair=False, quiet=True).is_clean


def test_moved_files_of_an_earlier_version(folder, changed, done):
    changed["moved.mp4"] = ["another size"]
    (folder / "a.mp4").rename(folder / "moved.mp4")
    done.clear()
    index, told = add(folder)
    assert list_decoded(done) == ["moved.mp4"]
    assert (told.moved, told.renewed, told.gone) == (1, 1, 0)
    assert index.stats().outdated == 0


def test_files_that_failed_are_tried_again(folder, changed, done):
    done.clear()
    add(folder)
    assert ("probe_file", "bad.mp4") in done
    done.clear()
    add(folder)
    assert done == []


def make_old(index):
    """Give all rows the ids that the first version used, the hashes of samples."""
    rows, windows = index.store.read_files(), list(index.store.scan())
    ids = {row.content: row.samples for row in rows}
    index.store.remove_contents(ids)
    for number, window in enumerate(windows):
        content = ids[window.content]
        key = f"{content}-{window.id[-5:]}"
        windows[number] = window._replace(id=key, content=content)
    old = {"samples": "", "whole": ""}
    index.store.commit(windows, [row._replace(content=row.samples, **old) for row in rows])


def test_large_files_of_which_only_samples_were_hashed(tmp_path, done):
    (tmp_path / "videos").mkdir()
    folder = tmp_path / "videos"
    names = ("moved", "copied", "filled", "same", "touched")
    for number, name in enumerate(names):
        write_large_film(folder / f"{name}.mp4", str(number))
    make_old(make_toy_index(folder))
    before = list_files(VideoIndex(folder))
    (folder / "moved.mp4").rename(folder / "moved now.mp4")
    shutil.copy(folder / "copied.mp4", folder / "copy.mp4")
    patch_unsampled(folder / "filled.mp4")
    os.utime(folder / "touched.mp4", ns=(1, 1))
    done.clear()
    index, told = add(folder)
    # That the touched one is the same cannot be known.
    assert list_decoded(done) == ["filled.mp4", "touched.mp4"]
    assert (told.embedded, told.moved, told.known, told.gone) == (2, 1, 1, 0)
    after = list_files(index)
    assert after["copy.mp4"].content == after["copied.mp4"].content == before["copied.mp4"].content
    assert after["filled.mp4"].content != before["filled.mp4"].content
    assert len(after["copied.mp4"].whole) == 64
    assert after["same.mp4"].whole == ""
    assert index.verify(full_hash=True, quiet=True).is_clean
    assert all(row.whole for row in list_files(index).values())
    patch_unsampled(folder / "same.mp4")
    os.utime(folder / "same.mp4", ns=(2, 2))
    assert add(folder)[1].embedded == 1


def test_an_index_of_the_first_version(tmp_path, done):
    with tarfile.open(FIXTURES / "saved_0_1.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "saved" / "videos"
    for file in folder.rglob("*.mp4"):
        os.utime(file, ns=(0, file.stat().st_mtime_ns))
    model = tempme_jax.load(tmp_path / "saved" / "trained.safetensors")
    index = VideoIndex(folder, model=model)
    before, windows = list_files(index), list_windows(index)
    assert index.stats().outdated == len(before)
    moved = next(name for name, row in before.items() if not row.reason)
    shutil.move(folder / moved, folder / "moved.mp4")
    report = index.add(folder, quiet=True)
    assert (report.embedded, report.moved) == (0, 1)
    after = list_files(index)
    assert {row.reading for row in after.values()} == {NOW}
    assert all(len(row.whole) == 64 for row in after.values() if not row.reason)
    assert after["moved.mp4"].content == before[moved].content
    assert list_windows(index) == windows
    assert index.verify(full_hash=True, quiet=True).is_clean
