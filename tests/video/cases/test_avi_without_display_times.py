"""AVI stores no times of display: frames that are reordered are shown in order all the same."""

from fractions import Fraction

import av
import pytest
from video_files import find_shown_index, write_grey_video

from tempme_jax.video.changes import list_changes
from tempme_jax.video.frames import read_at, read_frames
from tempme_jax.video.timeline import scan

MPEG4 = {"g": "21", "bf": "1", "b_strategy": "0", "b": "4000000"}


def pack(path, target):
    """Write MPEG-4 as DivX did: a frame and the B-frame before it share a packet, one is empty."""
    with av.open(str(path)) as source, av.open(str(target), "w") as container:
        stream = source.streams.video[0]
        first, *others = [bytes(packet) for packet in source.demux(stream) if packet.size]
        packets = [stream.codec_context.extradata + b"\0\0\1\xb2DivX503b1393p" + first]
        for i in range(0, len(others), 2):
            packets += [others[i] + others[i + 1], b"\x7f"]
        copy = container.add_stream_from_template(stream)
        for number, content in enumerate(packets):
            packet = av.Packet(content)
            packet.stream, packet.time_base = copy, Fraction(1, 10)
            packet.pts = packet.dts = number
            packet.duration, packet.is_keyframe = 1, number == 0
            container.mux(packet)
    return target


def check(path, count):
    assert float(scan(str(path)).length) == pytest.approx(count / 10)
    assert [find_shown_index(frame) for frame in read_frames(path, count)] == list(range(count))
    frames, times = read_at(path, lambda length: [0.55, 1.65])
    assert [find_shown_index(frame) for frame in frames] == [5, 16]
    assert times.tolist() == pytest.approx([0.5, 1.6])


def test_packets_of_two_frames(tmp_path):
    source = write_grey_video(tmp_path / "source.mkv", range(21), "mpeg4", **MPEG4)
    path = pack(source, tmp_path / "packed.avi")
    check(path, 21)
    assert list_changes(path) == ["frames without times of display"]


@pytest.mark.parametrize("bf", ["0", "3"])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_frames_that_are_reordered(tmp_path, codec, bf):
    options = {"preset": "medium", "g": "10", "bf": bf}
    options = {"mpeg4": MPEG4 | {"bf": bf}}.get(codec, options)
    path = write_grey_video(tmp_path / "a.avi", range(21), codec, **options)
    check(path, 21)
    assert bool(list_changes(path)) == (codec == "libx264" and bf == "3")
