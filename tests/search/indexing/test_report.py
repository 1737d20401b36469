"""What a run says of itself, while it goes on and at its end."""

import dataclasses

import pytest

from tempme_jax.search.indexing import progress, report
from tempme_jax.search.indexing.embedding import Advance


def test_failures_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "failed.jsonl"
    failures = [report.Failure(b"\xff\n.mp4", "not a video", "open")]
    report.write_failures(failures, file)
    assert file.read_text() == (
        '{"file": "\\udcff\\n.mp4", "reason": "not a video", "stage": "open"}\n'
    )
    before = file.read_text()
    monkeypatch.setattr(report.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        report.write_failures([], file)
    assert [path.name for path in tmp_path.iterdir()] == ["failed.jsonl"]
    assert file.read_text() == before


def test_a_summary_of_many_failures():
    failures = [report.Failure(b"%d.mp4" % i, "not a video", "open") for i in range(8)]
    told = report.IndexReport(
        root=None, embedded=1, hours=2, windows=9, seconds=100, failures=failures
    )
    lines = told.summary.splitlines()
    assert lines[0] == "1 video indexed (2.0 h, 9 windows) in 2 min, 0 unchanged"
    assert lines[1:3] == ["8 files could not be indexed:", "  0.mp4: not a video"]
    assert (len(lines), lines[-1]) == (8, "  and 3 more")
    assert dataclasses.replace(told, failures=[]).summary == lines[0]


def advance(told, key, seconds, length, **options):
    told.advance(Advance(key, seconds, length, **options))


def test_lines_where_there_is_no_bar(capsys, monkeypatch):
    """Each says how far a run has come, how fast, and when it will be done."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    told = progress.IndexProgress()
    told.begin({"a": 600.0, "b": 1200.0, "c": None}, {"a": "/x/a.mp4", "b": "/x/b.mp4"})
    now[0] += 100  # to start
    advance(told, "a", 12.0, 600.0)
    assert told.describe() == "a.mp4: 0:12 of 30:00, 0 of 3 videos"
    now[0] += 10
    told.count_video("a")
    advance(told, "b", 12.0, 1212.0)  # a bit longer than it stated
    told.count_video("c", bad=True)
    assert told.describe() == (
        "b.mp4: 10:12 of 30:12, 60.0 x real time, 0:20 to go, 2 of 3 videos, 1 bad"
    )
    advance(told, "b", 600.0, 1212.0, is_resumed=True)  # which says nothing of the speed
    told.end()
    assert capsys.readouterr().err.splitlines() == [
        "To embed: 3 videos, 30 min, and 1 of unknown length",
        "Resuming b.mp4 at 10:00",
        "b.mp4: 20:00 of 30:12, 60.0 x real time, 0:10 to go, 2 of 3 videos, 1 bad",
    ]


def test_a_quiet_run(capsys):
    told = progress.IndexProgress(quiet=True)
    told.begin({"a": 600.0}, {"a": "a.mp4"})
    advance(told, "a", 12.0, 600.0)
    with told.show("Opening the model"):
        assert list(told.track([1, 2], 2)) == [1, 2]
    told.end()
    assert capsys.readouterr() == ("", "")
