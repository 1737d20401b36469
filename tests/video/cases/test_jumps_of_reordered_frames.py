"""Where timestamps jump forward between reordered frames, everything after is still shown.

Packets before the jump then carry a time of decoding of the old clock, and one of display of the
new clock.
"""

import itertools

import av
import numpy as np
import pytest
from video_files import compute_brightness, find_shown_index

from tempme_jax.video.frames import read_at
from tempme_jax.video.timeline import scan

RATE, COUNT = 25, 18
CODECS = {"ts": "libx264", "mpg": "mpeg2video"}
OPTIONS = {
    "ts": {"bf": "3", "b-adapt": "0", "b-pyramid": "strict", "g": "200", "qp": "5"},
    "mpg": {"bf": "2", "g": "12", "qmin": "1", "qmax": "2", "b": "8000000"},
}
MUXERS = {"ts": "mpegts", "mpg": "mpeg"}


def write_reordered(path, times, first=0):
    """Write frames of rising brightness, shown at `times`, with B-frames between them."""
    kind = path.suffix[1:]
    with av.open(str(path), "w", format=MUXERS[kind]) as container:
        stream = container.add_stream(CODECS[kind], rate=RATE, options=OPTIONS[kind])
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i, time in enumerate(times, first):
            picture = np.full((48, 64, 3), compute_brightness(i), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = time
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def list_shown(path, moments):
    frames, _ = read_at(path, lambda length: moments)
    return [find_shown_index(frame) for frame in frames]


@pytest.mark.parametrize("kind", ["mpg", "ts"])
def test_parts_with_reordered_frames_are_shown_in_order(tmp_path, kind):
    parts = [
        write_reordered(tmp_path / f"{i}.{kind}", range(start, start + COUNT), i * COUNT)
        for i, start in enumerate((0, 900 * RATE, 0))
    ]
    path = tmp_path / f"all.{kind}"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    count = 3 * COUNT
    assert float(scan(str(path)).length) == pytest.approx(count / RATE, abs=0.05)
    moments = [(i + 0.5) / RATE for i in range(count)]
    shown = list_shown(path, moments)
    assert shown == sorted(shown)
    assert len(set(shown)) >= count - 1  # a jump may move what follows by one frame


@pytest.mark.parametrize("place", range(18, 23))
def test_a_pause_between_reordered_frames(tmp_path, place):
    pause = 30 * RATE
    times = [i if i < place else i + pause for i in range(2 * COUNT)]
    path = write_reordered(tmp_path / "pause.ts", times)
    index = scan(str(path))
    assert float(index.length) < 5  # such a pause is taken for a jump
    moments = [time * index.unit - index.start for time in index.times]
    assert list_shown(path, moments) == list(range(2 * COUNT))


@pytest.mark.parametrize("place", range(18, 23))
def test_frames_with_times_far_ahead_do_not_hide_later_ones(tmp_path, place):
    """Copied to Matroska, the packets before the jump keep times of display of the new clock."""
    times = [i if i < place else i + 30 * RATE for i in range(3 * COUNT)]
    source = write_reordered(tmp_path / "pause.ts", times)
    path, shift = tmp_path / "pause.mkv", 0
    with av.open(str(source)) as read, av.open(str(path), "w") as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        last = None
        for packet in itertools.takewhile(lambda packet: packet.size, read.demux(video=0)):
            step = packet.duration
            if last is not None and packet.dts + shift > last + 10 * RATE * step:
                shift = last + step - packet.dts
            packet.dts, packet.pts = packet.dts + shift, packet.pts + shift
            last, packet.stream = packet.dts, stream
            written.mux(packet)
    index = scan(str(path))
    assert float(index.length) == pytest.approx(3 * COUNT / RATE, abs=0.002)
    moments = [time * index.unit - index.start for time in index.times]
    shown = list_shown(path, moments)
    assert shown == list(range(3 * COUNT))
