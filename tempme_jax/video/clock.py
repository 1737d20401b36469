"""Make the timestamps of packets continuous, as ffmpeg does.

Where recordings were laid end to end, or a broadcast was cut, the timestamps of MPEG-TS, MPEG-PS
and Ogg files restart or jump. ffmpeg (`ts_discontinuity_detect` in fftools/ffmpeg_demux.c) then
moves all later timestamps, so the next packet follows the one before it. Smaller gaps stay: frames
are missing there, and a player waits.
"""

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

from tempme_jax.video.container import find_video_stream, open_video

# Stands for a timestamp that a packet does not have.
UNKNOWN = int(np.iinfo(np.int64).min)
# AVFMT_TS_DISCONT: libav says of a format that timestamps may jump.
MAY_JUMP = 0x0200

# Seconds: larger jumps, forward or backward, are new clocks (`dts_delta_threshold` of ffmpeg).
LARGEST_GAP = 10
# Seconds: so much earlier than the packet before it, a packet restarts the clock.
SMALLEST_RESTART = Fraction(1, 10)
# Formats whose timestamps may not jump, and do so where files were laid end to end. Their packets
# have no times of decoding that can be trusted, so only keyframes are compared.
LAID_END_TO_END = ("matroska,webm", "flv", "asf")
# Seconds, likewise, if most frames are marked as keyframes. Some may be wrong, and be reordered.
SMALLEST_RESTART_OF_MANY = 1
# A decoder holds no more frames back to reorder them, with any codec.
MOST_REORDERED = 16
# Codecs for which libav does not find the times of display that AVI does not store.
UNTIMED_IN_AVI = ("h264", "hevc")
# Packets that are decoded to see whether frames have ascending timestamps.
TRIED_PACKETS = 50


class Clock(NamedTuple):
    """How the timestamps of a video's packets become those of its frames.

    Attributes:
        shifts: pairs of the number of a packet and what is added to its timestamps and to those
            after it, up to the next pair.
        by_decoding: whether the times of decoding are taken for those of display, which the file
            does not store.
        in_order: whether the times are right as a whole, but not those of each packet. Then the
            frames get them in ascending order.
    """

    shifts: tuple[tuple[int, int], ...] = ()
    by_decoding: bool = False
    in_order: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether the packets' own timestamps are right. Only then is it of use to seek."""
        return not (self.shifts or self.in_order)

    def correct(self, packets: Iterable[Packet]) -> Iterator[Packet]:
        """Yield packets with corrected timestamps; unless it is plain, from the first packet on."""
        shift, shifts, moves = 0, dict(self.shifts), self._list_moves()
        for number, packet in enumerate(packets):
            shift = shifts.get(number, shift)
            if self.by_decoding:
                packet.pts = packet.dts
            if packet.pts is not None and packet.dts is not None:
                packet.pts += _find_foreign(packet.pts - packet.dts, moves.get(number, 0))
            if shift and packet.pts is not None:
                packet.pts += shift
            if shift and packet.dts is not None:
                packet.dts += shift
            yield packet

    def apply(self, packets: np.ndarray) -> np.ndarray:
        """Return rows with the properties of packets, of which "pts" and "dts" are corrected."""
        packets, before = packets.copy(), 0
        if self.by_decoding:
            packets["pts"] = packets["dts"]
        for number, move in self._list_moves().items():
            row = packets[number]
            if UNKNOWN not in (row["pts"], row["dts"]):
                row["pts"] += _find_foreign(int(row["pts"]) - int(row["dts"]), move)
        for number, shift in self.shifts:
            for name in ("pts", "dts"):
                times = packets[name][number:]
                times[times != UNKNOWN] += shift - before
            before = shift
        return packets

    def _list_moves(self) -> dict[int, int]:
        """Return what the next jump adds, for the numbers of the packets before jumps forward."""
        moves: dict[int, int] = {}
        start, before = 0, 0
        for number, shift in self.shifts:
            if shift < before:
                earlier = range(max(start, number - MOST_REORDERED), number)
                moves |= dict.fromkeys(earlier, shift - before)
            start, before = number, shift
        return moves


def _decodes_out_of_order(container: InputContainer, stream: VideoStream) -> bool:
    """Return whether the first frames are decoded with timestamps that do not ascend.

    So it is where one packet holds two frames, as programs wrote B-frames of MPEG-4 into AVI.
    """
    times: list[int] = []
    if not stream.codec_context.has_b_frames:
        return False
    with contextlib.suppress(FFmpegError, IndexError, ValueError):
        container.seek(0, stream=stream)
        for packet in itertools.islice(container.demux(stream), TRIED_PACKETS):
            frames = packet.decode() if packet.size else []
            times += [frame.pts for frame in frames if frame.pts is not None]
    return times != sorted(times)


