"""Save moments of an index as mp4 files, one each, or all as one."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tempme_jax.files import write_text
from tempme_jax.search.indexing.exclusion import IGNORE_FILE
from tempme_jax.search.saving.cutting import Cut, SavedPart, save_part, save_parts
from tempme_jax.search.saving.names import make_mark, name_part
from tempme_jax.search.saving.reel import Reel
from tempme_jax.video.errors import VideoError

if TYPE_CHECKING:
    from tempme_jax.search.query.results import Moment
    from tempme_jax.search.videos import IndexVideos

ALREADY_THERE = "is there already, and stays as it is"
# What a folder of saved moments says to `tempme index` if it is made among the videos.
NOT_INDEXED = "# Copies of moments of the videos around this folder, which are indexed.\n*\n"


class SavedMoment(NamedTuple):
    """What became of a moment that was to be saved.

    Attributes:
        moment: the moment.
        file: the mp4 file; None if there is none.
        copied: whether its pictures were copied and not encoded again.
        reason: why it was not saved; "" if it was.
        is_failure: whether something went wrong; not if the file had been there before.
    """

    moment: "Moment"
    file: Path | None
    copied: bool = False
    reason: str = ""
    is_failure: bool = False


def save_moment(
    index: "IndexVideos", file_id: str, start: float, end: float, target: Path, **options
) -> SavedPart:
    """Save a part of a video of an index; see `IndexVideos.save_part`."""
    index.require_no_video(target)
    file, root, state = index.locate(file_id)
    return save_part(file, start, end, target, root=root, state=state, **options)


def save_moments(
    index: "IndexVideos", moments: Iterable["Moment"], folder: Path, *, overwrite: bool = False
) -> Iterator[SavedMoment]:
    """Save moments in a folder, which is made; yield for each what became of it, in their order.

    Args:
        index: the index that the moments are of.
        moments: moments of its results.
        folder: where their files are to lie; their names tell the moments.
        overwrite: whether files that are there are replaced.

    Raises:
        OSError: the folder cannot be made or written to.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    given = list(moments)
    found: dict[int, SavedMoment] = {}
    jobs: list[tuple[Cut, Path]] = []
    for number, moment in enumerate(given):
        mark = make_mark(moment.window, moment.start, moment.end)
        target = folder / name_part(moment.file, moment.start, moment.end, mark=mark)
        if not overwrite and target.exists():
            found[number] = SavedMoment(moment, target, reason=f"{target.name} {ALREADY_THERE}")
            continue
        cut = make_cut(index, moment)
        if isinstance(cut, VideoError):
            found[number] = convert(moment, cut)
        else:
            jobs.append((cut, target))
    if is_new and any(cut.root and folder.resolve().is_relative_to(cut.root) for cut, _ in jobs):
        write_text(folder / os.fsdecode(IGNORE_FILE), NOT_INDEXED)
    with contextlib.closing(save_parts(jobs)) as saved:
        for number, moment in enumerate(given):
            yield found[number] if number in found else convert(moment, next(saved))


def make_cut(index: "IndexVideos", moment: "Moment") -> Cut | VideoError:
    """Return what to save of a moment, or why it cannot be saved: its video is gone, or another."""
    try:
        file, root, state = index.locate(moment.file_id)
    except KeyError:
        return VideoError(str(moment.file), "is no longer in the index; search again")
    except VideoError as error:
        return error
    return Cut(file=str(file), start=moment.start, end=moment.end, root=str(root), state=state)


def convert(moment: "Moment", result: SavedPart | VideoError | OSError) -> SavedMoment:
    """Return what became of a moment, from what `save_parts` yielded."""
    if isinstance(result, SavedPart):
        return SavedMoment(moment, result.file, result.copied)
    reason = str(result)
    if isinstance(result, OSError):
        reason = f"{result.filename} cannot be written ({result.strerror})"
    return SavedMoment(moment, None, reason=reason, is_failure=True)


def save_reel(
    index: "IndexVideos", moments: Sequence["Moment"], target: Path
) -> Iterator[SavedMoment]:
    """Save moments one after another in one mp4 file; yield for each what became of it.

    The picture has the size of the first; others lie on black where their shape is another. A
    moment that cannot be read is left out. The file is there, whole, once all were yielded; it is
    not if none could be read. A file that is there is replaced.

    Raises:
        OSError: the file cannot be written.
        ValueError: it is a video of the index.
    """
    index.require_no_video(target)
    cuts = [make_cut(index, moment) for moment in moments]
    with (
        Reel(target) as reel,
        contextlib.closing(reel.add([cut for cut in cuts if isinstance(cut, Cut)])) as saved,
    ):
        for moment, cut in zip(moments, cuts, strict=True):
            result = cut if isinstance(cut, VideoError) else next(saved)
            if isinstance(result, OSError):
                raise OSError(result.errno, result.strerror, os.fspath(target))
            is_in = isinstance(result, SavedPart)
            yield convert(moment, result)._replace(file=target if is_in else None)
        reel.finish()
