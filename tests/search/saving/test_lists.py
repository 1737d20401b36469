"""What was found, as lists that other programs open."""

import csv
import dataclasses
import io
import math
from pathlib import Path

import pytest

from tempme_jax.search.query.results import Moment, Results
from tempme_jax.search.saving.lists import FORMATS

ODD = Path('/videos/b \n\udcff,"c".mp4')


def make_moment(file, start, end, percentile=99.0):
    return Moment(
        file=file, start=start, end=end, at=start, score=0.25, percentile=percentile,
        window="ab-00001", file_id="ab", copies=(),
    )  # fmt: skip


@pytest.fixture
def results():
    moments = (
        make_moment(Path("/videos/ä.mp4"), 3599.5, 3723.25), make_moment(ODD, 0.0, 0.01, math.nan)
    )  # fmt: skip
    return Results(query="a\ncat", moments=moments, confident=True, searched=2, message="")


def test_csv(results):
    first, second = csv.DictReader(io.StringIO(FORMATS["csv"](results)))
    assert (first["file"], first["start"], first["end"]) == ("/videos/ä.mp4", "3599.5", "3723.25")
    assert (second["file"], second["percentile"], second["fit"]) == (str(ODD), "", "")


def test_of_weak_moments_as_many_are_listed_as_the_table_shows(results):
    weak = tuple(
        dataclasses.replace(make_moment(Path(f"/{n}.mp4"), 0.0, 1.0, 1.0), window=str(n))
        for n in range(5)
    )
    results = dataclasses.replace(results, moments=weak, confident=False)
    for write in FORMATS.values():
        assert [f"/{n}.mp4" in write(results) for n in range(5)] == [True] * 3 + [False] * 2
        assert all(f"/{n}.mp4" in write(results, everything=True) for n in range(5))


def test_m3u(results):
    lines = FORMATS["m3u"](results).splitlines()
    assert lines[:5] == [
        "#EXTM3U", "#EXTINF:124,ä.mp4 1:00:00-1:02:03", "#EXTVLCOPT:start-time=3599.5",
        "#EXTVLCOPT:stop-time=3723.25", "/videos/ä.mp4",
    ]  # fmt: skip
    assert len(lines) == 9 and lines[-1] == "file:///videos/b%20%0A%FF%2C%22c%22.mp4"


def test_edl(results):
    lines = FORMATS["edl"](results).splitlines()
    assert lines[0] == "TITLE: a\ufffdcat" and len(lines) == 8
    assert lines[2].split()[4:] == ["00:59:59:13", "01:02:03:06", "00:00:00:00", "00:02:03:18"]
    assert lines[5].split()[4:] == ["00:00:00:00", "00:00:00:01", "00:02:03:18", "00:02:03:19"]


def test_otio_opens(results, tmp_path):
    otio = pytest.importorskip("opentimelineio")
    file = tmp_path / "a.otio"
    file.write_text(FORMATS["otio"](results), encoding="utf-8")
    timeline = otio.adapters.read_from_file(str(file))
    clip, *others = timeline.find_clips()
    assert len(others) == 3 and timeline.duration().to_seconds() == pytest.approx(123.76)
    assert clip.media_reference.target_url == "file:///videos/%C3%A4.mp4"
    assert clip.source_range.duration.to_seconds() == pytest.approx(123.75, abs=0.04)


def test_without_moments(results):
    empty = Results(query="a", moments=(), confident=False, searched=0, message="nothing")
    assert [len(write(empty)) < 600 for write in FORMATS.values()] == [True] * 4
