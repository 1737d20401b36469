"""`VideoIndex`: indexing and searching videos from Python."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tempme_jax.model import Model
from tempme_jax.search import opening, paths
from tempme_jax.search.indexing import run, verify
from tempme_jax.search.indexing.progress import IndexProgress
from tempme_jax.search.indexing.report import IndexReport
from tempme_jax.search.indexing.survey import VideoFolder
from tempme_jax.search.indexing.windows import Sampling
from tempme_jax.search.query.frames import draw_window, read_part, read_still
from tempme_jax.search.query.rerank import rerank_moments
from tempme_jax.search.query.searcher import Results, Searcher
from tempme_jax.search.stats import IndexStats, compute_stats
from tempme_jax.search.store.store import Store


class VideoIndex:
    """An index of videos, searched by text, picture or video.

    Times are in seconds, counted as a player does.

    ```python
    index = tempme_jax.VideoIndex("videos")
    print(index.add("videos").summary)
    best = index.search("a red circle moves right then up").moments[0]
    print(best.file, best.start, best.end, best.percentile)
    ```

    Attributes:
        uri: absolute path of the index, or its address in an object store.
    """

    def __init__(
        self,
        path: str | os.PathLike = ".",
        *,
        model: Model | str | os.PathLike | None = None,
        method: str | None = None,
        num_frames: int | None = None,
        fps: float | None = None,
        overlap: float | None = None,
        anew: bool = False,
    ):
        """Open an index. If there is none, `add` will create it.

        Args:
            path: path of the index; or of a folder of videos, which keeps its index in `.tempme`;
                or an address such as s3://bucket/index.
            model: the model that embeds, or the first argument of `load`. Default: the model that
                the index was built with; for a new index, OpenAI's ViT-B/32.
            method, num_frames: as for `load`; only if `model` is not a Model.
            fps: frames per second of video; for a new index, 1 by default.
            overlap: share of a window that the next one repeats; for a new index, 0.5 by default.
            anew: if True, `add` replaces an existing index, once it has found videos and opened
                the model.

        Raises:
            VideoIndexError: the index cannot be read, or has another method or other windows.
        """
        self.uri = paths.find_index(path, is_index=Store.exists)
        self._request = opening.IndexRequest(
            model=model, method=method, num_frames=num_frames,
            fps=fps, overlap=overlap, anew=anew,
        )  # fmt: skip
        self._store: Store | None = None if anew else opening.open_if_there(self.uri)
        self._searcher: tuple[object, Searcher] | None = None
        if self._store:
            self._request.check(self.header, self.uri)

    @property
    def exists(self) -> bool:
        """True once the index has been created."""
        return self._store is not None

    @property
    def store(self) -> Store:
        """The tables of the index; a VideoIndexError if there is no index."""
        if self._store is None:
            raise opening.make_missing_error(self.uri)
        return self._store

    @property
    def header(self) -> dict:
        """The description stored in the index: its model, preprocessing and sampling."""
        return self.store.header

    @functools.cached_property
    def model(self) -> Model:
        """The model that embeds; a VideoIndexError if it is not the one of the index."""
        if self.exists:
            return self._request.load_model(self.header, self.uri)
        return self._request.load_new_model()

    @property
    def sampling(self) -> Sampling:
        """The way in which videos are cut into windows."""
        return Sampling(**self.header["sampling"])

    def add(
        self,
        folder: str | os.PathLike,
        *,
        workers: int | None = None,
        retry_failed: bool = False,
        shard: tuple[int, int] | None = None,
        budget: float | None = None,
        ray: str | None = None,
        exclude: Sequence[str] = (),
        quiet: bool = False,
    ) -> IndexReport:
        """Bring the index up to date with a folder of videos; create it if there is none.

        Only new and changed files are decoded. However a run ends, the next one resumes.

        Args:
            folder: a folder of videos; folders in it are searched too.
            workers: number of processes that decode, by default one per core but one; with `ray`,
                number of actors that decode and embed.
            retry_failed: if True, try files again that failed before.
            shard: (i, n) takes only the i-th of n parts of the videos, counted from 0.
            budget: stop after this many seconds.
            ray: address of a Ray cluster that embeds, or "local".
            exclude: patterns of files and folders to leave out, as in .gitignore. Those that are in
                the index are taken out of it.
            quiet: if True, print no progress to standard error.

        Returns:
            The counts of this run, and all files that could not be indexed.

        Raises:
            VideoIndexError: the folder is missing or has no video, the model is not the one of
                the index, or the index cannot be written.
        """
        options = run.IndexOptions(
            workers=workers, retry_failed=retry_failed, shard=shard, budget=budget, ray=ray,
            exclude=tuple(exclude),
        )  # fmt: skip
        self._store = opening.prepare_store(
            self._store, self.uri, self._request, lambda: self.model, Path(folder), options.exclude
        )
        embed = run.make_embed(lambda: self.model, self.sampling, options)
        place = VideoFolder.locate(self.uri, Path(folder))
        report = run.update_index(self._store, place, embed, options, quiet=quiet)
        self.refresh()
        return report

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
        vector = self.model.embed_text(text)[0]
        filters: dict = {"folder": folder, "min_seconds": min_seconds, "max_seconds": max_seconds}
        find = functools.partial(searcher.search, vector, kind="text", query=text, **filters)
        if not rerank:
            return find(k=k)
        return rerank_moments(find(k=max(k, rerank)), k, rerank, self.model, self.uri, searcher)

    def search_image(self, image: str | os.PathLike, k: int = 10, **filters) -> Results:
        """Find the moments that look like a picture.

        Args:
            image: the file (JPEG, PNG, WebP, GIF, BMP or TIFF).
            k, **filters: as for `search`.

        Raises:
            VideoError: the picture cannot be read.
        """
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
        return self._get_searcher().search_similar(window, k=k, **filters)

    def thumbnail(self, window: str) -> bytes | None:
        """Return the thumbnail of a window as a JPEG file; None if the id is not known."""
        return self.store.read_thumbnail(window)

    def file(self, file_id: str) -> Path | None:
        """Return the path of a video by its id; None if it is gone or leads out of its folder."""
        row = self._get_searcher().files.get(file_id)
        return None if row is None else paths.resolve_file(self.uri, row.root, row.path)

    def merged(self, window: str) -> bytes | None:
        """Draw which patches the model merged in a window, as a PNG file; None if it is gone.

        Raises:
            VideoError: the video cannot be read any more.
        """
        return draw_window(self.model, self.uri, self._get_searcher(), window)

    def folders(self) -> list[str]:
        """List the folders that hold videos, and those above them up to the indexed ones."""
        rows = self._get_searcher().files.values()
        return paths.list_folders(self.uri, [(row.root, row.path) for row in rows])

    def stats(self) -> IndexStats:
        """Count the videos, windows and hours of the index."""
        return compute_stats(self.store)

    def verify(
        self, *, repair: bool = True, full_hash: bool = False, quiet: bool = False
    ) -> verify.Verification:
        """Check every row against its file, and every vector against its checksum.

        Args:
            repair: if True, remove damaged rows, so that `add` embeds their files again.
            full_hash: if True, compare all bytes of all files, not only samples of files whose size
                and time are those of the index. Only this finds a change that keeps both.
            quiet: if True, show no progress bar.
        """
        if repair and opening.recover_index(self.uri):
            self._store = Store.open(self.uri)
        found = verify.verify_index(
            self.store, repair=repair, full_hash=full_hash, progress=IndexProgress(quiet=quiet)
        )
        self.refresh()
        return found

    def forget(self, folder: str | os.PathLike) -> int:
        """Remove a folder from the index, and return how many files that were, also failed ones.

        No video is deleted.

        Raises:
            VideoIndexError: the folder is not in the index.
        """
        count = run.remove_folder(self.store, Path(folder))
        self.refresh()
        return count

    def refresh(self) -> None:
        """See what other processes have stored since."""
        self.store.refresh()
        if self._searcher and self._searcher[0] != self.store.version:
            self._searcher = opening.make_searcher(self.store)

    def _get_searcher(self) -> Searcher:
        if self._searcher is None:
            self._searcher = opening.make_searcher(self.store)
        return self._searcher[1]

    def _search_frames(self, frames: np.ndarray, query: str, k: int, filters: dict) -> Results:
        vector = self.model.embed_video(frames)[0]
        return self._get_searcher().search(vector, kind="video", query=query, k=k, **filters)
