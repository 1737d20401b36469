"""Files that are written whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def write_whole(file: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `file`; rename it to `file` once the block has succeeded.

    At any time the old file or the new one is there, whole. If the block raises, the temporary
    file is removed and `file` stays as it was.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with write_whole(f"{folder}/a.txt") as unfinished:
    ...         _ = unfinished.write_text("all of it")
    ...     print(os.listdir(folder))
    ['a.txt']
    """
    file = Path(file)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        yield unfinished
        with unfinished.open("rb") as stream:  # on the disk before it gets its name
            os.fsync(stream.fileno())
        os.replace(unfinished, file)
    finally:
        unfinished.unlink(missing_ok=True)


def write_text(file: str | os.PathLike, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with write_whole(file) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
