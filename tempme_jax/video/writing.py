"""Writing video files."""

import os
from collections.abc import Iterable, Mapping

import av
import numpy as np

from tempme_jax.files import write_whole


def write_video(
    file: str | os.PathLike[str],
    frames: Iterable[np.ndarray],
    *,
    fps: int,
    pixel_format: str = "yuv420p",
    options: Mapping[str, str] | None = None,
) -> None:
    """Write frames as an H.264 mp4 file, whole or not at all.

    Args:
        file: the path of the file.
        frames: at least one uint8 array [height, width, 3], RGB, all of the same shape.
        fps: frames per second.
        pixel_format: "yuv420p" needs an even height and width; "yuv444p" keeps colours sharp.
        options: settings of the encoder libx264, such as {"crf": "16"}.
    """
    with write_whole(file) as unfinished, av.open(unfinished, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options=dict(options or {}))
        stream.pix_fmt = pixel_format
        for number, frame in enumerate(frames):
            if number == 0:
                stream.height, stream.width = frame.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
