"""Opening and creating indexes: the model and windows asked for are checked against the index."""

import contextlib
import dataclasses
import functools
import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from tempme_jax import text_encoder
from tempme_jax.loading import load
from tempme_jax.search import dials
from tempme_jax.search.errors import NewerIndexError, VideoIndexError
from tempme_jax.search.header import (
    check_header,
    describe_model,
    describe_source,
    list_differences,
    open_model,
    refuse_other_method,
    refuse_other_model,
    refuse_other_sampling,
    refuse_without_frames,
)
from tempme_jax.search.paths import decode_root
from tempme_jax.search.query.searcher import Searcher
from tempme_jax.search.runtimes import choose_runtime, open_exported, refuse_other_precision
from tempme_jax.search.store.checksums import list_versions
from tempme_jax.search.store.failures import explain_read_errors
from tempme_jax.search.store.locking import find_local_folder, lock_index
from tempme_jax.search.store.sidefile import SideFile, read_side_file
from tempme_jax.text_encoder import TextEncoder

# A search does without these, and to import them takes longer than everything else in it.
if TYPE_CHECKING:
    from tempme_jax.model import Model
    from tempme_jax.search.store.store import Store
    from tempme_jax.video.windows import Sampling

# Attempts to read an index that other processes write to.
READ_AGAIN = 5
DEFAULT_MODEL = "openai/clip-vit-base-patch32"

