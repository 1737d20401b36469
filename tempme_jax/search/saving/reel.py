"""Lay parts of videos end to end in one mp4 file.

Each part is encoded alike, so its packets can follow those of the part before it. A part that
fails is left out.
"""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Generator, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple

import av
from av.container import InputContainer
from av.packet import Packet

from tempme_jax.files import write_whole
from tempme_jax.search.saving.cutting import (
    PATIENCE,
    Cut,
    DiskFailure,
    SavedPart,
    save_parts,
    write_to_disk,
)
from tempme_jax.search.saving.mp4 import Mp4File, find_unit, move
from tempme_jax.video import workers
from tempme_jax.video.container import VideoError, convert_errors

# Most pixels of the longer side of the picture.
MOST_SIDE = 1920


class Reel:
    """Collects parts in a temporary folder beside the file, and joins them in the end."""

    def __init__(self, target: Path):
        """Take the path of the mp4 file."""
        self._target, self._stack = target, contextlib.ExitStack()
        self._pieces: list[SavedPart] = []

    def __enter__(self) -> "Reel":
        """Make the temporary folder.

        Raises:
            OSError: the folder of the file is missing, or cannot be written to.
        """
        made = tempfile.TemporaryDirectory(prefix=".tempme-", dir=self._target.parent)
        self._folder = Path(self._stack.enter_context(made))
        return self

    def __exit__(self, *_) -> None:
        """Remove the temporary folder."""
        self._stack.close()

    def add(self, cuts: Sequence[Cut]) -> Generator[SavedPart | VideoError | OSError, None, None]:
        """Encode parts, and yield what became of each; the size of the first is that of all."""
        begun = 0
        while begun < len(cuts) and not self._pieces:
            yield from self._encode(cuts[begun : begun + 1], begun)
            begun += 1
        if begun < len(cuts):
            yield from self._encode(cuts[begun:], begun)

    def _encode(
        self, cuts: Sequence[Cut], begun: int
    ) -> Iterator[SavedPart | VideoError | OSError]:
        size = self._pieces[0].size if self._pieces else None
        most = None if size else MOST_SIDE
        jobs = [
            (
                dataclasses.replace(cut, is_piece=True, size=size, most_side=most),
                self._folder / f"piece{number}.mp4",
            )
            for number, cut in enumerate(cuts, begun)
        ]
        for result in save_parts(jobs):
            if isinstance(result, SavedPart):
                self._pieces.append(result)
            yield result

    def finish(self) -> None:
        """Write the file, if there is any part.

        Raises:
            OSError: it cannot be written.
            VideoError: the parts do not fit together.
        """
        if not self._pieces:
            return
        joined = Pieces(str(self._target), tuple(self._pieces), str(self._folder / "joined.mp4"))
        results = workers.decode_all([joined], workers=1, seconds=PATIENCE, decode=join_pieces)
        with contextlib.closing(results):
            _, result = next(results)
        if isinstance(result, VideoError):
            raise result
        if isinstance(result, DiskFailure):
            raise OSError(result.number, os.strerror(result.number), str(self._target))
        with write_whole(self._target) as unfinished:
            os.replace(joined.target, unfinished)


class Pieces(NamedTuple):
    """Encoded parts that are to be joined.

    Attributes:
        file: what they become, for error messages.
        pieces: the parts.
        target: path of the mp4 file, which the child process writes.
    """

    file: str
    pieces: tuple[SavedPart, ...]
    target: str


def join_pieces(request: Pieces) -> str | DiskFailure:
    """Join encoded parts; this runs in a child process, as they were made of untrusted files."""
    return write_to_disk(lambda: _join(request))


def _join(request: Pieces) -> str:
    with convert_errors(request.file), _open(request.pieces[0]) as first:
        file = Mp4File(request.target)
        picture, sound = first.streams.video[0], first.streams.audio[0]
        head = picture.codec_context.extradata
        copies = [file.container.add_stream_from_template(each) for each in (picture, sound)]
        file.write(
            move(_chain(request.pieces, "video", head), Fraction(0), copies[0]),
            move(_chain(request.pieces, "audio", None), Fraction(0), copies[1]),
        )
    return request.target


def _open(piece: SavedPart) -> InputContainer:
    options = {"protocol_whitelist": "file", "format_whitelist": "mov"}
    return av.open(os.path.abspath(piece.file), options=options)


def _chain(
    pieces: Sequence[SavedPart], kind: Literal["video", "audio"], head: bytes | None
) -> Iterator[Packet]:
    """Yield the packets of a kind of all parts, each part after the one before it."""
    offset = Fraction(0)
    for piece in pieces:
        with _open(piece) as container:
            (stream,) = container.streams.get({kind: 0})
            if head is not None and stream.codec_context.extradata != head:
                raise VideoError(str(piece.file), "was encoded otherwise than the first")
            for packet in container.demux(stream):
                # What an encoder puts before the start of sound is needed only once.
                if packet.pts is None or (packet.pts < 0 and offset):
                    continue
                shift = round(offset / find_unit(packet))
                packet.pts += shift
                packet.dts = None if packet.dts is None else packet.dts + shift
                yield packet
        offset += Fraction(piece.seconds)
