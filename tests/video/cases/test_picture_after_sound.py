"""A picture that begins after the sound is late; until then, its first frame is shown."""

import av
import numpy as np
import pytest
from video_files import H264, compute_brightness, find_shown_index

from tempme_jax.search.query.frames import VideoExcerpt, decode_excerpt
from tempme_jax.video.changes import list_changes
from tempme_jax.video.frames import read_at
from tempme_jax.video.timeline import scan


def write(path, picture_at, sound_at=0.0, seconds=2):
    """Ten frames a second from `picture_at` on, and sound from `sound_at` to the same end."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options=H264)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("aac", rate=16000, layout="mono")
        for number in range(int((picture_at + seconds - sound_at) * 16000) // 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = 16000, int(sound_at * 16000) + 1024 * number
            container.mux(sound.encode(frame))
        container.mux(sound.encode())
        for number in range(10 * seconds):
            picture = np.full((48, 64, 3), compute_brightness(number), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = round(10 * picture_at) + number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "ts", "flv"])
def test_times_start_with_the_sound(tmp_path, suffix):
    path = write(tmp_path / f"late.{suffix}", picture_at=3)
    # Some containers let the sound begin up to 65 ms early, with what its encoder adds.
    index = scan(str(path))
    assert float(index.length) == pytest.approx(5, abs=0.08)
    early = float(index.length) - 5
    frames, times = read_at(path, lambda length: [0.0, 2.9, 3.05 + early, 4.15 + early])
    assert [find_shown_index(frame) for frame in frames] == [0, 11]
    assert times.tolist() == pytest.approx([0.0, 4.1 + early], abs=0.01)
    excerpt = VideoExcerpt(file=str(path), count=1, size=32, start=4.0 + early, end=4.1 + early)
    assert find_shown_index(decode_excerpt(excerpt)[0][0]) == 10
    assert list_changes(path)[0].startswith("picture begins 3.")


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_sound_that_begins_later_changes_nothing(tmp_path, suffix):
    path = write(tmp_path / f"early.{suffix}", picture_at=0, sound_at=1)
    index = scan(str(path))
    assert index.start == index.times[0] * index.unit
    assert float(index.length) == pytest.approx(2, abs=0.01)
    assert list_changes(path) == []


@pytest.mark.parametrize("suffix", ["webm", "mkv", "ts"])
def test_all_streams_late_together_start_at_zero(tmp_path, suffix):
    path = write(tmp_path / "live.mkv", picture_at=1000, sound_at=1000)
    index = scan(str(path))
    assert float(index.length) == pytest.approx(2, abs=0.08)
    assert index.find_seconds(index.times[5]) == pytest.approx(0.5, abs=0.08)
