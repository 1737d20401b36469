"""The part of `VideoIndex` that is about its files: where they lie, saving parts, duplicates."""

import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempme_jax.search.arguments import check_seconds
from tempme_jax.search.paths import resolve_file
from tempme_jax.search.state import IndexState

# A search does without these.
if TYPE_CHECKING:
    from tempme_jax.search.duplicates.groups import Duplicates
    from tempme_jax.search.saving.cutting import SavedPart
    from tempme_jax.search.saving.sources import VideoSource


class IndexVideos:
    """An open index whose videos can be read."""

    uri: str
    _state: IndexState

    def locate(self, file_id: str) -> "VideoSource":
        """Return where a video lies, or one with equal bytes, to be read as it was indexed.

        Raises:
            KeyError: the id is not known.
            VideoError: it is gone, or has changed since.
        """
        from tempme_jax.search.saving.sources import find_source

        files = self._state.get_searcher().files
        row = files[file_id]
        copies = (each for each in files.values() if each.content == row.content and each != row)
        return find_source(self.uri, itertools.chain([row], copies))

    def require_no_video(self, target: Path) -> None:
        """Raise a ValueError if a file that is to be written is a video of the index."""
        name = target.resolve().name
        for row in self._state.get_searcher().files.values():
            if os.path.basename(os.fsdecode(row.path)) == name and target.exists():
                file = resolve_file(self.uri, row.root, row.path)
                if file is not None and file.samefile(target):
                    raise ValueError(f"{target} is a video of the index; choose another name")

    def save_part(
        self, file_id: str, start: float, end: float, target: str | os.PathLike, **options: Any
    ) -> "SavedPart":
        """Save a part of a video, such as a moment, as an mp4 file with its sound.

        Its pictures are copied where they can be cut right, else encoded again.

        Args:
            file_id: id of the video, such as `Moment.file_id`.
            start, end: the part, in seconds.
            target: path of the mp4 file, which is replaced if it is there.
            **options: `in_browser`: whether every browser has to play it; `most_side`: most pixels
                of the longer side of its picture; `total`: most seconds that it may take.

        Raises:
            KeyError: the id is not known.
            VideoError: the video is gone, has changed since, or cannot be read.
            OSError: the file cannot be written.
            TypeError: `start` or `end` is no number.
            ValueError: there is no such part, or `target` is a video of the index.
        """
        from tempme_jax.search.saving.hits import save_moment

        check_seconds("start", start)
        check_seconds("end", end)
        return save_moment(self, file_id, start, end, Path(target), **options)

    def find_duplicates(
        self, threshold: float = 0.98, *, folder: str | os.PathLike | None = None
    ) -> "Duplicates":
        """Find videos and moments that show the same, by their bytes and their vectors.

        Args:
            threshold: least cosine of windows that are alike.
            folder: compare only videos in this folder.
        """
        from tempme_jax.search.duplicates.groups import find_duplicates

        return find_duplicates(self._state.reader, threshold, folder)
