"""A child process may take long as long as it makes progress."""

import time
from types import SimpleNamespace

import pytest
from video_files import make_progress

from tempme_jax.video.container import VideoError, convert_errors
from tempme_jax.video.progress import report_progress
from tempme_jax.video.workers import decode_all


def test_progress_is_what_counts():
    requests = [SimpleNamespace(file=name, lane=None) for name in ("1.5 s in steps", "stuck")]
    results = decode_all(requests, workers=2, seconds=0.7, decode=make_progress)
    (_, done), (_, stuck) = results
    assert done == "done"
    assert stuck.reason == "nothing was decoded for 0.7 s"


def test_all_in_all_a_limit_may_be_set_too():
    request = SimpleNamespace(file="1.5 s in steps", lane=None)
    [(_, late)] = decode_all([request], workers=1, total=0.6, decode=make_progress)
    assert late.reason == "took more than 0.6 s to decode"


def test_a_lane_is_one_process():
    names = ["pid a", "pid b", "pid a", "pid b", "pid a"]
    requests = [SimpleNamespace(file=name, lane=name) for name in names]
    found = [result for _, result in decode_all(requests, workers=2, decode=make_progress)]
    assert found == [found[0], found[1]] * 2 + [found[0]]
    assert found[0] != found[1]


def test_outside_of_child_processes_nothing_is_limited():
    report_progress()
    time.sleep(0.01)


def test_a_value_error_of_ours_is_no_fault_of_the_file():
    with pytest.raises(ValueError, match="ours") as caught, convert_errors("a.mp4"):
        raise ValueError("ours")
    assert not isinstance(caught.value, VideoError)
