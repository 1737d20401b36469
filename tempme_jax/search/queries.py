"""The half of `VideoIndex` that reads: queries, and what the page shows."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from tempme_jax.search import opening, paths
from tempme_jax.search.arguments import check_count, check_path, check_text, read_queries
from tempme_jax.search.query.filters import check_options
from tempme_jax.search.query.results import Results
from tempme_jax.search.query.said import add_said
from tempme_jax.search.state import IndexState
from tempme_jax.search.videos import IndexVideos

# A search by a text does without these, and to import them takes longer than everything else in it.
# So they are imported where they are used.
if TYPE_CHECKING:
    from tempme_jax.model import Model
    from tempme_jax.search.query.mixing import MixedQuery
    from tempme_jax.search.query.same import OwnPart
    from tempme_jax.search.query.searcher import Searcher
    from tempme_jax.search.stats import IndexStats
    from tempme_jax.search.store.rows import FileRow
    from tempme_jax.search.store.store import Store
    from tempme_jax.text_encoder import TextEncoder


class IndexQueries(IndexVideos):
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

    @overload
    def search(self, text: str, k: int = 10, *, rerank: int = 0, **filters: Any) -> Results: ...

    @overload
    def search(
        self, text: Sequence[str], k: int = 10, *, rerank: int = 0, **filters: Any
    ) -> list[Results]: ...

    def search(
        self, text: str | Sequence[str], k: int = 10, *, rerank: int = 0, **filters: Any
    ) -> Results | list[Results]:
        """Find the moments that a sentence describes, best first.

        Those whose subtitles hold its words stand in `Results.said`.

        Args:
            text: the sentence; or a list of some, each of which gets Results of its own.
            k: return at most this many moments, at least 1.
            rerank: order so many of the best moments anew by the model's matching head, which
                looks at the text and the video together. Their videos are decoded for it.
            **filters: search only videos that are such: `folder` (in it), `name` (a part of their
                path, or a pattern with * or ?), `min_seconds` and `max_seconds` (their length),
                `after` and `before` (the day of their last change, such as "2026-01-31"). And
                `per_video`: return at most so many moments of one video, unless only one is
                searched, as by its path as `folder`; `lines=True`: fill `Results.lines`, too;
                `tau`: the temperature of late interaction, by which an index that keeps vectors of
                frames compares texts: near 0 the best frame of a window counts, with infinity the
                mean. By default it is what the model learned, else a part of the mean is added.

        Raises:
            ValueError: the text is empty, `k` is below 1, or `tau` is not above 0.
            TypeError: an argument is of another type, or there is no such filter.
            VideoIndexError: there is no index, its model cannot be opened, or has no matching head;
                or `tau` is given, and the index keeps no vectors of frames.
        """
        texts = read_queries(text)
        check_options("search", k, filters)
        check_count("rerank", rerank, least=0)
        searcher = self._get_searcher()
        vectors = self._text_encoder.embed_text(texts) if texts else ()
        pairs = zip(texts, vectors, strict=True)
        found = [self._search_text(searcher, *pair, k, rerank, **filters) for pair in pairs]
        return found[0] if isinstance(text, str) else found

    def _search_text(
        self, searcher: "Searcher", text: str, vector: np.ndarray, k: int, rerank: int, **filters
    ) -> Results:
        found = searcher.search(vector, kind="text", query=text, k=max(k, rerank), **filters)
        if rerank:
            from tempme_jax.search.query.rerank import rerank_moments

            found = rerank_moments(found, k, rerank, self.whole_model, self.uri, searcher)
        return add_said(found, self.uri, searcher, text, k, **filters)

    def search_image(self, image: Any, k: int = 10, **filters) -> Results:
        """Find the moments that look like a picture.

        Args:
            image: a file (JPEG, PNG, WebP, GIF, BMP or TIFF), or pixels; see `Model.embed_image`.
            k, **filters: as for `search`.

        Raises:
            VideoError, ValueError, TypeError: it is no picture that can be read.
        """
        from tempme_jax.search.query.frames import read_still
        from tempme_jax.search.query.same import find_own_part

        check_options("search_image", k, filters)
        searcher = self._get_searcher()
        if not isinstance(image, str | os.PathLike):
            vector = self.model.embed_image([image])[0]
            return searcher.search(vector, query="a picture", kind="picture", k=k, **filters)
        video = read_still(self.model, image)
        filters = {"own": find_own_part(searcher, image), "kind": "picture", **filters}
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
        from tempme_jax.search.query.same import find_own_part

        check_path("video", video)
        check_options("search_clip", k, filters)
        searcher = self._get_searcher()
        part = read_part(self.model, video, start, end)
        filters = {"own": find_own_part(searcher, video, start, end), "kind": "clip", **filters}
        return self._search_frames(part, f"a part of {Path(video).name}", k, filters)

    def similar(self, window: str, k: int = 10, **filters) -> Results:
        """Find the moments of other videos that look like a window.

        Args:
            window: id of the window, such as `Moment.window`.
            k, **filters: as for `search`.

        Raises:
            KeyError: the id is not known.
        """
        check_text("window", window)
        check_options("similar", k, filters)
        return self._state.get_searcher().search_similar(window, k=k, **filters)

    def search_mixed(self, query: "MixedQuery", k: int = 10, **options: Any) -> Results:
        """Find the moments that match a text and a picture together, or without some words.

        Args:
            query: the parts of the query, of `tempme_jax.search.query.mixing`.
            k, **options: as for `search`, but `rerank`.

        Raises:
            VideoIndexError: as for `search`.
        """
        from tempme_jax.search.query.mixing import search_mixed

        searcher = self._get_searcher()
        return search_mixed(
            searcher, query, lambda t: self._text_encoder.embed_text(t), k=k, **options
        )

    def find_own_part(self, file: str | os.PathLike) -> "OwnPart | None":
        """Return which video of the index has the bytes of a file; None if none has."""
        from tempme_jax.search.query.same import find_own_part

        return find_own_part(self._get_searcher(), file)

    def find_vector(self, window: str) -> np.ndarray | None:
        """Return the unit vector of a window, float32 [d]; None if the id is not known."""
        return self._get_searcher().find_vector(window)

    def find_row(self, file_id: str) -> "FileRow | None":
        """Return what is stored about a video; None if the id is not known."""
        return self._state.get_searcher().files.get(file_id)

    def failures(self) -> list[tuple[bytes, str, str]]:
        """List the path, stage and reason of each file that could not be indexed."""
        from tempme_jax.search.stats import list_failures

        return list_failures(self._state.reader)

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

    def stats(self, within: Path | None = None) -> "IndexStats":
        """Count the videos, windows and hours of the index, or of a folder in it."""
        from tempme_jax.search.stats import compute_stats

        return compute_stats(self._state.reader, within)

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
        return self._state.get_searcher().search(vector, query=query, k=k, **filters)
