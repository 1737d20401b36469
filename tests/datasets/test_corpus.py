"""Sixty video files, odd and damaged ones among them, are prepared, or listed with a reason."""

import math
import sys
from pathlib import Path

import pytest
import tensorflow_datasets as tfds
from video_files import (
    find_shown_indices,
    make_listed_set,
    make_video_entry,
    write_damaged_videos,
    write_good_videos,
)

from tempme_jax.datasets.prepare import prepare
from tempme_jax.datasets.prepared import Prepared


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The files, the report and the folder, once prepared."""
    folder = tmp_path_factory.mktemp("corpus")
    good, bad = write_good_videos(folder), write_damaged_videos(folder)
    builder = make_listed_set(
        folder, test=[make_video_entry(path) for path in sorted({*good, *bad})]
    )
    report = prepare(builder, max_bad=0.25, seconds_per_video=30, videos_per_shard=16, quiet=True)
    return good, bad, report["test"], builder.data_dir


def compute_expected_times(times):
    """Two frames a second, 4 to 8 of them: what is on screen, in tenths from the first frame."""
    times = [time - min(times) for time in times]
    length = max(times) + 1
    count = math.ceil(length / 5)
    moments = [5 * i for i in range(count)]
    if not 4 <= count <= 8:
        count = min(max(count, 4), 8)
        moments = [length * (2 * i + 1) / (2 * count) for i in range(count)]
    return sorted({max(time for time in times if time <= moment) for moment in moments})


def test_good_ones_are_prepared(corpus):
    good, bad, report, folder = corpus
    assert (len(good), len(bad)) == (45, 15)
    assert report["prepared"] == 45
    assert {*Prepared(folder, "test").ids} == {path.name for path in good}


def test_right_frames_at_the_right_times(corpus):
    good, _, _, folder = corpus
    prepared = Prepared(folder, "test")
    for name, (jpegs, times) in zip(prepared.ids, prepared, strict=True):
        frame_of = next(frames for path, frames in good.items() if path.name == name)
        tenths = [round(10 * float(time)) for time in times]
        assert times.tolist() == pytest.approx([time / 10 for time in tenths], abs=2e-3), name
        if frame_of is None:  # how much is left depends on how it was written
            assert find_shown_indices(jpegs) == tenths, name
            assert len(tenths) >= 4, name
        else:
            assert tenths == compute_expected_times(frame_of), name
            first = min(frame_of)
            assert find_shown_indices(jpegs) == [frame_of[first + time] for time in tenths], name


def test_damaged_ones_are_listed_with_a_reason(corpus):
    _, bad, report, _ = corpus
    reasons = {Path(video["file"]): video["reason"] for video in report["bad"]}
    assert reasons.keys() == bad.keys()
    for path, reason in reasons.items():
        assert reason.startswith(bad[path]), path


def test_is_a_tfds_data_set_without_tensorflow(corpus):
    _, _, report, folder = corpus
    source = tfds.builder_from_directory(folder).as_data_source("test")
    assert len(source) == report["prepared"]
    record = source[20]
    name = record["video_id"].decode()
    assert [caption.decode() for caption in record["captions"]] == [f"about {name}", "a cat"]
    assert len(record["frames"]) == len(record["times"])
    assert "tensorflow" not in sys.modules
