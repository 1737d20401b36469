"""An index follows what becomes of its videos, decodes nothing twice, and loses nothing."""

import concurrent.futures
import os
import shutil
import threading

import numpy as np
import PIL.Image
import pytest
import toy_index
from toy_index import (
    LONG,
    list_decoded,
    list_files,
    list_opened,
    list_windows,
    make_toy_index,
    read_film,
    write_films,
)

from tempme_jax.search import opening
from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.index import VideoIndex
from tempme_jax.search.indexing import run
from tempme_jax.search.indexing.run import IndexOptions
from tempme_jax.search.query import frames
from tempme_jax.search.serve import searching
from tempme_jax.search.serve.parameters import SearchParameters
from tempme_jax.search.serve.service import Service
from tempme_jax.search.store import locking
from tempme_jax.search.store.store import Store
from tempme_jax.weights import hub

MODEL = toy_index.make_model
SOME = {"a.mp4": "1", "b.mp4": "2", "deep/er/c.mp4": "3", "d.mp4": "long"}


@pytest.fixture(autouse=True)
def done(monkeypatch):
    return toy_index.decode_here(monkeypatch)


@pytest.fixture
def folder(tmp_path):
    return write_films(tmp_path / "videos", SOME)


def add(folder, *, index=None, **options):
    """What a run says that is given the model."""
    return VideoIndex(index or folder, model=MODEL()).add(folder, quiet=True, **options)


