"""Case 13: videos of camcorders, elementary streams and animations are read, at the right times."""

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from tempme_jax.video.frames import VideoError, read_at, read_frames
from tempme_jax.video.opening import hold_file
from tempme_jax.video.timeline import scan

RATE = 25
COUNT = 50
# Name, libav's format, codec, pixel format, and size.
KINDS = [
    ("a.m1v", "mpeg1video", "mpeg1video", "yuv420p", (64, 48)),
    ("a.m2v", "mpeg2video", "mpeg2video", "yuv420p", (64, 48)),
    ("es.mpg", "mpeg2video", "mpeg2video", "yuv420p", (64, 48)),
    ("a.m4v", "m4v", "mpeg4", "yuv420p", (64, 48)),
    ("a.h264", "h264", "libx264", "yuv420p", (64, 48)),
    ("a.hevc", "hevc", "libx265", "yuv420p", (64, 64)),
    ("a.mod", "mpeg", "mpeg2video", "yuv420p", (64, 48)),
    ("a.mp", "mp4", "libx264", "yuv420p", (64, 48)),
    ("a.gif", "gif", "gif", "rgb8", (64, 48)),
    ("a.mxf", "mxf", "mpeg2video", "yuv420p", (64, 48)),
    ("a.dv", "dv", "dvvideo", "yuv420p", (720, 576)),
    ("a.y4m", "yuv4mpegpipe", "rawvideo", "yuv420p", (64, 48)),
    ("a.rm", "rm", "rv20", "yuv420p", (64, 48)),
]


def write(path, format, codec, pixels, size, *, count=COUNT, rate=RATE, **options):
    """Write frames that get brighter; with B-frames, where a codec has them."""
    codecs = {
        "libx264": {"preset": "veryfast", "bf": "2", "g": "12", "b_strategy": "0"},
        "libx265": {"x265-params": "log-level=none:bframes=2:pools=none", "preset": "ultrafast"},
        "mpeg1video": {"bf": "2"}, "mpeg2video": {"bf": "2"}, "mpeg4": {"bf": "2"},
    }  # fmt: skip
    with av.open(str(path), "w", format=format) as output:
        stream = output.add_stream(codec, rate=rate, options=codecs.get(codec, {}) | options)
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        noise = np.random.default_rng(0).integers(-15, 16, (size[1], size[0], 3))
        for number in range(count):
            picture = (20 + 4 * number + noise[:, ::-1] * (number % 2 * 2 - 1)).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def find_numbers(path, frames):
    """The number of each frame among those that libav decodes one after the other."""
    with av.open(str(path)) as container:
        every = [frame.to_ndarray(format="rgb24").mean() for frame in container.decode(video=0)]
    assert len(every) == COUNT
    return [int(np.abs(every - frame.mean()).argmin()) for frame in frames]


@pytest.mark.parametrize(("name", "format", "codec", "pixels", "size"), KINDS)
def test_frames_at_their_times(tmp_path, name, format, codec, pixels, size):
    path = write(tmp_path / name, format, codec, pixels, size)
    index = scan(str(path))
    assert len(index.times) == COUNT
    assert index.length == Fraction(COUNT, RATE)
    with hold_file(str(path)):
        frames, times = read_at(path, lambda length: [Fraction(k, RATE) for k in (0, 9, 24, 43)])
    np.testing.assert_allclose(times, np.array([0, 9, 24, 43]) / RATE, atol=1e-3)
    if codec != "gif":  # whose 8 bits a pixel show few levels of brightness
        assert find_numbers(path, frames) == [0, 9, 24, 43]
    assert read_frames(path, 3, image_size=32).shape == (3, 32, 32, 3)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_the_rate_of_a_stream_is_its_own(tmp_path, codec):
    rate = Fraction(60000, 1001)
    kind = "h264" if codec == "libx264" else "hevc"
    path = write(tmp_path / f"a.{kind}", kind, codec, "yuv420p", (64, 64), count=40, rate=rate)
    assert float(scan(str(path)).length) == pytest.approx(40 / rate, rel=1e-3)


def test_a_damaged_stream_is_read(tmp_path):
    path = write(tmp_path / "a.h264", "h264", "libx264", "yuv420p", (64, 48))
    stream = bytearray(path.read_bytes())
    middle = len(stream) // 2
    stream[middle : middle + 20] = bytes(range(100, 120))
    path.write_bytes(stream)
    assert read_frames(path, 5, image_size=32).shape == (5, 32, 32, 3)


def write_animation(path, colours, durations, **options):
    frames = [Image.new("RGBA", (64, 48), colour) for colour in colours]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, **options)
    return path


COLOURS = [(255, 0, 0, 255), (0, 255, 0, 255), (0, 0, 255, 255)]


@pytest.mark.parametrize("name", ["a.webp", "a.gif", "webp named.gif"])
def test_animations(tmp_path, name):
    kind = {"format": "WEBP", "lossless": True} if "webp" in name else {"format": "GIF"}
    path = write_animation(tmp_path / name, COLOURS, [100, 250, 650], **kind)
    frames, times = read_at(path, lambda length: [Fraction(0), length / 5, length * 9 / 10])
    np.testing.assert_allclose(times, [0, 0.1, 0.35])
    assert scan(str(path)).length == 1
    for frame, colour in zip(frames, COLOURS, strict=True):
        assert np.abs(frame.reshape(-1, 3).mean(0) - colour[:3]).max() < 3


def test_transparent_parts_of_an_animation_are_black(tmp_path):
    colours = [(255, 255, 255, 0), (255, 0, 0, 128)]
    path = write_animation(tmp_path / "a.webp", colours, 100, lossless=True, exact=True)
    frames, _ = read_at(path, lambda length: [Fraction(0), length * 3 / 4])
    assert frames[0].max() == 0
    np.testing.assert_allclose(frames[1][0, 0], [128, 0, 0], atol=2)


def test_frames_without_a_duration_last_as_in_browsers(tmp_path):
    path = write_animation(tmp_path / "a.webp", COLOURS, [0, 5, 200], lossless=True)
    assert float(scan(str(path)).length) == pytest.approx(0.4)


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
def test_still_pictures_are_no_videos(tmp_path, name):
    Image.new("RGB", (64, 48), "red").save(tmp_path / name)
    with pytest.raises(VideoError, match=r"not a video \(a picture, ") as caught:
        read_frames(tmp_path / name, 2)
    assert caught.value.kind == "still pictures"


@pytest.mark.parametrize("kept", [25, 60])
def test_damaged_animations(tmp_path, kept):
    path = write_animation(tmp_path / "a.webp", COLOURS, 100, lossless=True)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(VideoError):
        read_frames(path, 2)
