"""What is done of a video that a run did not finish is kept, and the next run resumes within it."""

import contextlib
import fcntl
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios

import numpy as np
import pytest
import toy_index
from toy_index import LONG, list_files, list_windows, make_toy_index, write_films
from video_files import write_grey_video

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.index import VideoIndex
from tempme_jax.search.indexing import embedding
from tempme_jax.search.indexing.unfinished import FOLDER, UnfinishedVideos, read_part

SOME = {"a.mp4": "1", "long.mp4": "long"}
BATCH = 2  # windows, as on a CPU


@pytest.fixture(autouse=True)
def done(monkeypatch):
    return toy_index.decode_here(monkeypatch)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        toy_index.decode_here(patch)
        index = make_toy_index(write_films(tmp_path_factory.mktemp("expected"), SOME))
        return list_files(index), list_windows(index)


@pytest.fixture
def folder(tmp_path):
    return write_films(tmp_path / "videos", SOME)


def open_index(folder, **options):
    return VideoIndex(folder, model=toy_index.make_model(), **options)


def interrupt(folder, monkeypatch, batches, error=KeyboardInterrupt):
    """Index until so many batches are embedded; return what the run says."""
    encode = embedding.encode_frames
    left = iter(range(batches))

    def encode_some(*arguments):
        if next(left, None) is None:
            raise error
        return encode(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(embedding, "encode_frames", encode_some)
        patch.setattr(embedding, "choose_video_batch", lambda: BATCH)
        return open_index(folder).add(folder, quiet=True)


def finish(folder, monkeypatch):
    """Index the rest; return how many windows were embedded for it, and the index."""
    encode, batches = embedding.encode_frames, []

    def count(*arguments):
        batches.append(1)
        return encode(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(embedding, "encode_frames", count)
        patch.setattr(embedding, "choose_video_batch", lambda: BATCH)
        index = open_index(folder)
        index.add(folder, quiet=True)
    return BATCH * len(batches), index


def list_parts(folder):
    return sorted((folder / ".tempme" / FOLDER).glob("*/*.npz"))


def assert_whole(index, expected):
    """To the last bit as if nothing had happened; nothing is left of it."""
    assert (list_files(index), list_windows(index)) == expected
    assert not (index.store._tables.folder / FOLDER).exists()


def test_an_interrupted_video_is_resumed(folder, expected, monkeypatch):
    told = interrupt(folder, monkeypatch, 3)
    assert (told.stopped, told.embedded, told.left, told.begun) == ("Interrupted", 1, 1, 1)
    assert told.begun_seconds == LONG[4][1]
    assert told.summary.splitlines()[-1] == (
        "Interrupted: 1 video left, 1 of them begun (12 s are kept, not yet searched). "
        "Run the same command to resume."
    )
    index = open_index(folder)
    assert index.search("a cat").searched == 1  # half a video is not searched
    assert index.verify(quiet=True).is_clean
    windows, index = finish(folder, monkeypatch)
    assert windows == 2  # of 7, the first 5 were kept
    assert_whole(index, expected)


def test_windows_are_kept_now_and_then(folder, expected, monkeypatch):
    """However a run ends; here by an error of the program."""
    monkeypatch.setattr(embedding, "SECONDS_A_PART", 0)
    with pytest.raises(ZeroDivisionError):
        interrupt(folder, monkeypatch, 3, error=ZeroDivisionError)
    assert len(list_parts(folder)) > 1
    windows, index = finish(folder, monkeypatch)
    assert windows == 2  # the first video is in the tables, and 5 windows of the long one are kept
    assert_whole(index, expected)


@pytest.mark.parametrize("damage", [b"no zip", None])
def test_damaged_parts_do_not_count(folder, expected, monkeypatch, damage):
    monkeypatch.setattr(embedding, "SECONDS_A_PART", 0)
    interrupt(folder, monkeypatch, 3)
    first = list_parts(folder)[0]
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(data if damage is None else damage)
    windows, index = finish(folder, monkeypatch)
    assert windows == 8
    assert_whole(index, expected)


def test_another_file_of_the_same_name(folder, monkeypatch):
    interrupt(folder, monkeypatch, 3)
    write_films(folder, {"long.mp4": "9"})
    assert finish(folder, monkeypatch)[1].stats().videos == 2
    assert not (folder / ".tempme" / FOLDER).exists()


def test_a_moved_file_and_another_model(folder, expected, monkeypatch):
    interrupt(folder, monkeypatch, 3)
    (folder / "long.mp4").rename(folder / "moved.mp4")
    shutil.copytree(folder, folder.parent / "other", symlinks=True)
    assert finish(folder, monkeypatch)[0] == 2
    other = VideoIndex(folder.parent / "other", model=toy_index.make_model(seed=1), anew=True)
    assert other.add(folder.parent / "other", quiet=True).windows == 1 + len(LONG)
    whole = toy_index.make_model(seed=1)
    again = VideoIndex(folder.parent / "again", model=whole)
    again.add(folder.parent / "other", quiet=True)
    assert list_windows(other) == list_windows(again)


def test_forget_removes_what_is_kept(folder, monkeypatch):
    interrupt(folder, monkeypatch, 3)
    assert list_parts(folder)
    open_index(folder).forget(folder)
    assert not (folder / ".tempme" / FOLDER).exists()


def test_a_disk_that_is_full(folder, monkeypatch):
    """The video is embedded anew by the next run, and nothing else is lost."""
    unfinished = UnfinishedVideos(str(folder), {}, "..")
    video = embedding._PartialVideo()
    video.spans, video.thumbnails = [(0.0, 1.0)], [b"x"]
    video.vectors, video.whole = [np.ones(3, np.float32)], "0"
    (folder / FOLDER).write_bytes(b"in the way")
    unfinished.keep({"ab": video})
    assert unfinished.problem and unfinished.measure(["ab"]) == (0, 0)
    (folder / FOLDER).unlink()
    unfinished.keep({"ab": video})
    assert unfinished.measure(["ab", "cd"]) == (1, 1.0)
    [file] = (folder / FOLDER).glob("ab/*.npz")
    assert read_part(file)[1].thumbnails == [b"x"]
    assert UnfinishedVideos("s3://bucket/index", {}, "..").folder is None


def test_an_interrupt_before_anything_is_done(folder, monkeypatch):
    told = interrupt(folder, monkeypatch, 0)
    assert (told.stopped, told.left, told.begun) == ("Interrupted", 2, 0)
    assert list_parts(folder) == []
    with pytest.raises(VideoIndexError):
        open_index(folder.parent).forget(folder.parent)


def run_on_terminal(*command, stop=None):
    """Run a command on a terminal; send Ctrl-C once it has shown `stop`; return what it shows."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 110, 0, 0))
    with subprocess.Popen(
        list(map(str, command)), stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    ) as process:
        os.close(slave)
        shown = ""
        with contextlib.suppress(OSError):  # at the end of the process
            while data := os.read(master, 65536):
                shown += data.decode(errors="replace")
                if stop and stop in shown:
                    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: children, too
                    stop = None
    os.close(master)
    return process.returncode, shown


@pytest.mark.slow
def test_ctrl_c_within_a_long_video(tmp_path):
    """As from the shell: two hours of film, of which some minutes are embedded when it comes."""
    folder = tmp_path / "films"
    folder.mkdir()
    write_grey_video(folder / "day.mp4", range(0, 2 * 36000, 30), size=(64, 48), preset="ultrafast")
    index = (sys.executable, "-m", "tempme_jax.cli", "index", folder, "--model", "tiny-tempme")
    code, shown = run_on_terminal(*index, stop=" x real time")
    assert code == 130, shown[-3000:]
    assert re.search(r"Interrupted: 1 video left, 1 of them begun \(.* are kept", shown)
    [begun] = re.findall(r"begun \((.*) are kept", shown)
    code, shown = run_on_terminal(*index)
    assert code == 0 and "Resuming day.mp4 at " in shown and "1 video indexed (2.0 h" in shown
    assert begun not in ("0 s", "2.0 h")
    for line in ("Starting...", "Opening the model...", "Reading the first frames..."):
        assert line in shown
    code, _ = run_on_terminal(*index, "--index", tmp_path / "whole")
    resumed, whole = VideoIndex(folder), VideoIndex(tmp_path / "whole")
    assert list_windows(resumed) == list_windows(whole)
