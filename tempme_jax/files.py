"""Files that are written whole or not at all, and stay after a power cut."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

# What `fsync` answers for folders on some network drives, and on file systems without it.
_NOT_SYNCED = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EISDIR, errno.EACCES)


@contextlib.contextmanager
def write_whole(file: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `file`; rename it to `file` once the block has succeeded.

    At any time, also after a power cut, the old file or the new one is there, whole. If the block
    raises, the temporary file is removed and `file` stays as it was.

    Raises:
        OSError: `file` is a device or a pipe, which a file must not replace.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with write_whole(f"{folder}/a.txt") as unfinished:
    ...         _ = unfinished.write_text("all of it")
    ...     print(os.listdir(folder))
    ['a.txt']
    """
    file = Path(file)
    if file.exists() and not (file.is_file() or file.is_dir()):
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(file))
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        yield unfinished
        sync_to_disk(unfinished)  # before it gets its name
        os.replace(unfinished, file)
        sync_to_disk(file.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def sync_to_disk(path: str | os.PathLike) -> None:
    """Wait until a file, or the list of names of a folder, is on the disk.

    Where the file system cannot do that, nothing happens.

    Raises:
        OSError: the disk is full or broken, or the path is gone.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NOT_SYNCED:
            raise


def write_text(file: str | os.PathLike, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with write_whole(file) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
