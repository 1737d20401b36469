"""Give times of display to packets that have none, or that cannot have theirs.

MPEG-PS of a low rate states times of some frames only, and Matroska none before 0. Where timestamps
jumped before a file was copied, a few frames may have times that are far ahead.
"""

import contextlib
import itertools
from bisect import bisect_left, insort

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

# Stands for a timestamp that a packet does not have.
UNKNOWN = int(np.iinfo(np.int64).min)
# A decoder holds no more frames back to reorder them, with any codec.
MOST_REORDERED = 16
# Packets that are decoded to see what they hold.
TRIED_PACKETS = 50
# If only such a share lacks a time, it is passed over as damaged. Else, seeking is of no use.
FEW = 0.01


def fill_times(packets: np.ndarray, container: InputContainer, stream: VideoStream) -> bool:
    """Set the times of display of packets without right ones.

    Args:
        packets: rows "pts", "dts", "duration", "size", "is_keyframe" and "is_discard" of the
            packets of a stream, in the order in which they are stored. "pts" is set, and with
            it "is_found", where a right one is found.
        container: their file, which is read from another place afterwards.
        stream: their stream.

    Returns:
        Whether there were such packets. Then the times are right as a whole, but not those of each
        packet.
    """
    places = np.flatnonzero((packets["size"] > 0) & ~packets["is_discard"])
    rows = packets[places]
    is_lost = _find_misplaced(rows["pts"])
    has_none = rows["pts"] == UNKNOWN
    is_notable = has_none[:1].any() or has_none.sum() > FEW * len(rows)
    if is_notable and not has_none.all() and not _hold_fields(container, stream):
        is_lost |= has_none | _are_shared(rows["pts"])
    if is_lost.any():
        packets["pts"][places], packets["is_found"][places] = _choose_times(rows, is_lost), is_lost
    return bool(is_lost.any())


def decode_out_of_order(container: InputContainer, stream: VideoStream) -> bool:
    """Return whether the first frames are decoded with timestamps that do not ascend.

    So it is where one packet holds two frames, as programs wrote B-frames of MPEG-4 into AVI.
    """
    if not stream.codec_context.has_b_frames:
        return False
    _, frames = _decode_some(container, stream)
    times = [frame.pts for frame in frames if frame.pts is not None]
    return times != sorted(times)


def _hold_fields(container: InputContainer, stream: VideoStream) -> bool:
    """Return whether packets hold the two fields of a frame, of which only the first has a time."""
    count, frames = _decode_some(container, stream)
    return 3 * len(frames) < 2 * count


def _decode_some(container: InputContainer, stream: VideoStream) -> tuple[int, list[VideoFrame]]:
    """Decode packets from the first keyframe on; return their number and the frames."""
    count = 0
    frames: list[VideoFrame] = []
    with contextlib.suppress(FFmpegError, IndexError, ValueError):
        container.seek(0, stream=stream)
        packets = (packet for packet in container.demux(stream) if packet.size)
        packets = itertools.dropwhile(lambda packet: not packet.is_keyframe, packets)
        for packet in itertools.islice(packets, TRIED_PACKETS):
            count += 1
            frames += packet.decode()
        frames += stream.codec_context.decode(None)
    return count, frames


def _find_misplaced(times: np.ndarray) -> np.ndarray:
    """Return which frames would be displayed after others that are decoded too late for that.

    Args:
        times: times of display in the order of decoding; UNKNOWN are left out.
    """
    is_misplaced = np.zeros(len(times), bool)
    known = np.flatnonzero(times != UNKNOWN)
    earliest_left = np.minimum.accumulate(times[known][::-1])[::-1]
    is_late = times[known][:-MOST_REORDERED] > earliest_left[MOST_REORDERED:]
    is_misplaced[known[:-MOST_REORDERED][is_late]] = True
    return is_misplaced


def _are_shared(times: np.ndarray) -> np.ndarray:
    """Return which times are those of several packets: at most one of them has it by right."""
    _, place, counts = np.unique(times, return_inverse=True, return_counts=True)
    return counts[place] > 1


def _choose_times(rows: np.ndarray, is_lost: np.ndarray) -> np.ndarray:
    """Return times of display of all packets, of which some have lost theirs.

    Such a packet gets the first time from its time of decoding on at which no other frame appears.
    Before the first time of decoding, times are counted back from the earliest one.
    """
    times, has_dts, places = rows["pts"].copy(), rows["dts"] != UNKNOWN, np.arange(len(rows))
    taken = np.sort(times[~is_lost & (times != UNKNOWN)]).tolist()
    durations = rows["duration"][rows["duration"] > 0]
    step = int(np.median(durations)) if len(durations) else 1
    known = np.maximum.accumulate(np.where(has_dts, places, 0))
    decoded = rows["dts"][known] + (places - known) * step
    if rows["is_keyframe"][0] and not is_lost[0]:
        decoded = np.maximum(decoded, times[0])  # those shown before it could not be decoded
    leading = int(np.argmax(has_dts)) if has_dts.any() else len(rows)
    for place in places[is_lost & (places >= leading)]:
        times[place] = _find_free(taken, int(decoded[place]), step)
        insort(taken, int(times[place]))
    earliest = taken[0] if taken else 0
    for number, place in enumerate(places[is_lost & (places < leading)][::-1], 1):
        times[place] = earliest - number * step
    return times


def _find_free(taken: list[int], time: int, step: int) -> int:
    """Return a time, or the next one after it, that none of `taken` is nearer to than half a step.

    No search goes further than frames are reordered, not even in a hostile file.
    """
    for _ in range(2 * MOST_REORDERED):
        place = bisect_left(taken, time - (step - 1) // 2)
        if place == len(taken) or 2 * (taken[place] - time) > step:
            break
        time = taken[place] + step
    return time