def _find_foreign(delay: int, move: int) -> int:
    """Return what to add to the time of display of a packet shortly before a jump forward.

    It may be one of the new clock already, although the packet is decoded before the jump: frames
    are reordered, and if the file does not store the time, libav takes it from a later packet.

    Args:
        delay: time between decoding and display of the packet.
        move: what the jump adds to the timestamps after it; 0 if no jump forward follows.
    """
    return move if move < 0 and delay > -move // 2 else 0


# That of most files.
PLAIN = Clock()


def find_clock(container: InputContainer, stream: VideoStream, packets: np.ndarray) -> Clock:
    """Find how the timestamps of a file are to be corrected.

    Args:
        container: the file.
        stream: its video stream.
        packets: rows "pts", "dts", "duration", "size", "is_keyframe" and "is_discard" of all
            packets of the stream, in the order in which they are stored.
    """
    assert stream.time_base is not None
    unit = Fraction(stream.time_base)
    filled = packets[packets["size"] > 0]
    has_pts, has_dts = filled["pts"] != UNKNOWN, filled["dts"] != UNKNOWN
    name, codec = container.format.name, stream.codec_context
    by_decoding = bool(has_dts.mean() > has_pts.mean() + 0.5)
    if name == "avi" and has_dts.all():
        by_decoding |= codec.name in UNTIMED_IN_AVI or _decodes_out_of_order(container, stream)
    shifts: list[tuple[int, int]] = []
    if container.format.flags & MAY_JUMP:
        shifts = _find_jumps(packets, unit)
    elif name in LAID_END_TO_END:
        shifts = _find_keyframe_restarts(packets, unit)
    clock = Clock(tuple(shifts), by_decoding, by_decoding and codec.has_b_frames)
    return clock._replace(in_order=clock.in_order or _are_misplaced(clock.apply(packets)))


def _are_misplaced(packets: np.ndarray) -> bool:
    """Return whether packets have times of display that their frames cannot have.

    Such a frame would be displayed after others that are decoded too late for that.
    """
    times = packets["pts"][(packets["size"] > 0) & ~packets["is_discard"]]
    times = times[times != UNKNOWN]
    earliest_left = np.minimum.accumulate(times[::-1])[::-1]
    return bool((times[:-MOST_REORDERED] > earliest_left[MOST_REORDERED:]).any())


def find_end_of_leading_sound(path: str) -> Fraction | None:
    """Return when the last packet of sound that is stored before the picture is decoded.

    Returns:
        Its timestamp in seconds; None if the picture comes first.
    """
    found = None
    with open_video(path) as container:
        stream = find_video_stream(container, path)
        for packet in container.demux(stream, *container.streams.audio[:1]):
            if packet.stream.index == stream.index:
                break
            if packet.dts is not None:
                found = packet.dts * Fraction(packet.time_base)
    return found


def _find_jumps(packets: np.ndarray, unit: Fraction) -> list[tuple[int, int]]:
    """Return the shifts for the jumps and restarts of times of decoding."""
    gap, back = int(LARGEST_GAP / unit), int(SMALLEST_RESTART / unit)
    shifts: list[tuple[int, int]] = []
    shift, last, expected = 0, 0, None
    rows = zip(packets["dts"].tolist(), packets["duration"].tolist(), strict=True)
    for number, (time, duration) in enumerate(rows):
        if time != UNKNOWN:
            time += shift
            if expected is not None and (abs(time - expected) > gap or time + back < last):
                shift += expected - time
                shifts.append((number, shift))
                time = expected
            last = time
        elif expected is not None:
            last = expected
        else:
            continue
        expected = last + duration
    return shifts


def _find_keyframe_restarts(packets: np.ndarray, unit: Fraction) -> list[tuple[int, int]]:
    """Return the shifts for keyframes that come before the keyframe that precedes them."""
    many = packets["is_keyframe"].mean() > 0.5
    back = int((SMALLEST_RESTART_OF_MANY if many else SMALLEST_RESTART) / unit)
    shifts: list[tuple[int, int]] = []
    shift, keyframe, latest, end = 0, None, 0, 0
    columns = (packets[name].tolist() for name in ("pts", "duration", "is_keyframe"))
    for number, (time, duration, is_keyframe) in enumerate(zip(*columns, strict=True)):
        if time == UNKNOWN:
            continue
        time += shift
        if is_keyframe:
            if keyframe is not None and time <= keyframe and time + back < latest:
                shift += end - time
                shifts.append((number, shift))
                time = end
            keyframe = time
        latest = max(latest, time)
        end = max(end, time + max(duration, 1))
    return shifts
