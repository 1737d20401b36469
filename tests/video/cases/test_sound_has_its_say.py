"""In MPEG-TS and MPEG-PS, picture and sound share one clock, so a jump of either moves both."""

import av
import numpy as np
import pytest
from video_files import H264, MPEG2, compute_brightness, find_shown_index

from tempme_jax.video.changes import list_changes
from tempme_jax.video.frames import read_at
from tempme_jax.video.timeline import scan

RATE = 25
CODECS = {"ts": ("libx264", H264, "aac"), "mpg": ("mpeg2video", MPEG2, "mp2")}


def encode_picture(stream, start, seconds, first):
    # Noise, since a packet of MPEG-PS holds many small frames.
    noise = np.random.default_rng(0).integers(-12, 13, (96, 128, 3))
    for number in range(round(seconds * RATE)):
        picture = (compute_brightness(first + number // 5) + noise).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = round(start * RATE) + number
        yield from stream.encode(frame)
    yield from stream.encode()


def encode_sound(stream, start, seconds):
    # Noise, likewise.
    size = 1024 if stream.name == "aac" else 1152
    noise = np.random.default_rng(0).uniform(-1, 1, (1, size)).astype(np.float32)
    sounds = {"aac": (noise, "fltp"), "mp2": ((noise * 30000).astype(np.int16), "s16")}
    for number in range(int(seconds * 48000) // size - 2):  # the picture is the first to be stored
        frame = av.AudioFrame.from_ndarray(*sounds[stream.name], "mono")
        frame.sample_rate, frame.pts = 48000, round(start * 48000) + size * (number + 2)
        yield from stream.encode(frame)
    yield from stream.encode()


def write(path, picture, sound, first=0):
    """Write a picture and sound, for each its start and its length in seconds.

    Five frames each have the brightness of an index, from `first` on.
    """
    codec, options, sound_codec = CODECS[path.suffix[1:]]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        other = container.add_stream(sound_codec, rate=48000, layout="mono", bit_rate=192000)
        packets = [*encode_picture(stream, *picture, first), *encode_sound(other, *sound)]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def list_shown(path, moments):
    """The indices of the frames that are shown at moments, one frame for each."""
    frames, _ = read_at(path, lambda length: moments)
    return [find_shown_index(frame) for frame in frames]


@pytest.mark.parametrize("kind", CODECS)
def test_sound_that_outlasts_the_picture_of_a_part(tmp_path, kind):
    first = write(tmp_path / f"first.{kind}", (0, 1), (0, 4))
    second = write(tmp_path / f"second.{kind}", (0, 2), (0, 2), first=10)
    path = tmp_path / f"all.{kind}"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    assert float(scan(str(path)).length) == pytest.approx(4 + 2, abs=0.15)
    assert list_shown(path, [0.1, 0.9, 3.5, 5.1, 5.85]) in (
        [0, 4, 4, 14, 19],
        [0, 4, 4, 15, 19],
    )
    assert list_changes(path) == ["timestamps restart or jump"]


def test_a_jump_of_the_sound(tmp_path):
    """The picture of the second part begins 1 s after its sound."""
    first = write(tmp_path / "first.ts", (0, 2), (0, 2))
    second = write(tmp_path / "second.ts", (501, 2), (500, 3), first=10)
    path = tmp_path / "all.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    assert float(scan(str(path)).length) == pytest.approx(2 + 3, abs=0.15)
    assert list_shown(path, [0.1, 2.5, 3.3, 4.85]) == [0, 9, 11, 19]


@pytest.mark.parametrize("sound", [2, 11, 14])
def test_a_picture_that_begins_long_after_the_sound(tmp_path, sound):
    path = write(tmp_path / "late.ts", (11, 1), (0, sound))
    index = scan(str(path))
    assert float(index.length) == pytest.approx(12, abs=0.1)
    assert index.find_seconds(index.times[5]) == pytest.approx(11.2, abs=0.1)
    assert list_changes(path) == ["picture begins 11.0 s after the sound"]


def test_sound_that_is_stored_long_before_the_picture(tmp_path):
    """Encoders that look far ahead store the first frame of a slow picture late."""
    path = tmp_path / "slow.ts"
    codec, options, sound_codec = CODECS["ts"]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        other = container.add_stream(sound_codec, rate=48000, layout="mono", bit_rate=192000)
        picture = list(encode_picture(stream, 0, 1, 0))
        for packet in encode_sound(other, 0, 15):
            container.mux(packet)
        container.mux(picture)
    assert float(scan(str(path)).length) == pytest.approx(1, abs=0.05)
    assert list_changes(path) == []
