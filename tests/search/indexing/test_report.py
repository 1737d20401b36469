"""What a run says of itself, while it goes on and at its end."""

import dataclasses

import pytest

from tempme_jax.search.indexing import progress, report


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


def test_the_time_that_is_left_is_told_where_there_is_no_bar(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    told = progress.IndexProgress()
    told.begin([600.0] * 6 + [None])
    now[0] += 100  # to start
    for _ in range(4):
        told.count_video(600.0)
        now[0] += 5
    told.end()
    assert capsys.readouterr().err.splitlines() == [
        "To embed: 7 videos, 60 min, and 1 of unknown length",
        "120.0 minutes of video per minute; about 15 s to go",
    ]
