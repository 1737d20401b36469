"""Write packets into an mp4 file; what goes wrong with the disk is an OSError."""

import errno
import heapq
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import cast

import av
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream

# The unit of the times of pictures, in seconds.
UNIT = Fraction(1, 90_000)
# What a disk or a network drive answers; all else is the fault of what is written.
_OF_THE_DISK = (
    errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM,
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EMFILE, errno.ENFILE,
)  # fmt: skip


class UnfitPacketError(Exception):
    """An mp4 file cannot hold what was to be written."""


class Mp4File:
    """An mp4 file that is being written, its index at the front.

    Attributes:
        container: libav's, to add streams to.
    """

    def __init__(self, path: str):
        """Create the file.

        Raises:
            OSError: the disk does not allow it.
        """
        self._path = path
        try:
            options = {"movflags": "+faststart"}
            self.container = av.open(os.path.abspath(path), "w", format="mp4", options=options)
        except FFmpegError as error:
            raise self._convert(error) from error

    def write(self, *streams: Iterable[Packet]) -> None:
        """Write the packets of some streams in the order of their times, and close the file.

        Raises:
            OSError: the disk is full or broken.
            UnfitPacketError: an mp4 file cannot hold them.
        """
        try:
            for packet in heapq.merge(*streams, key=find_time):
                self._call(lambda packet=packet: self.container.mux(packet))
        finally:
            self._call(self.container.close)

    def _call(self, act) -> None:
        try:
            act()
        except FFmpegError as error:
            raise self._convert(error) from error
        except ValueError as error:  # PyAV's word for a codec that the format does not know
            raise UnfitPacketError(str(error)) from error

    def _convert(self, error: FFmpegError) -> Exception:
        if error.errno in _OF_THE_DISK:
            return OSError(error.errno, os.strerror(error.errno), self._path)
        return UnfitPacketError(str(error))


def find_time(packet: Packet) -> Fraction:
    """Return the time at which a packet is decoded, in seconds."""
    return (packet.dts if packet.dts is not None else packet.pts or 0) * find_unit(packet)


def find_unit(packet: Packet) -> Fraction:
    """Return the unit of a packet's times, in seconds."""
    return Fraction(cast(Fraction, packet.time_base))


def move(packets: Iterable[Packet], seconds: Fraction, stream: Stream) -> Iterator[Packet]:
    """Yield packets later by some seconds, for another stream; those without a time are left out.

    Times of decoding are made ascending, as mp4 needs them.
    """
    last: int | None = None
    for packet in packets:
        if packet.pts is None:
            continue
        shift = round(seconds / find_unit(packet))
        packet.pts += shift
        packet.dts = packet.pts if packet.dts is None else packet.dts + shift
        if last is not None and packet.dts <= last:
            if last + 1 > packet.pts:
                continue
            packet.dts = last + 1
        last = packet.dts
        packet.stream = stream
        yield packet
