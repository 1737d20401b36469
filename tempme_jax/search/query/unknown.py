"""Read a file of which it is not known whether it is a picture or a video, in a child process."""

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import UInt8

from tempme_jax.search.query.frames import (
    PATIENCE,
    Picture,
    VideoExcerpt,
    decode_excerpt,
    decode_picture,
    make_excerpt,
)
from tempme_jax.video import workers
from tempme_jax.video.errors import VideoError

if TYPE_CHECKING:  # child processes import this file and must not import JAX
    from tempme_jax.model import Model

SeenKind = Literal["picture", "clip"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnknownFile:
    """A file, to be read as what it is.

    Attributes:
        clip: how it is read as a video.
        picture: how it is read as a picture.
        clip_first: whether it is likelier a video.
    """

    clip: VideoExcerpt
    picture: Picture
    clip_first: bool

    @property
    def file(self) -> str:
        """Path of the file."""
        return self.clip.file


def read_unknown(
    model: "Model", file: str, *, clip_first: bool, total: float
) -> tuple[SeenKind, UInt8[np.ndarray, "t s s 3"]]:
    """Return what a file is, and its frames for a model; a picture is a video that stands still.

    Args:
        model: the model that embeds the frames.
        file: path of the file.
        clip_first: whether it is likelier a video.
        total: most seconds that it may take.

    Raises:
        VideoError: it is neither that can be read; it says why.
    """
    clip = make_excerpt(model, file, 0.0, None)
    picture = Picture(file=file, size=clip.size, resize=clip.resize)
    request = UnknownFile(clip=clip, picture=picture, clip_first=clip_first)
    pairs = workers.decode_all(
        [request], workers=1, seconds=min(PATIENCE, total), total=total, decode=decode_unknown
    )
    with contextlib.closing(pairs):
        _, result = next(pairs)
    if isinstance(result, VideoError):
        raise result
    kind, frames = result
    return kind, frames if kind == "clip" else np.repeat(frames, model.num_frames, axis=0)


def decode_unknown(request: UnknownFile) -> tuple[SeenKind, UInt8[np.ndarray, "t s s 3"]]:
    """Decode a file as the likelier kind, else as the other; this runs in the child process."""
    reasons: list[str] = []
    for is_clip in (request.clip_first, not request.clip_first):
        try:
            if is_clip:
                return "clip", decode_excerpt(request.clip)[0]
            return "picture", decode_picture(request.picture)[0]
        except VideoError as error:
            reasons.append(f"as a {'video' if is_clip else 'picture'}: {error.reason}")
    raise VideoError(request.file, "; ".join(reasons))
