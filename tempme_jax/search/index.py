"""`VideoIndex`: indexing and searching videos from Python."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tempme_jax.extras import require_packages
from tempme_jax.search import opening, paths
from tempme_jax.search.arguments import check_exclude, check_model, check_path, parse_speed
from tempme_jax.search.queries import IndexQueries
from tempme_jax.search.state import IndexState
from tempme_jax.words import pluralize

# A search does without these, so they are imported where they are used.
if TYPE_CHECKING:
    from tempme_jax.model import Model
    from tempme_jax.search.indexing.report import IndexReport
    from tempme_jax.search.indexing.verify import Verification
    from tempme_jax.video.windows import Sampling


class VideoIndex(IndexQueries):
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
        model: "Model | str | os.PathLike | None" = None,
        method: str | None = None,
        num_frames: int | None = None,
        fps: float | None = None,
        overlap: float | None = None,
        anew: bool = False,
        runtime: str | None = None,
        int8: bool = False,
        per_frame: bool = False,
        speed: float | str | None = None,
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
            runtime: what runs the model, "jax" or "onnx" (ONNX Runtime, on the CPU; the first use
                exports the model to the user's cache). Default: what the index was built with.
            int8: whether ONNX Runtime computes with 8-bit whole numbers, which is faster.
            per_frame: whether a new index keeps vectors of the frames of each window, so that
                searches by a text find the second that fits best, and short events. True for an
                index without them is an error.
            speed: how many times as fast as it was trained the model embeds, such as 2 or "2x", by
                merging more tokens, see `Model.dial`. Default: that of the index; for a new one, 1.

        Raises:
            VideoIndexError: the index cannot be read, has another method or other windows, or no
                vectors of frames though they are asked for.
            ValueError: there is no such runtime, or it has no int8; or a number is out of range.
            TypeError: an argument is of another type.
            ModuleNotFoundError: the extra [search] is not installed.
        """
        check_path("path", path)
        if model is not None:
            check_model(model)
        require_packages(["lancedb"])
        self.uri = paths.find_index(path, is_index=opening.is_index)
        self._request = opening.IndexRequest(
            model=model, method=method, num_frames=num_frames,
            fps=fps, overlap=overlap, anew=anew, runtime=runtime, int8=int8, per_frame=per_frame,
            speed=None if speed is None else parse_speed(speed),
        )  # fmt: skip
        self._state = IndexState(self.uri, anew=anew)
        if self.exists:
            self._request.check(self.header, self.uri)

    def __repr__(self) -> str:
        """Say where the index lies, and what it holds."""
        if not self.exists:
            return f"VideoIndex({self.uri!r}, no index yet)"
        header = self.header
        model = header["source"].get("source") or "a model that was passed"
        count = pluralize(self._state.reader.count_windows(), "window")
        return f"VideoIndex({self.uri!r}, {count}, method {header['model']['method']!r} of {model})"

    @property
    def sampling(self) -> "Sampling":
        """The way in which videos are cut into windows."""
        from tempme_jax.video.windows import Sampling

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
    ) -> "IndexReport":
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
            ValueError, TypeError: an option has a wrong value or type.
        """
        from tempme_jax.search import creating
        from tempme_jax.search.indexing import run
        from tempme_jax.search.indexing.progress import IndexProgress
        from tempme_jax.search.indexing.survey import VideoFolder

        check_path("folder", folder)
        options = run.IndexOptions(
            workers=workers, retry_failed=retry_failed, shard=shard, budget=budget, ray=ray,
            exclude=check_exclude(exclude),
        )  # fmt: skip
        progress = IndexProgress(quiet=quiet)
        if existed := self.exists:
            self.refresh()  # another process may have rebuilt it with another model

        def open_model() -> "Model":
            if "model" in vars(self):  # it is open
                return self.model
            with progress.show("Opening the model"):
                return self.model

        self._state.store = creating.prepare_store(
            self.store if self.exists else None, self.uri, self._request, open_model,
            Path(folder), options.exclude, progress=progress,
        )  # fmt: skip
        embed = run.make_embed(
            open_model, self.sampling, options, progress, per_frame="per_frame" in self.header
        )
        place = VideoFolder.locate(self.uri, Path(folder))
        report = run.update_index(self._state.store, place, embed, options, progress)
        self._state.finish_writing()
        if not existed:  # the model that is open is its model
            self._note_header()
        return report

    def verify(
        self, *, repair: bool = True, full_hash: bool = False, quiet: bool = False
    ) -> "Verification":
        """Check every row against its file, and every vector against its checksum.

        Args:
            repair: if True, remove damaged rows, so that `add` embeds their files again.
            full_hash: if True, compare all bytes of all files, not only samples of files whose size
                and time are those of the index. Only this finds a change that keeps both.
            quiet: if True, show no progress bar.
        """
        from tempme_jax.search.indexing.progress import IndexProgress
        from tempme_jax.search.indexing.verify import verify_index

        if repair and opening.recover_index(self.uri):
            self._state.store = opening.open_store(self.uri)
        found = verify_index(
            self.store, repair=repair, full_hash=full_hash, progress=IndexProgress(quiet=quiet)
        )
        self._state.finish_writing(anew=repair)
        return found

    def forget(self, folder: str | os.PathLike) -> int:
        """Remove a folder from the index, and return how many files that were, also failed ones.

        No video is deleted.

        Raises:
            VideoIndexError: the folder is not in the index.
        """
        from tempme_jax.search.indexing.forget import remove_folder

        count = remove_folder(self.store, Path(folder))
        self._state.finish_writing()
        return count
