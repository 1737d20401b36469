"""Open an untrusted file once, below a folder and without following links, and read only that.

A folder may change while its files are read. A file that was found there, or a folder on the way,
can be replaced by a link to a private file, by a pipe, or by another video. So a child process
opens each file once, one part of the path after the other, and keeps it open: what is checked,
hashed, scanned and decoded is the same file. At the end it must not have changed meanwhile.
"""

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextvars import ContextVar
from typing import BinaryIO, NamedTuple

from tempme_jax.video.errors import VideoError

CHANGED = "changed while it was read; the next run reads it again"
IRREGULAR = "not a regular file"
LINKED = "a link, or in a linked folder; links are not followed"
MISSING = "no such file"
OUTSIDE = "outside the indexed folder"
# Reasons that say nothing of the file itself: it has to be looked at again.
PASSING = (CHANGED, IRREGULAR, LINKED, MISSING)

# With O_NONBLOCK, opening a pipe does not wait for a writer.
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
# A demuxer that finds nothing but zeros may go on for hours; a file can be a large hole.
MOST_ZEROS = 2**30
_ZEROS = bytes(2**16)
# Smaller files are never called sparse; a file system may keep them elsewhere than in blocks.
LEAST_SPARSE = 2**20
# The resolutions of times in file systems, in nanoseconds.
_UNITS = (1, 100, 10**3, 10**6, 10**7, 10**9, 2 * 10**9)


class FileState(NamedTuple):
    """Size in bytes and time of the last change, in nanoseconds since 1970: a version of a file."""

    size: int
    mtime_ns: int

    def agrees(self, other: "FileState") -> bool:
        """Return whether another state may be the same one, from another file system.

        File systems cut times to units of up to 2 s.
        """
        first, second = self.mtime_ns, other.mtime_ns
        same_time = any(
            first // unit == second // unit and 0 in (first % unit, second % unit)
            for unit in _UNITS
        )
        return self.size == other.size and same_time


class HeldFile:
    """An open file that is kept open while it is read.

    Attributes:
        path: the path by which it was opened.
        descriptor: its descriptor, whose position is not used.
        state: size and time when it was opened.
    """

    def __init__(self, path: str, descriptor: int):
        self.path, self.descriptor = path, descriptor
        self.state = read_state(descriptor)

    def read(self, start: int, length: int) -> bytes:
        """Read bytes; fewer at the end of the file.

        Raises:
            VideoError: the disk or the network fails.
        """
        try:
            return os.pread(self.descriptor, length, start)
        except OSError as error:
            raise VideoError(self.path, f"cannot be read ({error.strerror})") from error

    def describe_holes(self) -> str:
        """Return a note if most of the file is not on the disk, as of an unfinished download."""
        size, on_disk = self.state.size, 512 * os.fstat(self.descriptor).st_blocks
        # Some file systems count no blocks at all.
        if size < LEAST_SPARSE or on_disk > size // 2 or (not on_disk and any(self.read(0, 4096))):
            return ""
        share = f"{on_disk / 1e6:,.1f} of its {size / 1e6:,.1f} MB"
        return f"a sparse file: only {share} are on the disk, as of a download that is not complete"


_held: ContextVar[HeldFile | None] = ContextVar("held", default=None)


@contextlib.contextmanager
def hold_file(
    path: str, *, root: str | None = None, state: FileState | None = None
) -> Iterator[HeldFile]:
    """Open a file and keep it open; meanwhile `container.open_video` reads it and no other.

    Args:
        path: the file.
        root: the folder that it lies in or below; no link below it is followed. None follows links.
        state: size and time that the file should have; None for any.

    Raises:
        VideoError: it cannot be opened, it is no regular file, or it changed meanwhile. The error
            of the block says so too if the file is sparse.
    """
    descriptor = open_regular_file(path, root)
    try:
        held = HeldFile(path, descriptor)
        if state is not None and not state.agrees(held.state):
            raise VideoError(path, CHANGED)
        token = _held.set(held)
        try:
            yield held
        except VideoError as error:
            _refuse_changed(held)
            note = held.describe_holes()
            if note:
                raise VideoError(path, f"{error.reason}; {note}") from error
            raise
        finally:
            _held.reset(token)
        _refuse_changed(held)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def hold_content(name: str, content: bytes | BinaryIO) -> Iterator[None]:
    """Hold bytes, or what is left to read of an open file, as the file of a given name.

    They are copied to a temporary file, which has no name and is gone after the block.

    Raises:
        OSError: the open file cannot be read, or there is no room for the copy.
        TypeError: the open file gives text.
    """
    with tempfile.TemporaryFile() as copy:
        if isinstance(content, bytes):
            copy.write(content)
        else:
            shutil.copyfileobj(content, copy)
        copy.flush()
        token = _held.set(HeldFile(name, copy.fileno()))
        try:
            yield
        finally:
            _held.reset(token)


