"""Files that change, or are replaced, between the steps of a run, or only where no sample is."""

import os
import shutil

import pytest
import toy_index
from click.testing import CliRunner
from toy_index import (
    list_decoded,
    list_files,
    list_windows,
    make_toy_index,
    patch_unsampled,
    write_films,
    write_large_film,
)

from tempme_jax.cli import main
from tempme_jax.search.index import VideoIndex
from tempme_jax.search.indexing import run
from tempme_jax.search.query.frames import VideoExcerpt, decode_excerpt
from tempme_jax.video import opening
from tempme_jax.video.errors import VideoError


@pytest.fixture(autouse=True)
def done(monkeypatch):
    return toy_index.decode_here(monkeypatch)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "videos").mkdir()
    return tmp_path / "videos"


def add(folder):
    index = VideoIndex(folder, model=toy_index.make_model())
    return index, index.add(folder, quiet=True)


def keep_time(file, change):
    """Change a file, and set its time back."""
    before = file.stat().st_mtime_ns
    change(file)
    os.utime(file, ns=(before, before))


def at(monkeypatch, step, change):
    """Make a change just before a step of the next run."""
    name = {"probe": "Planner", "decode": "embed_new_videos"}[step]
    original = getattr(run, name)

    def first_change(*arguments, **options):
        change()
        return original(*arguments, **options)

    monkeypatch.setattr(run, name, first_change)


def replace_by_link(file, secret):
    file.unlink()
    file.symlink_to(secret)


def replace_folder_by_link(file, secret):
    shutil.rmtree(file.parent)
    file.parent.symlink_to(secret.parent)


def replace_by_pipe(file, secret):
    file.unlink()
    os.mkfifo(file)


def replace_by_folder(file, secret):
    file.unlink()
    file.mkdir()


def replace_by_other(file, secret):
    file.unlink()
    shutil.copy(secret, file)


CHANGES = {
    replace_by_link: opening.LINKED,
    replace_folder_by_link: opening.LINKED,
    replace_by_pipe: opening.IRREGULAR,
    replace_by_folder: opening.IRREGULAR,
    lambda file, secret: file.unlink(): opening.MISSING,
    lambda file, secret: os.truncate(file, 700): opening.CHANGED,
    replace_by_other: opening.CHANGED,
}


