"""Frames that are marked as key frames, and are none, are not where decoding starts."""

import numpy as np
import pytest
from video_files import H265, OPTIONS, find_shown_index, write_grey_video

from tempme_jax.video.changes import list_changes
from tempme_jax.video.frames import read_frames, read_timestamps
from tempme_jax.video.keyframes import select_keyframes
from tempme_jax.video.timeline import scan

# Without new key frames where the picture changes.
MPEG4 = {"g": "25", "b": "4000000", "sc_threshold": "1000000000"}


def remark(path, target, marks):
    """Copy an mp4 file with other marks: "all", "none" or "others", most of which are wrong."""
    content = bytearray(path.read_bytes())
    place = content.index(b"stss")
    if marks == "all":
        content[place : place + 4] = b"free"
    elif marks == "none":
        content[place + 8 : place + 12] = bytes(4)
    else:
        count = int.from_bytes(content[place + 8 : place + 12])
        for i in range(count):
            content[place + 12 + 4 * i : place + 16 + 4 * i] = (1 + 4 * i).to_bytes(4)
    target.write_bytes(content)
    return target


def test_mp4_that_does_not_say_which_frames_are_key_frames(tmp_path):
    whole = write_grey_video(tmp_path / "right.mp4", range(50), "mpeg4", **MPEG4)
    path = remark(whole, tmp_path / "all.mp4", "all")
    index = scan(str(path))
    assert index.keyframes == []
    assert list_changes(path) == ["frames marked as key frames that are none"]
    np.testing.assert_array_equal(read_frames(path, 10), read_frames(whole, 10))


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "libvpx-vp9", "libx265", "libsvtav1"])
@pytest.mark.parametrize("marks", ["all", "none", "others"])
def test_frames_are_as_without_the_marks(tmp_path, codec, marks):
    options = {"mpeg4": MPEG4, "libx264": {"bf": "2", "sc_threshold": "0"}, "libx265": H265}
    options = OPTIONS.get(codec, {}) | options.get(codec, {}) | {"g": "6"}
    whole = write_grey_video(tmp_path / "right.mp4", range(50), codec, **options)
    path = remark(whole, tmp_path / "marked.mp4", marks)
    index = scan(str(path))
    if marks == "all":  # libav corrects the marks of other codecs itself
        assert (index.keyframes == []) == (codec in ("mpeg4", "libx265"))
    for times in (index.times[3:5], index.times[24:26], index.times[38:50:6]):
        near = select_keyframes(times, index.keyframes)
        frames, _ = read_timestamps(path, times, near, image_size=48)
        expected, _ = read_timestamps(whole, times, [], image_size=48)
        np.testing.assert_array_equal(frames, expected)
    assert [find_shown_index(frame) for frame in read_frames(path, 50)] == list(range(50))


def test_pictures_that_are_refreshed_bit_by_bit(tmp_path):
    options = {"g": "20", "x264-params": "intra-refresh=1:bframes=0", "preset": "medium"}
    for suffix in ("ts", "mkv"):
        path = write_grey_video(tmp_path / f"a.{suffix}", range(50), **options)
        assert [find_shown_index(f) for f in read_frames(path, 4)] == [6, 18, 31, 43]
        expected = read_timestamps(path, (index := scan(str(path))).times[40:], [], image_size=48)
        near = select_keyframes(index.times[40:], index.keyframes)
        frames = read_timestamps(path, index.times[40:], near, image_size=48)
        np.testing.assert_array_equal(frames[0], expected[0])


def test_every_picture_of_its_own_is_a_key_frame(tmp_path):
    path = write_grey_video(tmp_path / "jpegs.avi", range(20), "mjpeg", strict="-2")
    assert len(scan(str(path)).keyframes) == 20
    assert list_changes(path) == []
