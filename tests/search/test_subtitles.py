"""What is said: subtitles follow their files, and words in them are found beside what is seen."""

import contextlib
import math
import os
import shutil
import sqlite3

import pytest
import toy_index
from toy_index import make_toy_index, write_films

from tempme_jax.search.index import VideoIndex
from tempme_jax.search.indexing.progress import IndexProgress
from tempme_jax.search.indexing.subtitles import update_subtitles
from tempme_jax.search.indexing.survey import VideoFolder
from tempme_jax.search.indexing.walk import find_videos
from tempme_jax.search.query.printing import print_results
from tempme_jax.search.query.results import convert_from_json, convert_to_json
from tempme_jax.search.store import subtitle_file
from tempme_jax.search.store.rows import FileRow
from tempme_jax.video import subtitles

LINE = "{0}\n00:00:{1:02d},000 --> 00:00:{2:02d},500\n{3}\n\n"
BOAT = LINE.format(1, 1, 2, "We need a bigger") + LINE.format(2, 3, 4, "boat, my friends.")
CAFE = LINE.format(1, 6, 8, "Le café est fermé.") + LINE.format(2, 12, 13, "大きな船が必要です")


@pytest.fixture(autouse=True)
def done(monkeypatch):
    return toy_index.decode_here(monkeypatch)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two films with subtitles and one without, to be copied."""
    with pytest.MonkeyPatch.context() as patch:
        toy_index.decode_here(patch)
        films = {"deep/a.mp4": "long", "b.mp4": "30", "c.mp4": "40"}
        folder = write_films(tmp_path_factory.mktemp("made"), films)
        (folder / "deep" / "a.en.srt").write_text(CAFE + BOAT)
        (folder / "b.srt").write_text(BOAT)
        (folder / "notes.srt").write_text(BOAT)
        make_toy_index(folder)
        return folder


@pytest.fixture(scope="module")
def index(made):
    """The index of these films, which is only read."""
    return open_index(made)


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "videos")


def open_index(folder):
    return VideoIndex(folder, model=toy_index.make_model())


def run(folder):
    return open_index(folder).add(folder, quiet=True)


def find(videos, text, k=10, **filters):
    """What is found by words: names of files, and times."""
    said = open_index(videos).search(text, k, **filters).said
    return [(moment.file.name, moment.start, moment.end) for moment in said]


def test_a_moment_by_its_words(index):
    results = index.search("bigger boat")
    first = next(moment for moment in results.said if moment.file.name == "a.mp4")
    assert {moment.file.name for moment in results.said} == {"a.mp4", "b.mp4"}
    assert (first.start, first.end, first.found_in, first.verdict) == (1, 4.5, "said", "strong")
    assert "We need a bigger boat, my friends." in {moment.text for moment in results.said}
    assert {moment.subtitles for moment in results.said} == {"a.en.srt", "b.srt"}
    assert math.isnan(first.score) and math.isnan(first.percentile)
    assert all(moment.found_in == "seen" and not moment.text for moment in results.moments)
    again = convert_from_json(convert_to_json(results))
    assert convert_to_json(again) == convert_to_json(results)
    assert convert_to_json(results)["said"][0]["score"] is None


def test_the_window_of_a_moment_shows_it(index):
    (moment,) = index.search("cafe ferme").said
    row = index.store.read_window(moment.window)
    assert row.start <= moment.start == 6 < row.end
    assert index.thumbnail(moment.window) and index.file(moment.file_id).name == "a.mp4"
    assert index.similar(moment.window).moments


@pytest.mark.parametrize(
    "text, verdicts",
    [
        ("need a bigger boat", {"strong"}),
        ("boats we need", {"possible"}),
        ('"boats we need"', set()),
        ("“bigger boat”", {"strong"}),
        ("a boat in the storm", set()),
        ("CAFÉ", {"strong"}),
        ("船が必要", {"strong"}),
        ('" OR (', set()),
        ("NOT", set()),
        ("boat* AND", set()),
    ],
)
def test_words(index, text, verdicts):
    assert {moment.verdict for moment in index.search(text).said} == verdicts


@pytest.mark.parametrize(
    "text", ["boat\0", "\udcff boat", "\ufdd0boat", " ", "", '"', "a" * 20_000]
)
def test_texts_that_are_hardly_words(index, text):
    with subtitle_file.open_subtitles(index.uri) as stored:
        assert len(list(stored.find(text))) == (2 if "boat" in text else 0)


def test_a_table_of_its_own(index, capsys):
    print_results(index.search("cafe"))
    shown = capsys.readouterr().out
    assert "Said there" in shown and "Le café est fermé." in shown and "a.en.srt" in shown
    assert "nan" not in shown


def test_filters_and_number(index, made):
    for filters in ({"folder": made / "deep"}, {"min_seconds": 9}, {"name": "a.m*"}):
        assert [one.file.name for one in index.search("boat", **filters).said] == ["a.mp4"]
    assert len(index.search("boat", 1).said) == 1
    assert index.search_clip(made / "b.mp4").said == ()


def test_what_begins_after_the_end_is_left_out(folder):
    (folder / "c.srt").write_text(LINE.format(1, 50, 55, "a boat of another film"))
    assert run(folder).subtitles == 1
    assert "c.mp4" not in {name for name, _, _ in find(folder, "boat")}


def test_files_of_subtitles_are_followed(folder):
    assert run(folder).subtitles == 0
    (folder / "b.srt").write_text(BOAT.replace("boat", "ship"))
    (folder / "c.de.srt").write_text(BOAT.replace("boat", "Schiff"))
    (folder / "deep" / "a.en.srt").unlink()
    report = run(folder)
    assert (report.subtitles, report.embedded, report.failures) == (2, 0, [])
    assert find(folder, "boat") == []
    assert find(folder, "ship") == [("b.mp4", 3, 3.3)]
    assert open_index(folder).stats().subtitles == 2
    assert find(folder, "schiff") == [("c.mp4", 3, 4.3)]


def test_a_video_that_moves_or_goes_takes_its_words_along(folder):
    (folder / "new").mkdir()
    for name in ("b.mp4", "b.srt"):
        (folder / name).rename(folder / "new" / name)
    shutil.rmtree(folder / "deep")
    report = run(folder)
    assert (report.moved, report.gone, report.embedded) == (1, 1, 0)
    assert find(folder, "boat") == [("b.mp4", 3, 3.3)]
    run(folder)
    with subtitle_file.open_subtitles(open_index(folder).uri) as stored:
        assert stored.count_lines() == 1


def test_files_that_hold_none_are_reported_and_not_read_again(folder, monkeypatch):
    (folder / "c.srt").write_bytes(b"\x00\x01\x02" * 999)
    (folder / "c.en.srt").write_text("x" * 1000)
    monkeypatch.setattr(subtitles, "MOST_BYTES", 500)
    for _ in range(2):
        report = run(folder)
        assert [failure[::2] for failure in report.failures] == [
            (b"c.en.srt", "subtitles"), (b"c.srt", "subtitles"),
        ]  # fmt: skip
        assert "c.srt: " in report.summary and report.passed_over == {".srt": 1}
    assert find(folder, "boat")


def test_an_index_of_an_earlier_version_gets_its_subtitles(folder):
    place = subtitle_file.locate_subtitles(open_index(folder).uri)
    place.unlink()
    assert find(folder, "boat") == []
    assert not place.exists()
    assert run(folder).subtitles == 2
    assert len(find(folder, "boat")) == 2


def test_what_a_run_left_half_done_is_taken_back(folder, tmp_path):
    """A process that was killed, or a full disk, leaves a journal beside the file."""
    index = open_index(folder)
    place = subtitle_file.locate_subtitles(index.uri)
    with contextlib.closing(sqlite3.connect(place)) as connection:
        connection.execute("PRAGMA cache_size = 1")
        for _ in range(50):
            connection.execute("INSERT INTO lines (text, times) VALUES (?, '[]')", ("x" * 5000,))
        for name in (place.name, f"{place.name}-journal"):
            shutil.copy(place.with_name(name), tmp_path / name)
    for name in (place.name, f"{place.name}-journal"):
        shutil.copy(tmp_path / name, place.with_name(name))
    results = index.search("bigger boat")
    assert len(results.said) == 2 and not results.notice


def test_damage_is_found_and_what_is_lost_is_read_again(folder):
    index = open_index(folder)
    assert index.verify(quiet=True).subtitles == 2
    place = subtitle_file.locate_subtitles(index.uri)
    place.write_bytes(b"no database" * 999)
    results = index.search("bigger boat")
    assert results.moments and not results.said and "cannot be read" in results.notice
    assert index.stats().subtitles is None
    assert ("subtitles" in dict(index.verify(quiet=True).problems)) and not place.exists()
    assert run(folder).subtitles == 2
    with sqlite3.connect(place) as connection:
        connection.execute("UPDATE lines_content SET c0 = 'other words'")
    connection.close()
    assert not index.verify(quiet=True).is_clean
    assert run(folder).subtitles == 2
    assert len(find(folder, "boat")) == 2


def test_a_folder_that_is_forgotten_leaves_no_words(folder, tmp_path):
    other = write_films(tmp_path / "other", {"d.mp4": "31"})
    (other / "d.srt").write_text(LINE.format(1, 0, 1, "a zeppelin"))
    index = open_index(folder)
    index.add(other, quiet=True)
    assert find(folder, "zeppelin") == [("d.mp4", 0, 1.5)]
    place = subtitle_file.locate_subtitles(index.uri)
    assert b"zeppelin" in place.read_bytes()
    index.forget(other)
    assert find(folder, "zeppelin") == [] and len(find(folder, "boat")) == 2
    assert b"zeppelin" not in place.read_bytes()


def test_subtitles_that_cannot_be_stored_stop_no_run(folder, monkeypatch):
    place = subtitle_file.locate_subtitles(open_index(folder).uri)
    place.unlink()
    os.mkdir(place)
    write_films(folder, {"e.mp4": "4"})
    report = run(folder)
    assert report.embedded == 1
    assert "cannot be written" in report.failures[0].reason
    assert open_index(folder).search("boat").moments


def test_a_time_that_is_up_leaves_them_to_the_next_run(folder, monkeypatch):
    subtitle_file.locate_subtitles(open_index(folder).uri).unlink()
    report = open_index(folder).add(folder, quiet=True, budget=1e-9)
    assert report.subtitles_left == 4 and "next run" in report.summary
    run(folder)
    assert len(find(folder, "boat")) == 2


def test_an_index_in_an_object_store_says_that_it_keeps_none(folder):
    place = VideoFolder(folder, "..")
    row = FileRow("ab", "..", b"b.mp4", 1, 1, content="cd")
    update = update_subtitles(
        "s3://bucket/index", place, find_videos(folder), [row],
        workers=1, progress=IndexProgress(quiet=True),
    )  # fmt: skip
    assert [failure.reason for failure in update.failures] == [
        "1 file left out: an index in an object store has none"
    ]
