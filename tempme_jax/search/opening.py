"""Opening and creating indexes: the model and windows asked for are checked against the index."""

import contextlib
import dataclasses
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tempme_jax.loading import load
from tempme_jax.model import Model
from tempme_jax.search.errors import NewerIndexError, VideoIndexError
from tempme_jax.search.header import (
    check_header,
    describe_source,
    make_header,
    open_model,
    refuse_other_method,
    refuse_other_model,
    refuse_other_sampling,
)
from tempme_jax.search.indexing.survey import refuse_empty_folder
from tempme_jax.search.indexing.walk import find_videos
from tempme_jax.search.indexing.windows import Sampling
from tempme_jax.search.paths import decode_root, refuse_nested
from tempme_jax.search.query import unrelated
from tempme_jax.search.query.searcher import Searcher
from tempme_jax.search.store.locking import lock_creation, lock_index
from tempme_jax.search.store.place import check_place
from tempme_jax.search.store.recovery import recover
from tempme_jax.search.store.store import Store
from tempme_jax.text.base import TextCutWarning

# Attempts to read an index that other processes write to.
READ_AGAIN = 5
DEFAULT_MODEL = "openai/clip-vit-base-patch32"

Header = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class IndexRequest:
    """The arguments of `VideoIndex`: the model and windows that a user asks for; None for any."""

    model: Model | str | os.PathLike | None
    method: str | None
    num_frames: int | None
    fps: float | None
    overlap: float | None
    anew: bool = False

    @property
    def source(self) -> dict[str, Any]:
        """The arguments of `load` that open the model; empty if a Model was passed."""
        if isinstance(self.model, Model):
            return {}
        given = {"method": self.method, "num_frames": self.num_frames}
        return describe_source(self.model or DEFAULT_MODEL, **given)

    def load_new_model(self) -> Model:
        """Return the model for a new index."""
        return self.model if isinstance(self.model, Model) else load(**self.source)

    def load_model(self, header: Header, uri: str) -> Model:
        """Return the model for an existing index.

        Raises:
            VideoIndexError: it is not the model of the index, or cannot be opened.
        """
        if self.model is None:
            return open_model(header, uri)
        if isinstance(self.model, Model):
            model = self.model
        else:  # weights that have moved are opened with the options that the index was built with
            model = load(**header["source"] | self.source)
        refuse_other_model(header, model, uri)
        return model

    def may_differ(self, header: Header) -> bool:
        """Return whether the model has to be opened to tell if it is that of the index."""
        if isinstance(self.model, Model):
            return True
        return self.model is not None and self.source != header["source"]

    def check(self, header: Header, uri: str) -> None:
        """Raise a VideoIndexError if an index has another method or other windows."""
        asked: dict[str, Any] = {"fps": self.fps, "overlap": self.overlap}
        if not isinstance(self.model, Model):  # a Model has a method and frames of its own
            asked["frames"] = self.num_frames
            refuse_other_method(header, self.method, uri)
        given = {name: value for name, value in asked.items() if value is not None}
        if given:
            refuse_other_sampling(header, Sampling(**header["sampling"] | given), uri)

    def make_sampling(self, model: Model) -> Sampling:
        """Return the sampling for a new index."""
        asked = {"fps": self.fps, "overlap": self.overlap}
        given = {name: value for name, value in asked.items() if value is not None}
        return Sampling(frames=model.num_frames, **given)


class DamagedIndexWarning(UserWarning):
    """An index was damaged, and has returned to an earlier state."""


def make_missing_error(uri: str) -> VideoIndexError:
    """Make the error for an address without an index."""
    return VideoIndexError(
        f"there is no index in {uri}; `tempme index FOLDER` makes one of the videos in a folder, "
        "and --index names one that lies elsewhere"
    )


def open_if_there(uri: str) -> Store | None:
    """Do as `open_store` if there is an index."""
    return open_store(uri) if Store.exists(uri) else None


def open_store(uri: str) -> Store:
    """Open the store of an index; a damaged one returns to its last whole state, with a warning.

    Raises:
        VideoIndexError: there is no index, it cannot be read, or it cannot be repaired now.
    """
    try:
        store = Store.open(uri)
        check_header(store.header, uri)
        return store
    except NewerIndexError:
        raise
    except VideoIndexError as error:
        if not Store.exists(uri):
            raise
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(lock_index(uri))
            except VideoIndexError as reason:
                raise VideoIndexError(f"{error}. Now it cannot: {reason}") from error
            if not (damage := recover(uri)):
                raise
    store = Store.open(uri)
    warnings.warn(
        f"the index {uri} was damaged ({damage[0]}), as by a power cut or a bad disk; it has "
        "returned to its last whole state. `tempme index FOLDER` embeds again what is missing",
        DamagedIndexWarning,
        stacklevel=3,
    )
    return store


def recover_index(uri: str) -> list[str]:
    """Return an index to its last whole state, and list what was damaged."""
    if not Store.exists(uri):
        return []
    with lock_index(uri):
        return recover(uri)


def make_index(uri: str, request: IndexRequest, model: Model) -> Store:
    """Create an index without videos, or open the one that another process has just created."""
    header = make_header(model, request.source, request.make_sampling(model))
    texts = unrelated.read_texts()
    with warnings.catch_warnings():  # it matters little if one of these is cut
        warnings.simplefilter("ignore", TextCutWarning)
        vectors = model.embed_text(texts)
    with lock_creation(uri):  # several shards may begin at once
        if request.anew:
            with lock_index(uri):
                Store.remove(uri)
        if not Store.exists(uri):
            return Store.create(uri, header, texts, vectors)
        store = open_store(uri)
        refuse_other_model(store.header, model, uri)
        request.check(store.header, uri)
        return store


def prepare_store(
    store: Store | None,
    uri: str,
    request: IndexRequest,
    open_model: Callable[[], Model],
    folder: Path,
    exclude: Sequence[str] = (),
) -> Store:
    """Return the store of an index, created if it is None, once a folder is known to fit it.

    Raises:
        VideoIndexError: a new index would have no video, the folder lies in an indexed one, or
            the model is not the one of the index.
    """
    if store is None:
        content = find_videos(folder, exclude)
        if content.is_empty:  # before a model is opened, or its weights fetched
            refuse_empty_folder(folder, content, indexed=0)
        check_place(uri)
        return make_index(uri, request, open_model())
    refuse_nested(uri, folder, {row.root for row in store.read_files()})
    if request.may_differ(store.header):
        open_model()  # refused here, even if there is nothing to embed
    return store


def make_searcher(store: Store) -> tuple[object, Searcher]:
    """Make a searcher of what the store holds now; return it with the store's version.

    Rows that do not fit together may have been read while another process removed some of them;
    then they are read again.
    """
    for _ in range(READ_AGAIN):
        version = store.version
        try:
            rows = store.read_files()
            paths = {
                row.id: decode_root(store.uri, row.root) / os.fsdecode(row.path) for row in rows
            }
            searcher = Searcher(store, rows, paths)
        except VideoIndexError:
            if store.version == version:
                raise
            continue
        if not searcher.damage or store.version == version:
            break
    return version, searcher