def find_held(path: str) -> HeldFile | None:
    """Return the file that is held under a path, if it is."""
    held = _held.get()
    return held if held and held.path == path else None


def open_descriptor(path: str) -> int:
    """Return a new descriptor of the file that is held under a path, or of a regular file.

    Raises:
        VideoError: as of `open_regular_file`.
    """
    held = find_held(path)
    if held is None:
        return open_regular_file(path)
    descriptor = os.dup(held.descriptor)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def open_regular_file(path: str, root: str | None = None) -> int:
    """Open a regular file for reading, and return its descriptor; see `hold_file`.

    Raises:
        VideoError: it is missing, is not regular, or may not be read.
    """
    try:
        if root is None:
            descriptor = _open_entry(os.path.abspath(path), None, follows=True)
        else:
            descriptor = _open_below(path, root)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise VideoError(path, MISSING) from error
    except PermissionError as error:
        raise VideoError(path, "no permission to read it") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise VideoError(path, LINKED) from error
        raise VideoError(path, f"cannot be opened ({error.strerror})") from error
    if descriptor is None:
        raise VideoError(path, IRREGULAR)
    return descriptor


def read_state(descriptor: int) -> FileState:
    """Return size and time of an open file."""
    status = os.fstat(descriptor)
    return FileState(status.st_size, status.st_mtime_ns)


class Reader:
    """Reads a held file for libav, from a place of its own, also when it is no longer held."""

    def __init__(self, held: HeldFile):
        self._held = HeldFile(held.path, os.dup(held.descriptor))
        self._place, self._zeros = 0, 0
        self._failed = False
        self.name = os.path.abspath(held.path)  # libav looks at its suffix

    def __del__(self):
        os.close(self._held.descriptor)

    def read(self, length: int) -> bytes:
        """Read the next bytes.

        Raises:
            VideoError: the disk fails, or there was nothing but zeros for too long.
        """
        if self._failed:  # libav may try to go on, but would lose the first error by another
            return b""
        self._failed = True
        data = self._held.read(self._place, length)
        self._place += len(data)
        self._zeros = self._zeros + len(data) if data == _ZEROS[: len(data)] else 0
        if self._zeros > MOST_ZEROS:
            found = f"{MOST_ZEROS / 2**30:g} GiB of zeros in a row"
            raise VideoError(self._held.path, f"{found}, in which there is no frame")
        self._failed = False
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to another place, and return it; or a negative number, as libav reports errors."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place}
        start = base[whence] if whence in base else os.fstat(self._held.descriptor).st_size
        if start + offset < 0:
            return -errno.EINVAL
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        """Return the place."""
        return self._place


def _open_below(path: str, root: str) -> int | None:
    """Open a file below a folder without following links; None if it is not regular."""
    *folders, name = os.path.relpath(path, root).split(os.sep)
    if os.pardir in folders or name in (os.pardir, os.curdir):
        raise VideoError(path, OUTSIDE)
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:
            if stat.S_ISLNK(os.lstat(folder, dir_fd=descriptor).st_mode):
                raise VideoError(path, LINKED)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            inner = os.open(folder, flags, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        return _open_entry(name, descriptor, follows=False)
    finally:
        os.close(descriptor)


def _open_entry(name: str, folder: int | None, *, follows: bool) -> int | None:
    """Open a file in an open folder; None if it is not regular."""
    # Opening a device may do something to it, so its kind is looked at before that as well.
    status = os.stat(name, dir_fd=folder, follow_symlinks=follows)
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if not stat.S_ISREG(status.st_mode):
        return None
    descriptor = os.open(name, _FLAGS | (0 if follows else os.O_NOFOLLOW), dir_fd=folder)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def _refuse_changed(held: HeldFile) -> None:
    if read_state(held.descriptor) != held.state:
        raise VideoError(held.path, CHANGED)
