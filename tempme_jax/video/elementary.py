"""Elementary streams: the pictures of a video without a container, such as .m2v, .h264 and .hevc.

A container says when each frame is shown. An elementary stream states a rate at most. libav gives
no timestamps to the packets of H.264 and H.265, and at times wrong ones to those of MPEG-1. So the
frames are counted, as they come from the decoder.
"""

from collections.abc import Iterable, Iterator

from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

# libav's names of these formats. A seek in them may miss without a sign of it: timestamps may start
# at 0 again. So nobody seeks in them.
FORMATS = frozenset({"mpegvideo", "m4v", "h264", "hevc", "obu"})
# Those whose frames are counted. Those of MPEG-4 state their times, and AV1 gets right ones.
UNTIMED = frozenset({"mpegvideo", "h264", "hevc"})
# Those of which a packet may be one of the two fields of a frame.
IN_FIELDS = frozenset({"h264", "hevc"})

# Frames a second of a stream that states no rate; libav takes the same.
DEFAULT_RATE = 25


def is_elementary(container: InputContainer) -> bool:
    """Return whether an open file is an elementary stream."""
    return container.format.name in FORMATS


def time_packets(
    packets: Iterable[Packet], container: InputContainer, stream: VideoStream
) -> Iterator[Packet]:
    """Yield the packets of a file from its start, with timestamps where libav gives none.

    The packets are in the order of decoding. Their timestamps are those of the frames in the order
    of display, so as a whole they are right, but not one by one.
    """
    if container.format.name not in UNTIMED:
        yield from packets
        return
    time, step = 0, _find_step(stream)
    for packet in packets:
        if packet.size:
            # A field lasts half as long as a frame, and some frames of films one field longer.
            packet.duration = packet.duration or step
            packet.pts = packet.dts = time
            time += packet.duration
        yield packet


def time_frames(
    frames: Iterable[VideoFrame], container: InputContainer, stream: VideoStream
) -> Iterator[VideoFrame]:
    """Yield the frames of a file from its start, with timestamps where libav gives none."""
    if container.format.name not in UNTIMED:
        yield from frames
        return
    time, step, in_fields = 0, _find_step(stream), container.format.name in IN_FIELDS
    for frame in frames:
        frame.pts = time
        time += step if in_fields else frame.duration or step
        yield frame


def _find_step(stream: VideoStream) -> int:
    """Return how long a frame is shown, in units of the time base of its stream."""
    rate = (
        stream.codec_context.framerate or DEFAULT_RATE
    )  # `average_rate` is always libav's default
    return max(1, round(1 / (rate * stream.time_base))) if stream.time_base else 1
