"""Frames of a part of a video as pictures for people, in their whole shape."""

import dataclasses
import os

import numpy as np
from PIL import Image

from tempme_jax.video.container import convert_errors
from tempme_jax.video.decoding import Decoder
from tempme_jax.video.frames import spread_over_part
from tempme_jax.video.opening import FileState, hold_file
from tempme_jax.video.pixels import encode_jpeg
from tempme_jax.video.timeline import scan

QUALITY = 80


@dataclasses.dataclass(frozen=True, kw_only=True)
class StillRequest:
    """Frames that are wanted of a part of a video.

    Attributes:
        file, root, state: the video, as for `opening.hold_file`.
        start, end: the part, in seconds.
        count: number of frames, spread evenly over it.
        side: most pixels of their longer side.
        most_bytes: most bytes of each; a larger picture is shrunk.
    """

    file: str
    root: str | None = None
    state: FileState | None = None
    start: float = 0.0
    end: float | None = None
    count: int = 4
    side: int = 512
    most_bytes: int = 100_000


def read_stills(request: StillRequest) -> list[tuple[float, bytes]]:
    """Read frames as JPEG files, each with the second at which a player shows it.

    A frame that is on screen all the time is there once. This runs in a child process.

    Raises:
        VideoError: the file cannot be decoded, has changed, or ends before the part.
    """
    path = os.fsdecode(request.file)

    def shrink(time: int, pixels: np.ndarray) -> bytes:
        return encode_still(pixels, request.side, request.most_bytes)

    with hold_file(path, root=request.root, state=request.state), convert_errors(path):
        index = scan(path)
        times = spread_over_part(path, index.length, request.count, request.start, request.end)
        shown = sorted(set(index.find_shown(times)))
        frames = Decoder(path, index.clock, None, shrink).decode(shown, index.keyframes)
        return [(index.find_seconds(time), frames[time]) for time in shown]


def encode_still(pixels: np.ndarray, side: int, most_bytes: int) -> bytes:
    """Encode uint8 pixels [height, width, 3] as a JPEG file of limited size."""
    image = Image.fromarray(pixels)
    while True:
        image.thumbnail((side, side))
        encoded = encode_jpeg(np.asarray(image), QUALITY)
        if len(encoded) <= most_bytes or side < 64:
            return encoded
        side = 3 * side // 4