@pytest.mark.parametrize("step", ["probe", "decode"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_is_replaced_after_the_walk_is_not_read(folder, tmp_path, monkeypatch, change, step):
    write_films(folder, {"in/a.mp4": "1", "b.mp4": "2"})
    secret = write_films(tmp_path / "private", {"a.mp4": "3"}) / "a.mp4"
    file = folder / "in" / "a.mp4"
    film = file.read_bytes()
    with monkeypatch.context() as patch:
        at(patch, step, lambda: change(file, secret))
        index, told = add(folder)
    if CHANGES[change] == opening.CHANGED and step == "probe":
        assert "in/a.mp4" in list_files(index)  # as it was then
    else:
        assert [(failure.file, failure.reason) for failure in told.failures] == [
            (b"in/a.mp4", CHANGES[change])
        ]
        assert len(list_windows(index)) == 1  # of b.mp4
    for path in (file, file.parent):
        if path.is_symlink():
            path.unlink()
    shutil.rmtree(folder / "in", ignore_errors=True)
    (folder / "in").mkdir()
    file.write_bytes(film)
    index, told = add(folder)
    assert told.failures == []
    fresh = make_toy_index(shutil.copytree(folder, tmp_path / "new", ignore=lambda *_: [".tempme"]))
    good = {row.content for row in list_files(index).values()}
    assert list_windows(fresh) == {
        name: row for name, row in list_windows(index).items() if name.split("-")[0] in good
    }


def test_a_download_that_is_completed_is_decoded_again(folder, done):
    film = write_large_film(folder / "a.mp4", "1")
    _, told = add(folder)
    assert told.embedded == 1
    patch_unsampled(film, b"the rest")
    os.utime(film, ns=(5, 5))
    index = VideoIndex(folder, model=toy_index.make_model())
    [problem] = index.verify(repair=False, quiet=True).problems
    assert problem.what == "has another content than when it was indexed"
    done.clear()
    index, told = add(folder)
    assert list_decoded(done) == ["a.mp4"]
    assert told.embedded == 1
    assert index.verify(repair=False, quiet=True).is_clean


def test_a_change_that_keeps_size_and_time_is_found_by_hashing_all(folder, done):
    film = write_large_film(folder / "a.mp4", "1")
    index, _ = add(folder)
    assert index.verify(full_hash=True, quiet=True).is_clean
    keep_time(film, patch_unsampled)
    assert index.verify(quiet=True).is_clean  # as it promises: it looks at samples only
    [problem] = index.verify(full_hash=True, quiet=True).problems
    assert problem.what == "has another content than when it was indexed"
    done.clear()
    assert add(folder)[1].embedded == 1


def test_files_that_differ_where_no_sample_is_are_two(folder, done):
    one = write_large_film(folder / "one.mp4", "1")
    two = patch_unsampled(shutil.copy2(one, folder / "two.mp4"))
    os.utime(two, ns=(one.stat().st_mtime_ns,) * 2)
    index, told = add(folder)
    assert (told.embedded, told.known) == (2, 0)
    assert len({row.content for row in list_files(index).values()}) == 2
    three = patch_unsampled(shutil.copy(one, folder / "three.mp4"), b"y")
    assert add(folder)[1].embedded == 1
    shutil.copy(three, folder / "four.mp4")
    done.clear()
    assert add(folder)[1].known == 1
    assert list_decoded(done) == []


def test_large_files_that_are_moved_copied_or_touched_are_not_decoded(folder, done):
    names = ("moved", "copied", "touched", "kept", "rounded", "both")
    for number, name in enumerate(names):
        write_large_film(folder / f"{name}.mp4", str(number))
    before = list_files(add(folder)[0])
    done.clear()
    (folder / "in").mkdir()
    (folder / "moved.mp4").rename(folder / "in" / "moved.mp4")
    shutil.copy(folder / "copied.mp4", folder / "copy.mp4")  # with another time
    shutil.copy2(folder / "kept.mp4", folder / "kept copy.mp4")  # with the same time
    os.utime(folder / "touched.mp4", ns=(1, 1))
    time = (folder / "rounded.mp4").stat().st_mtime_ns // 10**9 * 10**9
    os.utime(folder / "rounded.mp4", ns=(time, time))  # as on a memory card
    shutil.copy(folder / "both.mp4", folder / "in" / "both.mp4")
    (folder / "both.mp4").unlink()
    index, told = add(folder)
    assert list_decoded(done) == []
    assert (told.moved, told.known, told.gone, told.embedded) == (2, 4, 0, 0)
    after = list_files(index)
    for new, old in {"in/moved": "moved", "copy": "copied", "kept copy": "kept"}.items():
        assert after[f"{new}.mp4"][5:] == before[f"{old}.mp4"][5:]
    assert index.verify(full_hash=True, quiet=True).is_clean
    hashed = [name for what, name in done if what == "probe_whole_file"]
    assert not {"moved.mp4", "rounded.mp4"} & set(hashed[: -len(after)])  # their time is enough


def test_windows_that_are_left_of_a_large_file_are_used(folder, done):
    """As after a run that was killed before it wrote the row of the file."""
    for number in range(3):
        write_large_film(folder / f"{number}.mp4", "long" if number == 1 else "1")
    index, _ = add(folder)
    before = list_files(index), list_windows(index)
    index.store.remove_files([before[0]["1.mp4"].id])
    done.clear()
    index, told = add(folder)
    assert list_decoded(done) == []
    assert (told.embedded, told.known) == (0, 1)
    assert (list_files(index), list_windows(index)) == before


def test_two_new_copies_are_decoded_once(folder, done):
    one = write_large_film(folder / "one.mp4", "1")
    shutil.copy(one, folder / "two.mp4")
    index, told = add(folder)
    assert list_decoded(done) == ["one.mp4"]
    assert told.embedded == 2
    assert len({row.content for row in list_files(index).values()}) == 1


def test_a_copy_that_is_replaced_before_it_is_decoded(folder, tmp_path, monkeypatch):
    """Its windows would be found under the name of the other copy, too."""
    write_films(folder, {"a.mp4": "1", "b.mp4": "1"})
    stranger = write_films(tmp_path / "other", {"c.mp4": "4"}) / "c.mp4"
    with monkeypatch.context() as patch:
        at(
            patch,
            "decode",
            lambda: keep_time(folder / "a.mp4", lambda file: shutil.copy(stranger, file)),
        )
        _, told = add(folder)
    assert {failure.reason for failure in told.failures} == {opening.CHANGED}
    index, told = add(folder)
    assert told.failures == []
    rows = list_files(index)
    assert rows["a.mp4"].content != rows["b.mp4"].content


@pytest.mark.parametrize("time", [0, -(10**18), 4 * 10**18])
def test_clocks_that_are_wrong(folder, time, done):
    film = write_large_film(folder / "a.mp4", "1")
    os.utime(film, ns=(time, time))
    add(folder)
    done.clear()
    assert add(folder)[1].unchanged == 1
    assert done == []


def test_hard_links_are_copies(folder, done):
    film = write_large_film(folder / "a.mp4", "1")
    os.link(film, folder / "b.mp4")
    index, told = add(folder)
    assert list_decoded(done) == ["a.mp4"]
    assert len({row.content for row in list_files(index).values()}) == 1


def test_an_excerpt_of_an_indexed_video_follows_no_link(folder, tmp_path):
    """As when the server draws what was merged."""
    write_films(folder, {"a.mp4": "1"})
    secret = write_films(tmp_path / "private", {"a.mp4": "3"}) / "a.mp4"
    options = {"count": 2, "size": 16, "root": str(folder)}
    excerpt = VideoExcerpt(file=str(folder / "a.mp4"), **options)
    assert len(decode_excerpt(excerpt)[0]) == 2
    replace_by_link(folder / "a.mp4", secret)
    with pytest.raises(VideoError, match="a link"):
        decode_excerpt(excerpt)


def test_a_full_hash_belongs_to_a_check(folder):
    result = CliRunner().invoke(main, ["index", str(folder), "--full-hash"])
    assert result.exit_code == 2
    assert "--full-hash belongs to --verify" in result.output