Header = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class IndexRequest:
    """The arguments of `VideoIndex`: the model and windows that a user asks for; None for any.

    `dial` is what the header of a new index says of the dial, once its model is open.
    """

    model: "Model | str | os.PathLike | None"
    method: str | None
    num_frames: int | None
    fps: float | None
    overlap: float | None
    anew: bool = False
    runtime: str | None = None
    int8: bool = False
    per_frame: bool = False
    speed: float | None = None
    dial: dict[str, Any] = dataclasses.field(default_factory=dict, init=False)

    @property
    def passed_model(self) -> "Model | None":
        """The model, if a Model was passed, and not the first argument of `load`."""
        return None if isinstance(self.model, str | os.PathLike) else self.model

    @property
    def source(self) -> dict[str, Any]:
        """The arguments of `load` that open the model; empty if a Model was passed."""
        if self.passed_model is not None:
            return {}
        given = {"method": self.method, "num_frames": self.num_frames}
        named = self.model if isinstance(self.model, str | os.PathLike) else DEFAULT_MODEL
        return describe_source(named or DEFAULT_MODEL, **given)

    def load_new_model(self) -> "Model":
        """Return the model for a new index."""
        model = load(**self.source) if self.passed_model is None else self.passed_model
        model = dials.turn_to_speed(model, self.speed)
        self.dial.update(dials.describe_dial(model))
        if self.passed_model is not None:
            return model
        runtime, precision = choose_runtime(None, self.runtime, int8=self.int8)
        if runtime == "jax" or model.is_exported:
            return model
        return cast(Any, open_exported(describe_model(model), precision, lambda: model))

    def load_model(self, header: Header, uri: str) -> "Model":
        """Return the model for an existing index.

        Raises:
            VideoIndexError: it is not the model of the index, or cannot be opened.
        """
        open_trained = functools.partial(self.load_whole_model, uri=uri)
        header = dials.choose_dial(header, self.speed, open_trained, uri)
        if self.passed_model is not None:
            model = dials.turn_to_header(self.passed_model, header)
        else:
            runtime, precision = choose_runtime(header, self.runtime, int8=self.int8)
            if runtime == "jax":
                model = self.load_whole_model(header, uri)
            else:
                open_whole = functools.partial(self.load_whole_model, header, uri)
                if self.may_differ(header):  # refused here, even if it has been exported
                    open_whole = functools.partial(lambda whole: whole, open_whole())
                model = cast(Any, open_exported(header["model"], precision, open_whole))
        refuse_other_model(header, model, uri)
        refuse_other_precision(header, model, uri)
        return model

    def load_whole_model(self, header: Header, uri: str) -> "Model":
        """Return the model for an existing index as it runs in JAX.

        Raises:
            VideoIndexError: it is not the model of the index, or cannot be opened.
        """
        if self.model is None:
            return open_model(header, uri)
        model = self.passed_model
        if model is None:  # weights that have moved are opened with the index's own options
            model = load(**header["source"] | self.source)
        model = dials.turn_to_header(model, header)
        refuse_other_model(header, model, uri)
        return model

    def open_text_encoder(self, header: Header) -> TextEncoder | None:
        """Return the model's text tower from the user's cache; None if it is not there.

        One of another model is not taken: the name of a repository may mean newer weights since.
        """
        encoder = text_encoder.find(self._find_source(header)) if self._has_tower(header) else None
        made = dials.strip_dial(header)["model"]  # texts do not depend on the dial
        if encoder is None or list_differences(made, encoder.description):
            return None  # the model itself tells what is wrong, if anything is
        return encoder

    def make_text_encoder(self, model: "Model", header: Header) -> TextEncoder | None:
        """Keep the text tower of the model of an index in the user's cache, and return it.

        It is None if that is not possible, as with a Model that was passed.
        """
        if not self._has_tower(header) or not hasattr(model, "network"):
            return None
        about = {"model": describe_model(model)} | dials.describe_dial(model)
        made = dials.strip_dial(about)["model"]
        if not text_encoder.keep(model, self._find_source(header), made):
            return None
        return self.open_text_encoder(header)

    def _find_source(self, header: Header) -> dict[str, Any]:
        return header["source"] | (self.source if self.model is not None else {})

    def _has_tower(self, header: Header) -> bool:
        """Return whether the text tower in JAX may embed queries, without the model.

        Not for vectors of int8: only the model tells whether they agree enough with JAX.
        """
        if self.passed_model is not None or not self._find_source(header):
            return False
        is_exact = header.get("runtime", {}).get("precision") != "int8"
        return is_exact and choose_runtime(header, self.runtime, int8=self.int8)[0] == "jax"

    def may_differ(self, header: Header) -> bool:
        """Return whether the model has to be opened to tell if it is that of the index."""
        if self.passed_model is not None or not dials.is_of_speed(header, self.speed):
            return True
        return self.model is not None and self.source != header["source"]

    def check(self, header: Header, uri: str) -> None:
        """Raise a VideoIndexError if an index has another method, other windows or no frames."""
        asked: dict[str, Any] = {"fps": self.fps, "overlap": self.overlap}
        if self.passed_model is None:  # a Model has a method and frames of its own
            asked["frames"] = self.num_frames
            refuse_other_method(header, self.method, uri)
        given = {name: value for name, value in asked.items() if value is not None}
        if given:
            from tempme_jax.video.windows import Sampling

            refuse_other_sampling(header, Sampling(**header["sampling"] | given), uri)
        if self.per_frame:
            refuse_without_frames(header, uri)

    def make_sampling(self, model: "Model") -> "Sampling":
        """Return the sampling for a new index."""
        from tempme_jax.video.windows import Sampling

        asked = {"fps": self.fps, "overlap": self.overlap}
        given = {name: value for name, value in asked.items() if value is not None}
        return Sampling(frames=model.num_frames, **given)


class DamagedIndexWarning(UserWarning):
    """An index was damaged, and has returned to an earlier state."""


def is_index(uri: str) -> bool:
    """Return whether an index is there, even if it is damaged.

    Raises:
        VideoIndexError: the folder cannot be read.
    """
    if folder := find_local_folder(uri):
        with explain_read_errors(uri):
            return bool(list_versions(folder, "header"))
    from tempme_jax.search.store.store import Store

    return Store.exists(uri)


def open_side_file(uri: str) -> SideFile | None:
    """Return what the side file holds; None if the tables have to be read instead."""
    side = read_side_file(uri)
    if side is not None:
        check_header(side.header, uri)
    return side


def open_store(uri: str) -> "Store":
    """Open the store of an index; a damaged one returns to its last whole state, with a warning.

    Raises:
        VideoIndexError: there is no index, it cannot be read, or it cannot be repaired now.
    """
    from tempme_jax.search.store.recovery import recover
    from tempme_jax.search.store.store import Store

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
    if not is_index(uri):
        return []
    from tempme_jax.search.store.recovery import recover

    with lock_index(uri):
        return recover(uri)


def make_searcher(store: "Store | SideFile") -> tuple[object, Searcher]:
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
