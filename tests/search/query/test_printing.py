"""The table of a search says how well each moment fits, and in one direction only."""

import dataclasses
import math
from pathlib import Path

import pytest

from tempme_jax.search.query.printing import print_results
from tempme_jax.search.query.results import (
    Moment,
    NameMatch,
    Results,
    ScoreLine,
    convert_from_json,
    convert_to_json,
)
from tempme_jax.search.query.verdicts import choose_verdict
from tempme_jax.search.query.wording import describe_verdict, explain_doubt

MOMENT = Moment(
    file=Path("/v/a.mp4"), start=0.0, end=12.0, at=0.0, score=0.3, percentile=98.2,
    window="aa-00000", file_id="aa", copies=(),
)  # fmt: skip
FOLDER = NameMatch(
    path=Path("/v/red"), is_folder=True, count=2, file_id="aa", window="aa-00000", seconds=3.0
)
FOUND = Results(query="", moments=(MOMENT,), confident=True, searched=1, message="")


def make_weak(*percentiles):
    moments = [
        dataclasses.replace(MOMENT, percentile=one, window=f"aa-{place:05d}", verdict="")
        for place, one in enumerate(percentiles)
    ]
    return dataclasses.replace(FOUND, moments=tuple(moments), confident=False)


def test_the_table_says_what_its_columns_mean(capsys):
    print_results(FOUND)
    text = capsys.readouterr().out
    assert "strong" in text and "98 %" in text
    assert "the share of 256 unrelated sentences that score lower in this index. From 98 %" in text
    print_results(dataclasses.replace(FOUND, kind="picture"))
    frames = capsys.readouterr().out
    assert "the share of windows in other videos that" in frames and "sentences" not in frames


def test_of_nonsense_three_weak_moments_are_shown(capsys):
    found = make_weak(60, 40, 30, 20, 10, 5)
    assert [moment.percentile for moment in found.shown] == [60, 40, 30, 20]
    print_results(found)
    assert "2 more weak matches left out; -k 6 shows all." in capsys.readouterr().out
    print_results(found, everything=True)
    assert "left out" not in capsys.readouterr().out
    assert len(make_weak(99, 10, 9, 8, 7).shown) == 5  # a strong one is there
    assert FOUND.shown == FOUND.moments and make_weak().shown == () and make_weak().verdict == ""


def test_names_and_moments_of_one_video_are_told(capsys):
    print_results(dataclasses.replace(FOUND, names=(FOLDER,), more_names=3), per_video=1)
    text = capsys.readouterr().out
    assert "Names with these words:\n  /v/red/ (2 videos)\n  and 3 more\n" in text
    assert "At most 1 of each video; --in VIDEO shows all of one." in text


@pytest.mark.parametrize(
    ("score", "percentile", "verdict"),
    [
        (0.3, 98.0, "strong"),
        (0.3, 97.99, "possible"),
        (0.3, 50.0, "possible"),
        (0.3, 49.9, "weak"),
        (0.3, math.nan, "possible"),
        (-0.3, math.nan, "weak"),
        (0.9995, 1.0, "same"),
        (math.nan, math.nan, "possible"),
    ],
)
def test_verdicts(score, percentile, verdict):
    assert choose_verdict(score, percentile) == verdict
    one = dataclasses.replace(MOMENT, score=score, percentile=percentile, verdict="")
    assert one.verdict == verdict
    assert dataclasses.replace(one, verdict="same").verdict == "same"


def test_words_fit_the_kind_of_query():
    assert describe_verdict("same", "clip") == "the same clip"
    assert explain_doubt("same", 1.0, "picture", None, 20) == ""
    weak = explain_doubt("weak", 12.7, "picture", None, 20)
    assert "only 12 % of windows in other videos; nothing here looks much like the picture" in weak
    assert "unrelated sentences; these videos" in explain_doubt("weak", 12.7, "text", None, 20)


def test_json_keeps_everything():
    line = ScoreLine(file_id="aa", seconds=2.0, scores=(0.1, None))
    found = dataclasses.replace(FOUND, names=(FOLDER,), lines=(line,), levels=(0.1, 0.2, 0.3))
    converted = convert_to_json(found)
    assert converted["moments"][0]["verdict"] == "strong" and converted["names"][0]["count"] == 2
    assert convert_from_json(converted) == found
    old = {name: converted[name] for name in ("query", "confident", "searched", "message")}
    assert convert_from_json({**old, "moments": converted["moments"]}).moments == (MOMENT,)
