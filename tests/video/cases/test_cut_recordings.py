"""A recording of broadcast that was cut in mid-stream starts with what can be decoded."""

import pytest
from video_files import MPEG2, find_shown_index, write_grey_video

from tempme_jax.video.changes import list_changes
from tempme_jax.video.frames import read_at, read_frames
from tempme_jax.video.timeline import scan

GROUP, COUNT = 10, 45
H264 = {"preset": "medium", "bf": "2", "g": str(GROUP), "keyint_min": str(GROUP), "qp": "10"}
KINDS = {
    "closed": ("libx264", H264),
    "open": ("libx264", H264 | {"x264-params": "open-gop=1"}),
    "mpeg2": ("mpeg2video", MPEG2 | {"bf": "2", "g": str(GROUP), "qmax": "3", "b": "4000000"}),
}


@pytest.mark.parametrize("name", KINDS)
def test_the_first_frames(tmp_path, name):
    codec, options = KINDS[name]
    whole = write_grey_video(tmp_path / "whole.ts", range(COUNT), codec, **options)
    path = tmp_path / "cut.ts"
    path.write_bytes(whole.read_bytes()[whole.stat().st_size // 3 :])
    index = scan(str(path))
    count = len(index.times)
    # No frame has a time that cannot be decoded, up to the first keyframe.
    assert 2 * GROUP <= count < 3 * GROUP
    times = [time * index.unit - index.start for time in index.times]
    assert times[-1] - times[0] == pytest.approx((count - 1) / 10)
    assert times[0] > 0.2
    frames, _ = read_at(path, lambda length: times)
    assert [find_shown_index(frame) for frame in frames] == list(range(COUNT - count, COUNT))
    # Until then, a player shows the first one, or nothing.
    assert find_shown_index(read_frames(path, 40)[0]) == COUNT - count
    assert list_changes(path) == [f"first {float(times[0]):.1f} s cannot be decoded"]
    assert list_changes(whole) == []