def counts(told):
    """What is not 0 of the figures of a run."""
    names = ("found", "unchanged", "embedded", "moved", "known", "gone", "left")
    return {name: getattr(told, name) for name in names if getattr(told, name)}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Files and windows of SOME, indexed at once, in another folder."""
    with pytest.MonkeyPatch.context() as patch:
        toy_index.decode_here(patch)
        index = make_toy_index(write_films(tmp_path_factory.mktemp("expected"), SOME))
        return {"files": list_files(index), "windows": list_windows(index)}


def assert_whole(index, expected):
    assert list_files(index) == expected["files"]
    assert list_windows(index) == expected["windows"]


def test_the_first_run_finds_all_and_the_second_nothing_to_do(folder, done, capsys):
    (folder / ".hidden").mkdir()
    write_films(folder, {".hidden/e.mp4": "4", "notes.txt": "4"})
    told = add(folder)
    assert counts(told) == {"found": 4, "embedded": 4}
    assert told.windows == 3 + len(LONG)
    assert told.hours == pytest.approx((0.4 + 0.5 + 0.6 + 15.3) / 3600)
    assert "4 videos indexed (17 s, 10 windows) in" in told.summary
    assert list_decoded(done) == ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]
    done.clear()
    # It was made with a model that was handed over: where to find that again is not known.
    index = VideoIndex(folder)
    assert counts(index.add(folder)) == {"found": 4, "unchanged": 4}
    assert done == []
    with pytest.raises(VideoIndexError, match="a program passed.*pass the model"):
        _ = index.model
    assert capsys.readouterr().err == "Comparing the folder with the index...\n"


def test_what_is_stored(folder, expected):
    index = make_toy_index(folder)
    rows = {os.path.basename(row.path): row for row in index.store.read_files()}
    assert {name: row.windows for name, row in rows.items()} == {
        b"a.mp4": 1, b"b.mp4": 1, b"c.mp4": 1, b"d.mp4": len(LONG),
    }  # fmt: skip
    contents = [row.content for row in rows.values()]
    found = {row.id: row for row in index.store.scan()}
    for name, path in (("a", "a.mp4"), ("b", "b.mp4"), ("c", "deep/er/c.mp4")):
        window = found[f"{rows[os.fsencode(name + '.mp4')].content}-00000"]
        vector = MODEL().embed_video(folder / path)[0]
        np.testing.assert_allclose(window.vector, vector, rtol=0, atol=1e-5)
        assert (window.start, window.thumbnail[:2]) == (0, b"\xff\xd8")
    long = [found[f"{rows[b'd.mp4'].content}-{number:05d}"] for number in range(len(LONG))]
    assert [(window.start, window.end) for window in long] == LONG
    assert len({window.vector.tobytes() for window in long}) == len(LONG)
    assert {row.content for row in found.values()} == set(contents)
    assert_whole(index, expected)  # also of other folders


def test_vectors_are_the_same_bits_in_any_company(folder, tmp_path):
    windows = list_windows(make_toy_index(folder))
    others = {"0.mp4": "long", "1.mp4": "5", "2.mp4": "3", "3.mp4": "1"}
    other = list_windows(make_toy_index(write_films(tmp_path / "others", others)))
    assert len(windows.keys() & other.keys()) == 2 + len(LONG)
    assert {name: windows[name] for name in windows.keys() & other.keys()} == {
        name: other[name] for name in windows.keys() & other.keys()
    }


def test_changes_are_followed_and_only_what_is_new_is_decoded(tmp_path, done):
    names = ("changed", "moved", "copied", "touched", "gone", "same")
    folder = write_films(tmp_path, {f"{name}.mp4": str(i) for i, name in enumerate(names)})
    make_toy_index(folder)
    before = list_files(VideoIndex(folder))
    write_films(folder, {"new.mp4": "6", "changed.mp4": "7"})
    (folder / "in").mkdir()
    (folder / "moved.mp4").rename(folder / "in" / "moved.mp4")
    shutil.copy(folder / "copied.mp4", folder / "copy.mp4")
    os.utime(folder / "touched.mp4", ns=(1, 1))
    (folder / "gone.mp4").unlink()
    done.clear()
    index = VideoIndex(folder, model=MODEL())
    told = index.add(folder, quiet=True)
    assert list_decoded(done) == ["changed.mp4", "new.mp4"]
    assert list_opened(done) == ["changed.mp4", "copy.mp4", "moved.mp4", "new.mp4", "touched.mp4"]
    expected = {"found": 7, "unchanged": 2, "embedded": 2, "moved": 1, "known": 2, "gone": 1}
    assert counts(told) == expected
    assert "2 unchanged, 1 moved, 2 copied or touched, 1 gone" in told.summary
    after = list_files(index)
    assert after.keys() == before.keys() - {"moved.mp4", "gone.mp4"} | {
        "new.mp4", "copy.mp4", "in/moved.mp4",
    }  # fmt: skip
    assert after["changed.mp4"].content != before["changed.mp4"].content
    for new, old in (("in/moved.mp4", "moved.mp4"), ("copy.mp4", "copied.mp4")):
        assert after[new][5:] == before[old][5:]
    assert after["touched.mp4"] == before["touched.mp4"]
    done.clear()
    assert counts(add(folder)) == {"found": 7, "unchanged": 7}
    assert done == []


def test_copies_are_decoded_once_and_found_as_one(tmp_path, done):
    folder = write_films(tmp_path, {"a.mp4": "1", "b.mp4": "1", "c.mp4": "2"})
    index = VideoIndex(folder, model=MODEL())
    told = index.add(folder, quiet=True)
    assert counts(told) == {"found": 3, "embedded": 3}
    assert list_decoded(done) == ["a.mp4", "c.mp4"]
    moments = index.search("a cat").moments
    assert sorted((moment.file.name, len(moment.copies)) for moment in moments) == [
        ("a.mp4", 1),
        ("c.mp4", 0),
    ]


def test_a_file_that_fails_is_tried_again_when_told_to_or_changed(tmp_path, done):
    folder = write_films(tmp_path, {"good.mp4": "1"})
    (folder / "bad.mp4").write_bytes(b"This is no video.")
    told = add(folder)
    assert counts(told) == {"found": 2, "embedded": 1}
    [failure] = told.failures
    assert (failure.file, failure.stage) == (b"bad.mp4", "open")
    assert failure.reason.startswith("not a video")
    assert f"1 file could not be indexed:\n  bad.mp4: {failure.reason}" in told.summary
    done.clear()
    assert add(folder).failures == [failure]  # is told again, but not looked at
    assert done == []
    assert add(folder, retry_failed=True).failures == [failure]
    assert list_opened(done) == ["bad.mp4"]
    write_films(folder, {"bad.mp4": "2"})
    told = add(folder)
    assert (counts(told), told.failures) == ({"found": 2, "unchanged": 1, "embedded": 1}, [])
    assert VideoIndex(folder).stats().failed == 0
    write_films(folder, {"good.mp4": "3"})
    (folder / "good.mp4").write_bytes(read_film("3")[:400])  # its windows stay, but count no more
    assert [failure.file for failure in add(folder).failures] == [b"good.mp4"]
    assert [moment.file.name for moment in make_toy_index(folder).search("a cat").moments] == [
        "bad.mp4"
    ]


def test_two_folders_in_one_index(tmp_path, done):
    one = write_films(tmp_path / "one", {"a.mp4": "1", "b.mp4": "2"})
    two = write_films(tmp_path / "two", {"a.mp4": "3", "copy.mp4": "2"})
    add(one)
    told = VideoIndex(one, model=MODEL()).add(two, quiet=True)
    assert counts(told) == {"found": 2, "embedded": 1, "known": 1}
    assert counts(add(one)) == {"found": 2, "unchanged": 2}  # the others are not gone
    index = VideoIndex(one, model=MODEL())
    assert index.stats().folders == (str(one), str(two))
    found = index.search("a cat", folder=two).moments
    assert {moment.file: moment.copies for moment in found} == {
        two / "a.mp4": (), two / "copy.mp4": (one / "b.mp4",),
    }  # fmt: skip
    assert index.folders() == [str(one), str(two)]
    paths = {index.file(row.id) for row in index.store.read_files()}
    assert paths == {one / "a.mp4", one / "b.mp4", two / "a.mp4", two / "copy.mp4"}


def test_a_folder_in_a_folder_is_refused(folder):
    with pytest.raises(VideoIndexError, match="lies in .*videos, which is in the index"):
        make_toy_index(folder).add(folder / "deep")
    inner = VideoIndex(folder / "deep", model=MODEL())
    inner.add(folder / "deep", quiet=True)
    with pytest.raises(VideoIndexError, match="deep, which is in the index .*, lies in"):
        inner.add(folder)


def test_folders_without_videos(tmp_path):
    for content in ((), ("notes.txt",), (".hidden.mp4",)):
        folder = tmp_path / f"of {len(content)} {content}"
        folder.mkdir()
        for name in content:
            (folder / name).write_bytes(b"")
        with pytest.raises(VideoIndexError, match="there is no video in .*: no file with a suffix"):
            make_toy_index(folder)
        assert sorted(os.listdir(folder)) == sorted(content)  # no index was begun
    with pytest.raises(VideoIndexError, match="nowhere does not exist"):
        make_toy_index(tmp_path / "nowhere")


def test_a_disk_that_is_not_mounted(folder, tmp_path, expected):
    place = tmp_path / "index"
    add(folder, index=place)
    folder.rename(tmp_path / "elsewhere")
    folder.mkdir()
    with pytest.raises(VideoIndexError, match="but the index has 4 of them. Is a disk not mounted"):
        add(folder, index=place)
    folder.rmdir()
    with pytest.raises(VideoIndexError, match="does not exist"):
        add(folder, index=place)
    (tmp_path / "elsewhere").rename(folder)
    assert counts(add(folder, index=place)) == {"found": 4, "unchanged": 4}
    assert list_windows(VideoIndex(place)) == expected["windows"]


def test_a_budget_ends_a_run_which_the_next_goes_on_with(folder, expected):
    left, told = [], None
    while len(left) < 10 and (told is None or told.left):
        told = add(folder, budget=1e-9)
        left.append(told.left)
        assert told.stopped == ("The time is up" if told.left else "")
    # The long video takes several runs, which have to embed a batch each.
    assert set(left) == {3, 2, 1, 0} and left == sorted(left, reverse=True)
    assert len(left) > 4
    told.stopped, told.left = "The time is up", 2
    assert told.summary.splitlines()[-1] == (
        "The time is up: 2 videos left. Run the same command to resume."
    )
    assert_whole(VideoIndex(folder), expected)


def test_an_interrupt_keeps_what_is_done(folder, expected, monkeypatch):
    read, index = run.embed_locally, VideoIndex(folder, model=MODEL())

    def embed(*arguments, **options):
        videos = read(*arguments, **options)
        yield next(videos)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run, "embed_locally", embed)
        told = index.add(folder, quiet=True)
    assert (told.stopped, told.embedded, told.left) == ("Interrupted", 1, 3)
    assert len(index.store.read_files()) == 1
    assert index.add(folder, quiet=True).embedded == 3
    assert_whole(index, expected)


def test_shards_do_together_what_one_run_does(folder, expected, done):
    write_films(folder, {"copy.mp4": "2"})
    before = [add(folder, shard=(number, 2)) for number in (0, 1)]
    assert sum(told.embedded for told in before) == sum(told.found for told in before) == 5
    assert list_decoded(done) == ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]
    done.clear()
    (folder / "copy.mp4").unlink()
    (folder / "b.mp4").rename(folder / "moved.mp4")
    for number in (0, 1):
        add(folder, shard=(number, 2))
    assert list_decoded(done) == []
    (folder / "moved.mp4").rename(folder / "b.mp4")
    assert sum(add(folder, shard=(number, 2)).moved for number in (0, 1)) == 1
    assert_whole(VideoIndex(folder), expected)
    assert counts(add(folder)) == {"found": 4, "unchanged": 4}


def test_shards_that_begin_at_the_same_moment(folder, expected):
    ready = threading.Barrier(3)

    def work(number):
        ready.wait()
        index = VideoIndex(folder, model=MODEL())
        return index.add(folder, quiet=True, shard=(number, 3))

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        told = list(pool.map(work, range(3)))
    assert sum(one.embedded for one in told) == 4
    assert_whole(VideoIndex(folder), expected)
    assert [name for name in os.listdir(folder / ".tempme") if name == ".tempme"] == []


def test_an_index_that_was_only_begun_is_made_in_its_place(tmp_path):
    place = tmp_path / "place"
    folder = write_films(tmp_path / "videos", {"a.mp4": "1"})
    with locking.lock_creation(place):
        pass  # and killed before there was an index
    index = VideoIndex(place, model=MODEL())
    assert index.uri == str(place)
    index.add(folder, quiet=True)
    assert VideoIndex(place).stats().videos == 1
    (folder / ".tempme").mkdir()
    (folder / ".tempme" / "rest").touch()
    assert VideoIndex(folder / ".tempme").uri == VideoIndex(folder).uri == f"{folder}/.tempme"


@pytest.mark.parametrize("shard", [None, (0, 2)])
def test_two_runs_at_once_are_refused(folder, shard):
    add(folder)
    with locking.lock_index(folder / ".tempme", shard):
        with pytest.raises(VideoIndexError, match=f"is being written by process {os.getpid()}"):
            add(folder)
        with pytest.raises(VideoIndexError, match="is being written"):
            add(folder, shard=(0, 2))


def test_made_anew_only_once_all_is_there_that_is_needed(folder, tmp_path, expected):
    make_toy_index(folder)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(VideoIndexError, match="there is no video"):
        VideoIndex(folder, model=MODEL(), anew=True).add(empty)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        VideoIndex(folder, model=tmp_path / "nowhere.safetensors", anew=True).add(folder)
    assert_whole(VideoIndex(folder), expected)
    index = VideoIndex(folder, model=MODEL(seed=1), fps=2, anew=True)
    searcher = VideoIndex(folder, model=MODEL())
    searcher.search("a cat")
    assert counts(index.add(folder, quiet=True)) == {"found": 4, "embedded": 4}
    assert index.stats().fps == 2
    assert index.stats().windows > len(expected["windows"])
    assert counts(index.add(folder, quiet=True)) == {"found": 4, "unchanged": 4}  # once is enough
    searcher.refresh()
    assert searcher.header == index.header


def test_settings_that_do_not_fit_an_index_are_refused(folder, tmp_path):
    make_toy_index(folder)
    for given, sentence in (
        ({"fps": 2.0}, "windows of 4 frames at 1 per second with an overlap of 0.5, not of 4 at 2"),
        ({"overlap": 0.25}, "not of 4 at 1 with 0.25"),
        ({"num_frames": 8}, "not of 8 at 1"),
        ({"method": "clip"}, "built with method tempme, not clip"),
    ):
        with pytest.raises(VideoIndexError, match=f"{sentence}.*--rebuild"):
            VideoIndex(folder, **given)
    assert VideoIndex(folder, fps=1, overlap=0.5, method="tempme", num_frames=4).exists
    with pytest.raises(VideoIndexError, match=r"another model \(other weights\)"):
        VideoIndex(folder, model=MODEL(seed=1)).add(folder)
    with pytest.raises(VideoIndexError, match=r"another model \(.*method tempme, not clip"):
        VideoIndex(folder, model=MODEL("clip")).search("a cat")
    with pytest.raises(ValueError, match="overlap=1 must be"):
        VideoIndex(tmp_path / "new", model=MODEL(), overlap=1).add(folder)


def test_options_are_checked():
    with pytest.raises(ValueError, match="shard 2/2 must be one of 0/2 to 1/2"):
        IndexOptions(shard=(2, 2))
    with pytest.raises(ValueError, match="workers=0 must be a whole number of 1 or more"):
        IndexOptions(workers=0)
    assert IndexOptions(workers=3).processes == 3


def test_an_index_moves_together_with_its_folder(folder, tmp_path, done):
    make_toy_index(folder)
    moved = tmp_path / "moved" / "here"
    moved.parent.mkdir()
    folder.rename(moved)
    done.clear()
    index = VideoIndex(moved, model=MODEL())
    assert index.search("a cat").moments[0].file.is_relative_to(moved)
    assert index.file(index.store.read_files()[0].id).is_relative_to(moved)
    assert index.verify(quiet=True).is_clean
    done.clear()
    assert counts(index.add(moved, quiet=True)) == {"found": 4, "unchanged": 4}
    assert done == []


def test_an_index_elsewhere(folder, tmp_path, monkeypatch):
    place = tmp_path / "an index"
    monkeypatch.chdir(tmp_path)
    assert counts(add("videos", index="an index")) == {"found": 4, "embedded": 4}
    assert not (folder / ".tempme").exists()
    assert counts(add(folder, index=place)) == {"found": 4, "unchanged": 4}
    assert VideoIndex(place).stats().folders == (str(folder),)
    (tmp_path / "link").symlink_to(folder)
    assert counts(add(tmp_path / "link", index=place)) == {"found": 4, "unchanged": 4}
    place.rename(tmp_path / "moved")
    index = VideoIndex(tmp_path / "moved", model=MODEL())
    assert index.search("a cat", 1).moments[0].file.is_relative_to(folder)


def test_no_index_yet(tmp_path):
    index = VideoIndex(tmp_path)
    assert not index.exists
    with pytest.raises(VideoIndexError, match=f"no index in {tmp_path}.*`tempme index FOLDER`"):
        index.search("a cat")
    assert list(tmp_path.iterdir()) == []  # to look leaves nothing


def test_a_write_that_fails_half_is_not_repeated(folder, expected, monkeypatch):
    """The windows may be stored and their files not: to store both again would double them."""
    commit, index = Store.commit, VideoIndex(folder, model=MODEL())

    def half(store, windows, files):
        commit(store, windows, [])
        raise VideoIndexError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "commit", half)
        with pytest.raises(VideoIndexError, match="the disk is full"):
            index.add(folder, quiet=True)
    told = index.add(folder, quiet=True)
    assert counts(told) == {"found": 4, "known": 4}
    assert_whole(index, expected)


def test_an_index_by_the_name_of_its_model(folder, tmp_path, monkeypatch):
    """It says where its weights are, from wherever the program runs; they may move."""
    MODEL().save(tmp_path / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    VideoIndex(folder, model="model.safetensors").add(folder, quiet=True)
    monkeypatch.chdir(folder)
    index = VideoIndex(".")
    assert index.header["source"] == {"source": str(tmp_path / "model.safetensors")}
    found = index.search("a cat", 3)
    (tmp_path / "model.safetensors").rename(tmp_path / "moved.safetensors")
    write_films(folder, {"new.mp4": "6"})
    with pytest.raises(VideoIndexError, match="name their new place with --model"):
        VideoIndex(folder).search("a cat")
    with pytest.raises(VideoIndexError, match="name their new place with --model"):
        VideoIndex(folder).add(folder, quiet=True)
    (folder / "new.mp4").unlink()
    index = VideoIndex(folder, model=tmp_path / "moved.safetensors")
    assert index.search("a cat", 3) == found
    assert counts(index.add(folder, quiet=True)) == {"found": 4, "unchanged": 4}


def test_weights_that_lie_elsewhere_are_opened_with_the_same_settings(folder, monkeypatch):
    make_toy_index(folder)
    index = VideoIndex(folder, model="moved.safetensors")
    index.header["source"] = {"source": "gone.safetensors", "method": "lora", "num_frames": 8}
    asked = []
    monkeypatch.setattr(opening, "load", lambda **given: asked.append(given) or MODEL())
    assert index.model is MODEL()
    assert asked == [{"source": "moved.safetensors", "method": "lora", "num_frames": 8}]


def test_the_default_model_is_a_published_one():
    assert opening.DEFAULT_MODEL in hub.BACKBONES


def test_what_is_like_a_video_a_part_of_it_or_a_picture(folder, tmp_path):
    index = make_toy_index(folder)
    rows = list_files(index)
    [best, *_] = index.search_clip(folder / "a.mp4").moments
    assert (best.file, round(best.score, 4)) == (folder / "a.mp4", 1)
    part = index.search_clip(folder / "d.mp4", 4, 8).moments[0]
    assert (part.at, round(part.score, 4)) == (4, 1)
    windows = [row for row in index.store.scan() if row.content == rows["d.mp4"].content]
    windows.sort(key=lambda row: row.start)
    alone = MODEL().embed_windows(folder / "d.mp4")  # which cuts windows as the index does
    np.testing.assert_allclose(alone.starts, [row.start for row in windows], atol=1e-6)
    np.testing.assert_allclose(alone.ends, [row.end for row in windows], atol=1e-6)
    np.testing.assert_allclose(alone.vectors, [row.vector for row in windows], atol=1e-6)
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(index.thumbnail(part.window))
    found = index.search_image(picture, k=2).moments
    assert len(found) == 2
    with PIL.Image.open(picture) as opened:
        for same in (opened, np.asarray(opened), picture.read_bytes()):
            again = index.search_image(same, k=2).moments
            assert [one.window for one in again] == [one.window for one in found]
            assert again[0].score == pytest.approx(found[0].score, abs=1e-5)
    like = index.similar(part.window)
    assert rows["d.mp4"].id not in {moment.file_id for moment in like.moments}
    with pytest.raises(KeyError):
        index.similar("abc-00000")


def test_the_picture_of_what_was_merged_is_of_a_window(folder, monkeypatch):
    index, asked = make_toy_index(folder), []
    monkeypatch.setattr(frames, "draw_merged", lambda *given: asked.append(given) or b"PNG")
    write_films(folder, {"copy.mp4": "long"})
    index.add(folder, quiet=True)
    window = f"{list_files(index)['d.mp4'].content}-00001"
    (folder / "copy.mp4").unlink()
    assert index.merged(window) == b"PNG"
    [(given, clip)] = asked
    assert given is MODEL()
    assert (clip.file, clip.start, clip.end) == (str(folder / "d.mp4"), 2, 6)
    assert (clip.count, clip.size) == (toy_index.FRAMES, toy_index.SIDE)
    (folder / "d.mp4").unlink()
    assert index.merged(window) is None
    assert index.merged("abc-00000") is None


def test_a_searcher_sees_what_others_store(folder):
    index = make_toy_index(folder)
    assert index.search("a cat").searched == 10
    write_films(folder, {"e.mp4": "5"})
    make_toy_index(folder)
    index.refresh()
    assert index.search("a cat").searched == 11


def test_what_was_open_stays_while_the_index_is_gone(folder):
    """As while another process rebuilds it, so a server goes on, and sees the new one later."""
    make_toy_index(folder)
    index = VideoIndex(folder, model=MODEL())
    found = index.search("a cat")
    place = folder / locking.DEFAULT_NAME
    place.rename(folder / "away")
    with pytest.raises(VideoIndexError, match="no index"):
        index.refresh()
    assert index.exists and index.search("a cat") == found
    (folder / "away").rename(place)
    write_films(folder, {"e.mp4": "5"})
    make_toy_index(folder)
    index.refresh()
    assert index.search("a cat").searched == found.searched + 1


def test_a_folder_is_taken_out(folder, tmp_path):
    other = write_films(
        tmp_path / "other", {"a.mp4": "1", "x.mp4": "5"}
    )  # a copy, and one of its own
    index = VideoIndex(tmp_path / "index", model=MODEL())
    index.add(folder, quiet=True)
    index.add(other, quiet=True)
    shutil.rmtree(other)
    assert index.forget(other) == 2
    assert index.stats().folders == (str(folder),)
    found = index.search("a cat", 10)
    assert found.moments and all(one.file.is_relative_to(folder) for one in found.moments)
    assert index.verify(repair=False).leftovers == 0
    with pytest.raises(VideoIndexError, match=f"other is not in the index .*which holds {folder}"):
        index.forget(other)


def find(service, **asked):
    """What the server answers, and the names of the videos."""
    answer = searching.search(service, SearchParameters(**asked))
    return answer, [moment.name for moment in answer.moments]


def test_a_server_sees_what_another_process_has_just_stored(folder):
    add(folder)
    service = Service(VideoIndex(folder, model=MODEL()))
    assert set(find(service, q="x")[1]) == {"a.mp4", "b.mp4", "c.mp4", "d.mp4"}
    write_films(folder, {"e.mp4": "4"})
    add(folder)
    assert "e.mp4" in find(service, q="x")[1]
    (folder / "e.mp4").unlink()
    gone = {one.name for one in find(service, q="x")[0].moments if one.gone}
    assert gone == {"e.mp4"}


def test_a_server_takes_all_that_may_be_asked(folder):
    add(folder)
    service = Service(VideoIndex(folder, model=MODEL()))
    answer, names = find(service, q="x", name="d.mp4")
    long = answer.moments[0]
    assert set(names) == {"d.mp4"} and len(answer.lines) == 1
    assert len(find(service, q="x", file=long.file_id)[1]) >= len(names)
    others = find(service, q="x", like=long.window, without="y, z", weight=0.2)
    assert others[0].kind == "mixed" and others[1] and "d.mp4" not in others[1]
    own = find(service, like=long.window, file=long.file_id)[0]
    assert own.kind == "similar" and own.verdict == "same"
    assert find(service, q="x", after="2999-01-01")[0].message.startswith("nothing to search")
