"""Make the timestamps of packets continuous, as ffmpeg does.

Where recordings were laid end to end, or a broadcast was cut, the timestamps of MPEG-TS, MPEG-PS
and Ogg files restart or jump. ffmpeg (`ts_discontinuity_detect` in fftools/ffmpeg_demux.c) then
moves all later timestamps, so the next packet follows the one before it. Smaller gaps stay: frames
are missing there, and a player waits.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from tempme_jax.video.untimed import MOST_REORDERED, UNKNOWN, decode_out_of_order, fill_times

# AVFMT_TS_DISCONT: libav says of a format that timestamps may jump.
MAY_JUMP = 0x0200

# Seconds: larger jumps, forward or backward, are new clocks (`dts_delta_threshold` of ffmpeg).
LARGEST_GAP = 10
# Seconds: so much earlier than the packet before it, a packet restarts the clock.
SMALLEST_RESTART = Fraction(1, 10)
# Later than all timestamps.
LATEST = int(np.iinfo(np.int64).max)
# Formats whose timestamps may not jump, and do so where files were laid end to end. Their packets
# have no times of decoding that can be trusted, so only keyframes are compared.
LAID_END_TO_END = ("matroska,webm", "flv", "asf")
# Seconds, likewise, if most frames are marked as keyframes. Some may be wrong, and be reordered.
SMALLEST_RESTART_OF_MANY = 1
# Codecs for which libav does not find the times of display that AVI does not store.
UNTIMED_IN_AVI = ("h264", "hevc")


class Clock(NamedTuple):
    """How the timestamps of a video's packets become those of its frames.

    Attributes:
        shifts: pairs of the number of a packet and what is added to its timestamps and to those
            after it, up to the next pair.
        moves: pairs of the number of a packet shortly before a jump, and what is added to its time
            of display besides, since that is one of the new clock already.
        by_decoding: whether the times of decoding are taken for those of display, which the file
            does not store.
        in_order: whether the times are right as a whole, but not those of each packet. Then the
            frames get them in ascending order.
    """

    shifts: tuple[tuple[int, int], ...] = ()
    moves: tuple[tuple[int, int], ...] = ()
    by_decoding: bool = False
    in_order: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether the packets' own timestamps are right. Only then is it of use to seek."""
        return not (self.shifts or self.in_order)

    def correct(self, packets: Iterable[Packet]) -> Iterator[Packet]:
        """Yield packets with corrected timestamps; unless it is plain, from the first packet on."""
        shift, shifts, moves = 0, dict(self.shifts), dict(self.moves)
        for number, packet in enumerate(packets):
            shift = shifts.get(number, shift)
            if self.by_decoding:
                packet.pts = packet.dts
            if shifts and packet.pts is not None:
                packet.pts += shift + moves.get(number, 0)
            if shifts and packet.dts is not None:
                packet.dts += shift
            yield packet

    def apply(self, packets: np.ndarray) -> np.ndarray:
        """Return rows with the properties of packets, of which "pts" and "dts" are corrected."""
        packets, before = packets.copy(), 0
        if self.by_decoding:
            packets["pts"] = packets["dts"]
        for number, move in self.moves:
            packets["pts"][number] += move
        for number, shift in self.shifts:
            for name in ("pts", "dts"):
                times = packets[name][number:]
                times[times != UNKNOWN] += shift - before
            before = shift
        return packets


# That of most files.
PLAIN = Clock()


def find_clock(
    container: InputContainer, stream: VideoStream, packets: np.ndarray
) -> tuple[Clock, np.ndarray]:
    """Find how the timestamps of a file are to be corrected.

    Args:
        container: the file, which is read from another place afterwards.
        stream: its video stream.
        packets: rows "is_picture", "pts", "dts", "duration", "size", "is_keyframe" and "is_discard"
            of all packets of the stream and, where timestamps may jump, of the sound, in the units
            of the video stream and in the order in which they are stored.

    Returns:
        The clock, and the rows of the video stream with corrected timestamps.
    """
    assert stream.time_base is not None
    unit, name, codec = Fraction(stream.time_base), container.format.name, stream.codec_context
    pictures = packets[packets["is_picture"]]
    filled = pictures[pictures["size"] > 0]
    has_pts, has_dts = filled["pts"] != UNKNOWN, filled["dts"] != UNKNOWN
    by_decoding = bool(has_dts.mean() > has_pts.mean() + 0.5)
    if name == "avi" and has_dts.all():
        by_decoding |= codec.name in UNTIMED_IN_AVI or decode_out_of_order(container, stream)
    shifts: list[tuple[int, int]] = []
    if container.format.flags & MAY_JUMP:
        shifts = _find_jumps(packets, unit)
    elif name in LAID_END_TO_END:
        shifts = _find_keyframe_restarts(pictures, unit)
    moves = _find_foreign(pictures, shifts)
    clock = Clock(tuple(shifts), tuple(moves), by_decoding, by_decoding and codec.has_b_frames)
    pictures = clock.apply(pictures)
    if fill_times(pictures, container, stream):
        clock = clock._replace(in_order=True)
    return clock, pictures


def _find_jumps(packets: np.ndarray, unit: Fraction) -> list[tuple[int, int]]:
    """Return the shifts for jumps and restarts of the times of decoding, of picture or sound.

    A jump of either moves both. Where the second of them begins, any time that the first has had is
    right, since some files hold much of one before the other.
    """
    gap, back = int(LARGEST_GAP / unit), int(SMALLEST_RESTART / unit)
    shifts: list[tuple[int, int]] = []
    shift, number, earliest = 0, 0, 0
    last: dict[bool, int] = {}
    expected: dict[bool, int] = {}
    columns = (packets[name].tolist() for name in ("is_picture", "dts", "duration"))
    for is_picture, time, duration in zip(*columns, strict=True):
        if time != UNKNOWN:
            time += shift
            earliest = earliest if last else time
            if is_picture in last:
                following = expected[is_picture]
                least = max(following - gap, last[is_picture] - back)
            else:
                following = last[not is_picture] if last else time
                least = earliest - gap
            if not least <= time <= following + gap:
                shift += following - time
                time = following
            last[is_picture], expected[is_picture] = time, time + duration
        elif is_picture in expected:
            last[is_picture] = expected[is_picture]
            expected[is_picture] += duration
        if is_picture:
            if shift != (shifts[-1][1] if shifts else 0):
                shifts.append((number, shift))
            number += 1
    return shifts


def _find_foreign(packets: np.ndarray, shifts: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the numbers of packets that are displayed by a clock that starts after them, and moves.

    Frames are reordered, so such a packet is decoded before the jump. And if the file does not
    store its time of display, libav takes that from a later packet.
    """
    start, before = 0, 0
    for number, shift in shifts:
        move = shift - before
        following = packets[number : number + MOST_REORDERED]
        # Up to the next restart, if that is near.
        restarts = np.flatnonzero(np.diff(following["dts"]) < 0)
        following = following[: restarts[0] + 1] if restarts.size else following
        earliest = following["pts"][following["pts"] != UNKNOWN].min(initial=LATEST)
        for row in range(max(start, number - MOST_REORDERED), number):
            shown, decoded = int(packets["pts"][row]), int(packets["dts"][row])
            if UNKNOWN in (shown, decoded):
                continue
            # Only the sound restarts if the picture is decoded on.
            goes_on = decoded <= following["dts"][0]
            if (shown - decoded > -move // 2) if move < 0 else (goes_on and shown > earliest):
                yield row, move
        start, before = number, shift


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
