"""Merged tokens written to a picture, a film or a page."""

import os
import pathlib
from collections.abc import Sequence

from tempme_jax.visualize import html, picture
from tempme_jax.visualize.merged import Merged

SUFFIXES = (".png", ".mp4", ".html")


def check_files(files: Sequence[str | os.PathLike], *, overwrite: bool) -> None:
    """Raises a ValueError if one of the files cannot be written; it says why."""
    for file in map(pathlib.Path, files):
        if file.suffix.lower() not in SUFFIXES:
            raise ValueError(f"{file} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
        if file.exists() and not overwrite:
            raise FileExistsError(f"{file} exists; give another name, or --overwrite")
        if not file.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {file.parent} to write {file.name} to")


def write(shown: Sequence[Merged], file: str | os.PathLike, *, title: str) -> None:
    """Writes what methods made of one video to a .png, .mp4 or .html file.

    Args:
        shown: one for each method, all of the same frames.
        file: where to; its suffix says what.
        title: of the page, such as the name of the video.
    """
    file = pathlib.Path(file)
    match file.suffix.lower():
        case ".png":
            picture.picture(shown).save(file)
        case ".mp4":
            file.write_bytes(picture.movie(shown))
        case ".html":
            file.write_text(html.page(shown, title), encoding="utf-8", newline="\n")
        case suffix:
            raise ValueError(f"a file must end in one of {', '.join(SUFFIXES)}, not {suffix!r}")
