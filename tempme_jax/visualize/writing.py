"""Files of merged tokens: a picture, a film or a page."""

import os
import pathlib
from collections.abc import Sequence

from tempme_jax.files import write_text, write_whole
from tempme_jax.video.writing import write_video
from tempme_jax.visualize import html, picture
from tempme_jax.visualize.merged import MergedTokens

SUFFIXES = (".png", ".mp4", ".html")
FRAMES_PER_SECOND = 2


def check_files(files: Sequence[str | os.PathLike], *, overwrite: bool) -> None:
    """Raise an error if one of the files cannot be written.

    Raises:
        ValueError: if its suffix is unknown.
        FileExistsError: if it exists, unless `overwrite` is true.
        FileNotFoundError: if its folder does not exist.
    """
    for file in map(pathlib.Path, files):
        if file.suffix.lower() not in SUFFIXES:
            raise ValueError(f"{file} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
        if file.exists() and not overwrite:
            raise FileExistsError(f"{file} exists; give another name, or --overwrite")
        if not file.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {file.parent} to write {file.name} to")


def write_tokens(shown: Sequence[MergedTokens], file: str | os.PathLike, *, title: str) -> None:
    """Write merged tokens of one video to a .png, .mp4 or .html file, whole or not at all.

    Args:
        shown: one for each method, all of the same frames.
        file: the path; its suffix chooses between picture, film and page.
        title: title of the page, such as the name of the video.

    Raises:
        ValueError: if the suffix is unknown, there is nothing to show, or the frames differ.
    """
    file = pathlib.Path(file)
    match file.suffix.lower():
        case ".png":
            with write_whole(file) as unfinished:
                picture.draw_picture(shown).save(unfinished, "png")
        case ".mp4":
            options = {"crf": "14", "threads": "1"}
            write_video(file, picture.draw_film(shown), fps=FRAMES_PER_SECOND, options=options)
        case ".html":
            write_text(file, html.make_page(shown, title))
        case suffix:
            raise ValueError(f"a file must end in one of {', '.join(SUFFIXES)}, not {suffix!r}")
