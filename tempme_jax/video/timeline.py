"""Read when the frames of a video are shown, from its packets and almost without decoding.

Times are those of a player. They start with the earliest of the file's streams, so a picture that
begins after the sound is late, and is shown from the start on. Timestamps that restart or jump, as
where recordings were laid end to end, are made continuous by `clock.find_clock`.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from tempme_jax.video.clock import MAY_JUMP, PLAIN, Clock, find_clock
from tempme_jax.video.container import (
    NO_FRAME,
    VideoError,
    check_regular_file,
    find_sound_stream,
    find_video_stream,
    open_video,
)
from tempme_jax.video.elementary import is_elementary, time_packets
from tempme_jax.video.keyframes import are_trusted, find_first_decoded
from tempme_jax.video.progress import report_progress
from tempme_jax.video.untimed import UNKNOWN

# Seconds: containers state their start in microseconds, rounded.
ROUNDING = Fraction(2, 10**6)
# Seconds: smaller departures are not worth a note.
NOTABLE = Fraction(1, 10)


def read_packets(
    container: InputContainer, stream: VideoStream, clock: Clock = PLAIN, *others: Stream
) -> Iterator[Packet]:
    """Yield the packets up to the end, or to where a truncated file cannot be read further.

    Args:
        container: the file.
        stream: its video stream.
        clock: corrects the timestamps. Unless it is plain, the file is to be read from its start.
        others: streams whose packets are read too, with a plain clock only.
    """
    packets = time_packets(container.demux(stream, *others), container, stream)
    try:
        for packet in clock.correct(packets):
            report_progress()
            yield packet
    except MemoryError:
        raise
    except (FFmpegError, IndexError):  # PyAV 18: IndexError if a stream appears late
        return


class FrameIndex(NamedTuple):
    """The times at which the frames of a video appear on screen.

    Attributes:
        times: timestamps of all frames, ascending, in units of `unit`.
        keyframes: timestamps of the keyframes, likewise; none if seeking to them is of no use.
        length: time from the start to the end of the last frame, in seconds.
        unit: length of a unit of the timestamps, in seconds.
        start: the start of the video, on the scale of the timestamps, in seconds.
        clock: how the timestamps of the packets become those of the frames.
        notes: what is unusual about the times, in a few words each.
        stated: if the clock is `in_order`, those times that are right in the packets themselves.
    """

    times: list[int]
    keyframes: list[int]
    length: Fraction
    unit: Fraction
    start: Fraction
    clock: Clock
    notes: tuple[str, ...] = ()
    stated: frozenset[int] = frozenset()

    def find_shown(self, moments: Iterable[Fraction]) -> list[int]:
        """Return the timestamp of the frame on screen at each moment.

        Args:
            moments: seconds from the start. The first frame is on screen even before its time.
        """
        first = self.times[0]
        ticks = ((self.start + moment) // self.unit for moment in moments)
        return [self.times[bisect_right(self.times, max(t, first)) - 1] for t in ticks]

    def find_end(self, time: int) -> Fraction:
        """Return the second, from the start, up to which the frame with a timestamp is shown."""
        following = bisect_right(self.times, time)
        if following == len(self.times):
            return self.length
        return self.times[following] * self.unit - self.start

    def find_seconds(self, time: int) -> float:
        """Return the second, from the start, at which the frame with a timestamp appears."""
        if time == self.times[0]:
            return 0.0
        return float(max(Fraction(0), time * self.unit - self.start))


def scan(path: str) -> FrameIndex:
    """Read the timestamps of all frames from the packets; decode no more than a few of them.

    The length and the number of frames in a file's header are too often absent or wrong.

    Raises:
        VideoError: the file is not a readable video, or has no frames.
    """
    check_regular_file(path)
    with open_video(path) as container:
        stream = find_video_stream(container, path)
        sound = find_sound_stream(container) if container.format.flags & MAY_JUMP else None
        rows = _list_packets(container, stream, sound)
        if not (rows["is_picture"] & (rows["size"] > 0)).any() or stream.time_base is None:
            raise VideoError(path, NO_FRAME)
        clock, packets = find_clock(container, stream, rows)
        unit = Fraction(stream.time_base)
        # An edit list marks the packets to cut away as discarded.
        is_shown = (packets["pts"] != UNKNOWN) & ~packets["is_discard"]
        rows, frames = packets[is_shown], packets[is_shown & (packets["size"] > 0)]
        if not frames.size:
            raise VideoError(path, NO_FRAME)
        start = _find_start(container, frames, unit, stream, sound, clock)
        first = _find_first_shown(path, container, packets, frames)
        cut = first - int(frames["pts"].min())
        frames = frames[frames["pts"] >= first]
        times = np.sort(frames["pts"]).tolist()
        end = _find_end(rows, times) * unit
        if start >= end:
            start = times[0] * unit
        marked = np.sort(frames["pts"][frames["is_keyframe"]]).tolist()
        is_trusted = are_trusted(container, stream, marked, len(times))
        can_seek = is_trusted and _can_seek(container, frames, clock)
    late, still = times[0] * unit - start, end - _find_end(frames, times) * unit
    return FrameIndex(
        times=times,
        keyframes=marked if can_seek else [],
        length=end - start,
        unit=unit,
        start=start,
        clock=clock,
        notes=tuple(_list_notes(clock, late, still, cut * unit, is_trusted)),
        stated=_list_stated(frames, clock),
    )


def _can_seek(container: InputContainer, frames: np.ndarray, clock: Clock) -> bool:
    """Return whether a seek to the timestamp of a keyframe leads to it."""
    # Where small frames of MPEG-PS share a packet of the container, libav mistakes one for another
    # after a seek.
    is_shared = container.format.name == "mpeg" and not frames["is_placed"].all()
    return clock.is_plain and not (is_shared or is_elementary(container))


def _list_stated(frames: np.ndarray, clock: Clock) -> frozenset[int]:
    if not clock.in_order or clock.by_decoding:
        return frozenset()
    return frozenset(frames["pts"][~frames["is_found"]].tolist())


def _list_notes(
    clock: Clock, late: Fraction, still: Fraction, cut: Fraction, marks_are_right: bool
) -> Iterator[str]:
    if clock.shifts:
        yield "timestamps restart or jump"
    if clock.in_order:
        yield "frames without times of display"
    if cut >= NOTABLE:
        yield f"first {float(cut):.1f} s cannot be decoded"
        late -= cut
    if late >= NOTABLE:
        yield f"picture begins {float(late):.1f} s after the sound"
    if late <= -NOTABLE:
        yield f"first {float(-late):.1f} s are before the start"
    if still >= NOTABLE:
        yield f"still picture at the end, {float(still):.1f} s"
    if not marks_are_right:
        yield "frames marked as key frames that are none"


def _list_packets(
    container: InputContainer, stream: VideoStream, sound: AudioStream | None
) -> np.ndarray:
    """Read the properties of all packets, in the order in which they are stored."""

    def choose(time: int | None) -> int:
        return UNKNOWN if time is None else time

    streams = [sound] if sound else []
    rows = np.fromiter(
        (
            (
                choose(packet.pts),
                choose(packet.dts),
                packet.duration or 0,
                packet.size,
                packet.stream is stream,
                packet.is_keyframe,
                packet.is_discard,
                packet.pos is not None,
                False,
            )
            for packet in read_packets(container, stream, PLAIN, *streams)
        ),
        dtype=[
            ("pts", np.int64),
            ("dts", np.int64),
            ("duration", np.int64),
            ("size", np.int64),
            ("is_picture", np.bool),
            ("is_keyframe", np.bool),
            ("is_discard", np.bool),
            ("is_placed", np.bool),
            ("is_found", np.bool),
        ],
    )
    if sound and sound.time_base and stream.time_base:
        ratio = sound.time_base / stream.time_base
        for name in ("dts", "duration"):
            is_sound = ~rows["is_picture"] & (rows[name] != UNKNOWN)
            rows[name][is_sound] = rows[name][is_sound] * ratio.numerator // ratio.denominator
    return rows


def _find_first_shown(
    path: str, container: InputContainer, packets: np.ndarray, frames: np.ndarray
) -> int:
    """Return the timestamp of the first frame that can be decoded.

    Where a recording was cut, those before a keyframe need others that are not there.

    Args:
        path, container: the file.
        packets: rows of all packets.
        frames: rows of those that hold frames to show.
    """
    earliest = int(frames["pts"].min())
    is_whole = frames["is_keyframe"][0] and frames["pts"][0] == earliest
    number = None if is_whole or is_elementary(container) else find_first_decoded(path)
    return earliest if number is None else max(earliest, int(packets["pts"][number]))


def _find_end(packets: np.ndarray, times: list[int]) -> int:
    """Return the timestamp of the end of the last frame.

    A packet without content says that the frame before it stays on screen.
    """
    last = packets[np.argmax(packets["pts"])]
    duration = int(last["duration"])
    if duration <= 0:
        duration = int(np.median(np.diff(times))) if len(times) > 1 else 1
    return int(last["pts"]) + duration


def _find_start(
    container: InputContainer,
    frames: np.ndarray,
    unit: Fraction,
    stream: VideoStream,
    sound: AudioStream | None,
    clock: Clock,
) -> Fraction:
    """Return the start of the video, on the scale of the frames' timestamps, in seconds.

    It is that of the stream that starts first, as libav finds it. Broadcasts may hold streams of
    other programs, so there it is that of the picture or its sound.
    """
    first, stated = int(frames["pts"].min()) * unit, container.start_time
    if stated is None:
        return first
    start = Fraction(stated, 10**6)
    if container.format.flags & MAY_JUMP:
        starts = [
            s.start_time * s.time_base
            for s in (stream, sound)
            if s and s.time_base and s.start_time is not None
        ]
        start = min(starts, default=start)
    if container.format.name == "avi" and frames["dts"][0] != UNKNOWN:
        # It stores no times of display. libav adds the time that the decoder takes to reorder.
        start += first - int(frames["dts"][0]) * unit
    if container.format.name == "avi" or clock.in_order:
        start = min(first, start)
    return first if abs(start - first) <= ROUNDING else start
