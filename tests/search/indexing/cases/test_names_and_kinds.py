"""Case 13: an index takes all that is a video, passes over the rest, and says what it left out."""

import io
import json
import os
import shutil

import pytest
import toy_index
from PIL import Image
from toy_index import list_files, make_toy_index, read_film, write_films
from video_files import encode_sound

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.index import VideoIndex


@pytest.fixture(autouse=True)
def done(monkeypatch):
    return toy_index.decode_here(monkeypatch)


def draw_still(kind):
    Image.new("RGB", (64, 48), "red").save(file := io.BytesIO(), kind)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    """A folder as people have them."""
    taken = ["MOV001.MOD", "M.MPE", "GX01.LRV", "VID.insv", "PXL.MP", "x.mxf", "es.m2v", "tape.dv"]
    omitted = [
        "@eaDir/IMG.MP4/SYNOPHOTO_FILM_H264.mp4",
        "#recycle/gone.mp4",
        "$RECYCLE.BIN/$R1.mp4",
    ]
    others = ["quiet/x.mp4", "x.mp4.part", "y.part"]
    folder = write_films(tmp_path / "videos", dict.fromkeys([*taken, *omitted, *others], "1"))
    (folder / "quiet" / ".nomedia").touch()
    (folder / "code.ts").write_text("export const a: number = 1;\n")
    (folder / "de.ts").write_text('<?xml version="1.0"?>\n<!DOCTYPE TS>\n<TS></TS>')
    for name in ("song.mp4", "memo.3gp"):
        encode_sound(folder / name)
    (folder / "still.gif").write_bytes(draw_still("gif"))
    (folder / "still.webp").write_bytes(draw_still("webp"))
    frames = [Image.new("RGB", (64, 48), (0, i * 60, 0)) for i in range(4)]
    for name in ("a.gif", "a.webp"):
        frames[0].save(folder / name, save_all=True, append_images=frames[1:], duration=200)
    (folder / "broken.mp4").write_bytes(b"<html><title>404</title>")
    return folder


TAKEN = {b"MOV001.MOD", b"M.MPE", b"GX01.LRV", b"VID.insv", b"PXL.MP", b"x.mxf", b"es.m2v"}
TAKEN |= {b"tape.dv", b"a.gif", b"a.webp"}
PASSED_OVER = {
    ".part": 2, ".ts (source code)": 2, ".gif (still pictures)": 1, ".webp (still pictures)": 1,
    ".mp4 (music or other audio)": 1, ".3gp (music or other audio)": 1,
}  # fmt: skip
LEFT_OUT = {"@eaDir": 1, "#recycle": 1, "$RECYCLE.BIN": 1, "with .nomedia": 1}


def list_indexed(index):
    return {row.path for row in index.store.read_files() if not row.reason}


def test_all_is_told(folder):
    index = VideoIndex(folder, model=toy_index.make_model())
    for _ in range(2):  # the second run need not open them again
        report = index.add(folder, quiet=True)
        assert list_indexed(index) == TAKEN
        assert (report.passed_over, report.left_out) == (PASSED_OVER, LEFT_OUT)
        assert [failure.file for failure in report.failures] == [b"broken.mp4"]
        assert "a web page" in report.failures[0].reason
    lines = report.summary.splitlines()
    assert lines[1].startswith("8 passed over: 1 .3gp (music or other audio), 1 .gif (still pic")
    assert lines[2] == "Left out: 1 #recycle, 1 $RECYCLE.BIN, 1 @eaDir, 1 with .nomedia"
    told = json.loads(json.dumps(report.convert_to_json()))
    assert (told["passed_over"], told["left_out"]) == (PASSED_OVER, LEFT_OUT)
    assert told["failures"] == [
        {"file": "broken.mp4", "reason": report.failures[0].reason, "stage": "open"}
    ]


def test_the_first_shard_counts_what_is_not_indexed(folder):
    index = VideoIndex(folder, model=toy_index.make_model())
    reports = [index.add(folder, shard=(number, 2), quiet=True) for number in (0, 1)]
    assert reports[0].passed_over + reports[1].passed_over == PASSED_OVER
    assert (reports[0].left_out, reports[1].left_out) == (LEFT_OUT, {})
    assert list_indexed(index) == TAKEN


def test_what_is_excluded_later_leaves_the_index_and_comes_back(tmp_path, done):
    films = {"a.mp4": "1", "private/b.mp4": "2", "private/c.mp4": "3"}
    folder = write_films(tmp_path / "videos", films)
    index = make_toy_index(folder)
    before = list_files(index)
    done.clear()
    report = index.add(folder, exclude=["private/", "nothing"], quiet=True)
    assert (report.withdrawn, report.gone, report.left_out) == (2, 0, {"by --exclude": 1})
    assert list_indexed(index) == {b"a.mp4"}
    assert "Taken out of the index, since they are left out now: 2 files" in report.summary
    assert "--exclude nothing left nothing out" in report.summary
    assert "patterns in a file .tempmeignore" in report.summary
    report = index.add(folder, quiet=True)
    assert (report.withdrawn, report.left_out) == (0, {})
    assert list_files(index) == before


def test_an_older_index_holds_what_is_left_out_today(tmp_path, monkeypatch):
    folder = write_films(tmp_path / "videos", {"a.mp4": "1", "b/c.mp4": "2"})
    index = make_toy_index(folder)
    (folder / "b" / ".nomedia").touch()
    report = index.add(folder, quiet=True)
    assert (report.withdrawn, report.left_out) == (1, {"with .nomedia": 1})
    (folder / ".tempmeignore").write_text("!b/\n")
    assert index.add(folder, quiet=True).withdrawn == 0
    assert list_indexed(index) == {b"a.mp4", b"b/c.mp4"}


def test_an_index_is_not_emptied_by_a_pattern(tmp_path):
    folder = write_films(tmp_path / "videos", {"a.mp4": "1", "notes.txt": "2"})
    index = make_toy_index(folder)
    with pytest.raises(VideoIndexError, match=r"has 1 of them. .*Left out: \d by --exclude. Is a"):
        index.add(folder, exclude=["*"], quiet=True)
    assert list_indexed(index) == {b"a.mp4"}
    shutil.rmtree(folder / ".tempme")
    with pytest.raises(VideoIndexError, match="there is no video in .*Left out: 1 by --exclude"):
        VideoIndex(folder, model=toy_index.make_model()).add(folder, exclude=["*.mp4"], quiet=True)


def test_patterns_are_checked_before_anything_is_done(tmp_path):
    folder = write_films(tmp_path / "videos", {"a.mp4": "1"})
    with pytest.raises(VideoIndexError, match="--exclude '!' is not a pattern"):
        VideoIndex(folder, model=toy_index.make_model()).add(folder, exclude=["!"], quiet=True)
    assert not os.path.exists(folder / ".tempme")


def test_a_still_that_becomes_a_film_is_taken(tmp_path):
    folder = write_films(tmp_path / "videos", {"a.mp4": "1"})
    (folder / "b.ts").write_text("let a = 1")
    index = make_toy_index(folder)
    (folder / "b.ts").write_bytes(read_film("2"))
    report = index.add(folder, quiet=True)
    assert (report.embedded, report.passed_over) == (1, {})
