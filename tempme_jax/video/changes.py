"""Say why a video file is read otherwise than by an earlier version.

An index that an earlier version made holds times and pixels as that version read them. It asks
`list_changes` for each file, and reads again those that would be read otherwise today.
"""

import contextlib
import itertools
import os
from collections.abc import Callable

from av.error import FFmpegError
from av.stream import Disposition
from av.video.frame import VideoFrame

from tempme_jax.video.container import convert_errors, find_video_stream, open_video
from tempme_jax.video.player import Player
from tempme_jax.video.timeline import FrameIndex, read_packets, scan

# How many frames are looked at, and how many packets may come before they are complete.
FRAMES, PACKETS = 3, 40


def list_changes(path: str | os.PathLike[str]) -> list[str]:
    """List why a file is read otherwise than by version 1, in a few words each.

    Args:
        path: a video file. It is opened and scanned in this process.

    Returns:
        The reasons, such as "timestamps restart"; none if version 1 read the same.

    Raises:
        VideoError: the file is not a readable video.
    """
    path = os.fsdecode(path)
    with convert_errors(path):
        index = scan(path)
        return [reason for find in REASONS for reason in find(path, index)]


def _find_changed_times(path: str, index: FrameIndex) -> list[str]:
    # Version 1 took all timestamps and marks as they were, and the first frame's time for zero.
    return list(index.notes)


def _find_changed_pixels(path: str, index: FrameIndex) -> list[str]:
    """Look at the first frames, which version 1 showed as they are stored."""
    with open_video(path) as container:
        stream = find_video_stream(container, path)
        reasons = []
        films = (s for s in container.streams.video if not s.disposition & Disposition.attached_pic)
        if stream is not next(films):
            reasons.append("another of its video streams is the film")
        player = Player(container, stream, None)
        frames: list[VideoFrame] = []
        for packet in itertools.islice(read_packets(container, stream), PACKETS):
            with contextlib.suppress(FFmpegError):
                frames += player.decode(packet)
            if len(frames) >= FRAMES:
                break
    return reasons + player.describe(frames)


# Each returns the reasons of one kind: given are the path and the scanned times of the file.
REASONS: list[Callable[[str, FrameIndex], list[str]]] = [_find_changed_times, _find_changed_pixels]
