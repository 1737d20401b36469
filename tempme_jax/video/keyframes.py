"""Choose the keyframes to seek to, and notice frames that are only marked as such."""

import contextlib
import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from tempme_jax.video.container import find_video_stream, open_video
from tempme_jax.video.progress import report_progress

# Pictures that are decoded with the help of others.
PREDICTED = (PictureType.P, PictureType.B, PictureType.S, PictureType.SP)
# Marks that are tried where they are suspicious.
TRIED_MARKS = 3
# Packets in which the first frame of a recording that was cut is looked for.
TRIED_PACKETS = 1000


def is_predicted(frame: VideoFrame) -> bool:
    """Return whether a frame was decoded with the help of others, so decoding cannot start there.

    >>> is_predicted(VideoFrame(16, 16, "yuv420p"))
    False
    """
    return not frame.key_frame and frame.pict_type in PREDICTED


def are_trusted(
    container: InputContainer, stream: VideoStream, keyframes: Sequence[int], count: int
) -> bool:
    """Return whether the keyframes of an open file are such.

    A few are tried where more than half of all frames are marked. Some programs mark all of them,
    or none, which mp4 files take for all. Marks that are wrong now and then are noticed after
    each seek.

    Args:
        container: the file, which is read from another place afterwards.
        stream: its video stream.
        keyframes: timestamps of the frames that are marked, ascending.
        count: number of all frames.
    """
    if len(keyframes) < 3 or len(keyframes) <= count // 2:
        return True
    places = (len(keyframes) * (2 * i + 1) // (2 * TRIED_MARKS) for i in range(TRIED_MARKS))
    return not any(_is_wrong(container, stream, keyframes[place]) for place in places)


def _is_wrong(container: InputContainer, stream: VideoStream, keyframe: int) -> bool:
    """Return whether decoding does not start at a keyframe, or starts with a predicted frame."""
    first = None
    try:
        container.seek(keyframe, stream=stream)
        for packet in container.demux(stream):
            if first is None:
                first = packet.pts
            for frame in packet.decode() if packet.size else ():
                # Some decoders skip frames up to a true keyframe.
                is_late = first is not None and frame.pts is not None and frame.pts > first
                return is_late or is_predicted(frame)
    except (FFmpegError, IndexError, ValueError):  # seeking will fail likewise, and be noticed
        pass
    return False


def find_first_decoded(path: str) -> int | None:
    """Return the number of the packet of the first frame that a decoder gives; None if none."""
    with contextlib.suppress(FFmpegError, IndexError), open_video(path) as container:
        stream = find_video_stream(container, path)
        for number, packet in enumerate(itertools.islice(container.demux(stream), TRIED_PACKETS)):
            # Decoders pass on the times of display.
            packet.pts = number
            report_progress()
            with contextlib.suppress(FFmpegError, ValueError):
                for frame in packet.decode() if packet.size else ():
                    return frame.pts
    return None


def select_keyframes(times: Sequence[int], keyframes: Sequence[int]) -> list[int]:
    """Return the keyframes that are needed to seek to frames with ascending timestamps.

    Two of them precede the first frame's group: one to go back to if a seek misses, and one that
    shows that there are groups to skip.
    """
    first = bisect_right(keyframes, times[0]) - 1
    return list(keyframes[max(0, first - 2) : bisect_right(keyframes, times[-1])])


def count_decoded(times: Sequence[int], keyframes: Sequence[int], frames: Sequence[int]) -> int:
    """Count the frames to decode to get from the keyframe before the first of `times` to the last.

    Args:
        times: timestamps of wanted frames, ascending.
        keyframes: timestamps of all keyframes, ascending.
        frames: timestamps of all frames, ascending.
    """
    place = bisect_right(keyframes, times[0]) - 1
    start = bisect_left(frames, keyframes[place]) if place >= 0 else 0
    return bisect_right(frames, times[-1]) - start
