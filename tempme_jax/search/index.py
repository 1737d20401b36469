"""An index of videos: made, searched and checked."""

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tempme_jax.model import Model
from tempme_jax.search import paths as places
from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.indexing import run, verify
from tempme_jax.search.indexing.embedding import Finished, embed_here
from tempme_jax.search.indexing.plan import Place, Work, refuse_nothing
from tempme_jax.search.indexing.progress import Progress
from tempme_jax.search.indexing.reading import Failed
from tempme_jax.search.indexing.report import Report
from tempme_jax.search.indexing.walk import walk
from tempme_jax.search.indexing.windows import Sampling
from tempme_jax.search.opening import Wanted, make
from tempme_jax.search.query import frames as clips
from tempme_jax.search.query.searcher import Results, Searcher
from tempme_jax.search.stats import Stats, stats_of
from tempme_jax.search.store.locking import locked
from tempme_jax.search.store.store import Store


class VideoIndex:
    """Videos of some folders, to be searched by text, picture or clip.

    index = tempme_jax.VideoIndex("videos")
    index.add("videos")
    index.search("a red circle moves right then up").moments[0]
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
        """Opens an index, or says where `add` is to make one.

        Args:
            path: of the index, or of the folder of videos that it lies in (in `.tempme`); or an
                address such as s3://bucket/index.
            model: that embeds, or what `load` takes for one. Default: the one that the index was
                made with; of a new index OpenAI's ViT-B/32.
            method, num_frames: as for `load`, if `model` is no Model.
            fps: frames a second, of a new index; 1 by default.
            overlap: of windows that follow each other, of a new index: 0 up to less than 1; 0.5 by
                default.
            anew: whether `add` replaces an index that is there, once it has found videos and
                opened the model.

        Raises:
            VideoIndexError: if the index is damaged, was made by a newer version, or has other
                windows.
        """
        self.uri = places.find(path, is_index=Store.exists)
        self._wanted = Wanted(
            model=model, method=method, num_frames=num_frames, fps=fps, overlap=overlap
        )
        self._anew = anew
        there = not anew and Store.exists(self.uri)
        self._store: Store | None = Store.open(self.uri) if there else None
        self._searcher: tuple[object, Searcher] | None = None
        if self._store:
            self._wanted.check(self.header, self.uri)

    @property
    def exists(self) -> bool:
        """Whether it has been made."""
        return self._store is not None

    @property
    def store(self) -> Store:
        """Its tables.

        Raises:
            VideoIndexError: if there is no index.
        """
        if self._store is None:
            raise VideoIndexError(
                f"there is no index in {self.uri}; `tempme index FOLDER` makes one of the videos "
                "in a folder, and --index says where it is if it is not there"
            )
        return self._store

    @property
    def header(self) -> dict:
        """What it says of itself: its model, preprocessing and sampling."""
        return self.store.header

    @functools.cached_property
    def model(self) -> Model:
        """The model that embeds; opened when it is first used.

        Raises:
            VideoIndexError: if it is another one than that of the index, or cannot be opened.
        """
        if self.exists:
            return self._wanted.model_of(self.header, self.uri)
        return self._wanted.new_model()

    @property
    def sampling(self) -> Sampling:
        """How videos are cut into windows."""
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
        quiet: bool = False,
    ) -> Report:
        """Brings the index up to date with a folder of videos; makes it, if there is none.

        Only what is new or has changed is decoded. What was done before a run was ended, in
        whatever way, is not done again.

        Args:
            folder: with videos, and folders of videos.
            workers: processes that decode; of Ray: actors that decode and embed.
            retry_failed: whether files that failed before are tried again.
            shard: (i, n) does every n-th video, beginning with the i-th.
            budget: seconds after which to stop; the next run goes on.
            ray: address of a Ray cluster that embeds, or "local".
            quiet: no lines and no bar on standard error.

        Returns:
            What was done, with the files that could not be indexed.

        Raises:
            VideoIndexError: no such folder, no video in it, or the index cannot be written.
        """
        folder = Path(folder)
        options = run.Options(
            workers=workers, retry_failed=retry_failed, shard=shard, budget=budget
        )
        if self.exists:
            places.refuse_nested(self.uri, folder, {row.root for row in self.store.files()})
            if self._wanted.may_be_another(self.header):
                _ = self.model  # is refused here, also if there is nothing to embed
        else:
            if not any(walk(folder)):  # before a model is opened, and weights are fetched
                refuse_nothing(Place(folder, ""), [])
            self._store = make(self.uri, self._wanted, self.model, anew=self._anew)
        place = Place(folder.expanduser().absolute(), places.stored_root(self.uri, folder))
        report = run.run(
            self.store, place, self._embed(options, ray), options, progress=Progress(quiet=quiet)
        )
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
    ) -> Results:
        """The moments that a sentence describes, best first.

        Args:
            text: the sentence.
            k: how many moments at most.
            folder: only videos in it.
            min_seconds, max_seconds: only videos of such a length.

        Raises:
            ValueError: if the text is empty, or k below 1.
            VideoIndexError: if there is no index, or its model cannot be opened.
        """
        if not text.strip():
            raise ValueError("the text is empty; describe what is to be seen, in a sentence")
        searcher = self._current()
        vector = self.model.embed_text(text)[0]
        return searcher.search(
            vector, kind="text", query=text, k=k, folder=folder,
            min_seconds=min_seconds, max_seconds=max_seconds,
        )  # fmt: skip

    def search_image(self, image: str | os.PathLike, k: int = 10, **filters) -> Results:
        """The moments that look like a picture (JPEG, PNG, ...); filters as of `search`.

        Raises:
            VideoError: if the picture cannot be read.
        """
        file = clips.checked(image)
        frames, _ = clips.read(clips.Picture(file=file, size=self.model.arch.image_size))
        still = np.repeat(frames, self.model.num_frames, axis=0)
        return self._search_frames(still, f"the picture {Path(file).name}", k, filters)

    def search_clip(
        self,
        video: str | os.PathLike,
        start: float = 0.0,
        end: float | None = None,
        k: int = 10,
        **filters,
    ) -> Results:
        """The moments that look like a part of a video, from `start` to `end` in seconds.

        Filters as of `search`.

        Raises:
            VideoError: if the video cannot be read, or ends before `start`.
            ValueError: if `end` is not after `start`.
        """
        file = clips.checked(video)
        frames, _ = clips.read(self._clip(file, start, end))
        return self._search_frames(frames, f"a part of {Path(file).name}", k, filters)

    def similar(self, window: str, k: int = 10, **filters) -> Results:
        """The moments of other videos that are like a window; filters as of `search`.

        Raises:
            KeyError: if there is no such window.
        """
        return self._current().similar(window, k=k, **filters)

    def thumbnail(self, window: str) -> bytes | None:
        """A JPEG file, or None if there is no such window."""
        return self.store.thumbnail(window)

    def file(self, file_id: str) -> Path | None:
        """The video of an id, if it is there, a regular file, and truly in its folder."""
        row = self._current().files.get(file_id)
        return None if row is None else places.real_path(self.uri, row.root, row.path)

    def merged(self, window: str) -> bytes | None:
        """A PNG file of what the model merged in a window; None if it, or its video, is gone.

        Raises:
            VideoError: if the video cannot be read any more.
        """
        found = self._current().window(window)
        paths = [self.file(file_id) for file_id in found.file_ids] if found else []
        path = next(filter(None, paths), None)
        if path is None:
            return None
        return clips.merged(self.model, self._clip(str(path), found.start, found.end))

    def folders(self) -> list[str]:
        """The folders that hold videos, and those above them up to the indexed ones."""
        rows = self._current().files.values()
        return places.folders_of(self.uri, [(row.root, row.path) for row in rows])

    def stats(self) -> Stats:
        """What it holds."""
        return stats_of(self.store)

    def verify(self, *, repair: bool = True, quiet: bool = False) -> verify.Verification:
        """Checks every row against its file and every vector against its checksum.

        Args:
            repair: take out of the index what is wrong, so that `add` embeds it anew.
            quiet: no bar on standard error.
        """
        found = verify.verify(self.store, repair=repair, progress=Progress(quiet=quiet))
        self.refresh()
        return found

    def forget(self, folder: str | os.PathLike) -> int:
        """Takes a folder out of the index, as one that is gone for good.

        Args:
            folder: as it was given to `add`.

        Returns:
            How many files were taken out.

        Raises:
            VideoIndexError: if it is not in the index.
        """
        root = places.stored_root(self.uri, Path(folder))
        with locked(self.uri):
            rows = self.store.files()
            mine = [row for row in rows if row.root == root]
            if not mine:
                among = ", ".join(self.stats().folders)
                raise VideoIndexError(
                    f"{folder} is not in the index {self.uri}, which is of {among}"
                )
            kept = {row.content for row in rows if row.root != root}
            self.store.remove_files([row.id for row in mine])
            self.store.remove_contents({row.content for row in mine if row.content} - kept)
        self.refresh()
        return len(mine)

    def refresh(self) -> None:
        """Sees what others have stored since."""
        self.store.refresh()
        if self._searcher and self._searcher[0] != self.store.version:
            self._searcher = (self.store.version, self._read())

    def _current(self) -> Searcher:
        if self._searcher is None:
            self._searcher = (self.store.version, self._read())
        return self._searcher[1]

    def _read(self) -> Searcher:
        store = self.store
        rows = [row for row in store.files() if not row.reason]
        paths = {
            row.id: places.root_path(self.uri, row.root) / os.fsdecode(row.path) for row in rows
        }
        return Searcher(store, rows, paths)

    def _search_frames(self, frames: np.ndarray, query: str, k: int, filters: dict) -> Results:
        vector = self.model.embed_video(frames)[0]
        return self._current().search(vector, kind="video", query=query, k=k, **filters)

    def _clip(self, file: str, start: float, end: float | None) -> clips.Clip:
        size = self.model.arch.image_size
        return clips.Clip(file=file, start=start, end=end, count=self.model.num_frames, size=size)

    def _embed(self, options: run.Options, ray: str | None) -> run.Embed:
        def embed(work: Work) -> Iterator[Finished | Failed]:  # opens the model only if it must
            if ray is None:
                return embed_here(work, self.model, self.sampling, workers=options.processes)
            from tempme_jax.search.indexing import distributed

            given = {"address": ray, "actors": options.workers}
            return distributed.embed(work, self.model, self.sampling, **given)

        return embed
