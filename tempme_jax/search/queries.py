"""The half of `VideoIndex` that reads: queries, and what the page shows."""

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tempme_jax.search import opening, paths
from tempme_jax.search.query.results import Results
from tempme_jax.search.state import IndexState

# A search by a text does without these, and to import them takes longer than everything else in it.
# So they are imported where they are used.
if TYPE_CHECKING:
    from tempme_jax.model import Model
    from tempme_jax.search.query.searcher import Searcher
    from tempme_jax.search.stats import IndexStats
    from tempme_jax.search.store.store import Store
    from tempme_jax.text_encoder import TextEncoder


class IndexQueries:
    """An open index that can be searched.

    Attributes:
        uri: absolute path of the index, or its address in an object store.
    """

    uri: str
    _request: opening.IndexRequest
    _state: IndexState
    # The header that the models were opened for.
    _opened_for: dict | None = None

    @property
    def exists(self) -> bool:
        """True once the index has been created."""
        return self._state.exists

    @property
    def store(self) -> "Store":
        """The tables of the index; a VideoIndexError if there is no index."""
        return self._state.store

    @property
    def version(self) -> object:
        """A value that changes when `refresh` has seen that another process wrote to the index."""
        return self._state.reader.version

    @property
    def header(self) -> dict:
        """The description stored in the index: its model, preprocessing and sampling."""
        return self._state.header

    @functools.cached_property
    def model(self) -> "Model":
        """The model that embeds; a VideoIndexError if it is not the one of the index."""
        if self.exists:
            return self._request.load_model(self._note_header(), self.uri)
        return self._request.load_new_model()

    @functools.cached_property
    def whole_model(self) -> "Model":
        """The model in JAX, also if another runtime embeds: it draws pictures, and may judge."""
        if not self.model.is_exported:
            return self.model
        return self._request.load_whole_model(self._note_header(), self.uri)

    @functools.cached_property
    def _text_encoder(self) -> "Model | TextEncoder":
        """What embeds texts: the model if it is open, else its text tower from the user's cache."""
        if "model" in vars(self):
            return self.model
        header = self._note_header()
        encoder = self._request.open_text_encoder(header)
        encoder = encoder or self._request.make_text_encoder(self.model, header)
        return encoder or self.model

    def search(
        self,
        text: str,
        k: int = 10,
        *,
        folder: str | os.PathLike | None = None,
        min_seconds: float | None = None,
        max_seconds: float | None = None,
        rerank: int = 0,
    ) -> Results:
        """Find the moments that a sentence describes, best first.

        Args:
            text: the sentence.
            k: return at most this many moments, at least 1.
            folder: search only videos in this folder.
            min_seconds, max_seconds: search only videos of at least and at most this length.
            rerank: order so many of the best moments anew by the model's matching head, which
                looks at the text and the video together. Their videos are decoded for it.

        Raises:
            ValueError: the text is empty, or `k` is below 1.
            VideoIndexError: there is no index, its model cannot be opened, or has no matching head.
        """
        if not text.strip():
            raise ValueError("the text is empty; describe what is to be seen, in a sentence")
        searcher = self._get_searcher()
        vector = self._text_encoder.embed_text(text)[0]
        filters: dict = {"folder": folder, "min_seconds": min_seconds, "max_seconds": max_seconds}
        find = functools.partial(searcher.search, vector, kind="text", query=text, **filters)
        if not rerank:
            return find(k=k)
        from tempme_jax.search.query.rerank import rerank_moments

        return rerank_moments(
            find(k=max(k, rerank)), k, rerank, self.whole_model, self.uri, searcher
        )

    def search_image(self, image: str | os.PathLike, k: int = 10, **filters) -> Results:
        """Find the moments that look like a picture.

        Args:
            image: the file (JPEG, PNG, WebP, GIF, BMP or TIFF).
            k, **filters: as for `search`.

        Raises:
            VideoError: the picture cannot be read.
        """
        from tempme_jax.search.query.frames import read_still

        self._get_searcher()
        video = read_still(self.model, image)
        return self._search_frames(video, f"the picture {Path(image).name}", k, filters)

    def search_clip(
        self,
        video: str | os.PathLike,
        start: float = 0.0,
        end: float | None = None,
        k: int = 10,
        **filters,
    ) -> Results:
        """Find the moments that look like a part of a video.

        Args:
            video: the file, which need not be in the index.
            start: where the part begins, in seconds.
            end: where it ends, in seconds; None for the end of the video.
            k, **filters: as for `search`.

        Raises:
            VideoError: the video cannot be read, or ends before `start`.
            ValueError: `end` is not after `start`.
        """
        from tempme_jax.search.query.frames import read_part

        self._get_searcher()
        part = read_part(self.model, video, start, end)
        return self._search_frames(part, f"a part of {Path(video).name}", k, filters)

    def similar(self, window: str, k: int = 10, **filters) -> Results:
        """Find the moments of other videos that look like a window.

        Args:
            window: id of the window, such as `Moment.window`.
            k, **filters: as for `search`.

        Raises:
            KeyError: the id is not known.
        """
        return self._state.get_searcher().search_similar(window, k=k, **filters)

    def thumbnail(self, window: str) -> bytes | None:
        """Return the thumbnail of a window as a JPEG file; None if the id is not known."""
        return self.store.read_thumbnail(window)

    def file(self, file_id: str) -> Path | None:
        """Return the path of a video by its id; None if it is gone or leads out of its folder."""
        row = self._state.get_searcher().files.get(file_id)
        return None if row is None else paths.resolve_file(self.uri, row.root, row.path)

    def merged(self, window: str) -> bytes | None:
        """Draw which patches the model merged in a window, as a PNG file; None if it is gone.

        Raises:
            VideoError: the video cannot be read any more.
        """
        from tempme_jax.search.query.frames import draw_window

        return draw_window(self.whole_model, self.uri, self._state.get_searcher(), window)

    def folders(self) -> list[str]:
        """List the folders that hold videos, and those above them up to the indexed ones."""
        rows = self._state.get_searcher().files.values()
        return paths.list_folders(self.uri, [(row.root, row.path) for row in rows])

    def stats(self) -> "IndexStats":
        """Count the videos, windows and hours of the index."""
        from tempme_jax.search.stats import compute_stats

        return compute_stats(self._state.reader)

    def refresh(self) -> None:
        """See what other processes have stored since, even if they rebuilt the index."""
        self._state.refresh()
        self._close_other_model()

    def _get_searcher(self) -> "Searcher":
        """Return the searcher, once no model of another index that was there before is open."""
        searcher = self._state.get_searcher()
        self._close_other_model()
        return searcher

    def _note_header(self) -> dict:
        self._opened_for = self.header
        return self._opened_for

    def _close_other_model(self) -> None:
        """Close the models if the index was rebuilt: it may have another one now."""
        if self.exists and self._opened_for != self.header:
            for name in ("model", "whole_model", "_text_encoder"):
                vars(self).pop(name, None)

    def _search_frames(self, frames: np.ndarray, query: str, k: int, filters: dict) -> Results:
        vector = self.model.embed_video(frames)[0]
        return self._state.get_searcher().search(vector, kind="video", query=query, k=k, **filters)
