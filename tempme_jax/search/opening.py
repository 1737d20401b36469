"""Which model and which windows a user asks of an index: checked when it is opened or made."""

import dataclasses
import os
import warnings
from collections.abc import Mapping
from typing import Any

from tempme_jax.loading import load
from tempme_jax.model import Model
from tempme_jax.search.header import (
    header_of,
    open_again,
    refuse_other,
    refuse_other_method,
    refuse_other_sampling,
    source_of,
)
from tempme_jax.search.indexing.windows import Sampling
from tempme_jax.search.query import unrelated
from tempme_jax.search.store.locking import creating, locked
from tempme_jax.search.store.store import Store
from tempme_jax.text.bpe import TextCutWarning

DEFAULT_MODEL = "openai/clip-vit-base-patch32"

Header = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """What was asked for; None where nothing was.

    Attributes:
        model: a model, or what `load` takes for one.
        method, num_frames: as for `load`.
        fps, overlap: of the windows.
    """

    model: Model | str | os.PathLike | None
    method: str | None
    num_frames: int | None
    fps: float | None
    overlap: float | None

    @property
    def source(self) -> dict[str, Any]:
        """What `load` takes to open the model; empty if it was handed over."""
        if isinstance(self.model, Model):
            return {}
        given = {"method": self.method, "num_frames": self.num_frames}
        return source_of(self.model or DEFAULT_MODEL, **given)

    def new_model(self) -> Model:
        """The model of an index that is to be made."""
        return self.model if isinstance(self.model, Model) else load(**self.source)

    def model_of(self, header: Header, uri: str) -> Model:
        """The model of an index that is there.

        Raises:
            VideoIndexError: if it is another one, or cannot be opened.
        """
        if self.model is None:
            return open_again(header, uri)
        if isinstance(self.model, Model):
            model = self.model
        else:  # weights that lie elsewhere now are opened as those that it was made with
            model = load(**header["source"] | self.source)
        refuse_other(header, model, uri)
        return model

    def may_be_another(self, header: Header) -> bool:
        """Whether only opening the model can tell that it is that of the index."""
        handed_over = isinstance(self.model, Model)
        return handed_over or (self.model is not None and self.source != header["source"])

    def check(self, header: Header, uri: str) -> None:
        """Raises a VideoIndexError if an index has another method, or other windows."""
        asked = {"fps": self.fps, "overlap": self.overlap}
        if not isinstance(self.model, Model):  # which has a method and frames of its own
            asked["frames"] = self.num_frames
            refuse_other_method(header, self.method, uri)
        given = {name: value for name, value in asked.items() if value is not None}
        if given:
            refuse_other_sampling(header, Sampling(**header["sampling"] | given), uri)

    def sampling(self, model: Model) -> Sampling:
        """The windows of an index that is to be made."""
        asked = {"fps": self.fps, "overlap": self.overlap}
        given = {name: value for name, value in asked.items() if value is not None}
        return Sampling(frames=model.num_frames, **given)


def make(uri: str, wanted: Wanted, model: Model, *, anew: bool) -> Store:
    """An index without videos; or the one that another process has made meanwhile.

    Args:
        uri: where.
        wanted: what it is to be like.
        model: that is to embed.
        anew: whether it replaces one that is there.
    """
    header = header_of(model, wanted.source, wanted.sampling(model))
    texts = unrelated.texts()
    with warnings.catch_warnings():  # it matters little if one of these is cut
        warnings.simplefilter("ignore", TextCutWarning)
        vectors = model.embed_text(texts)
    with creating(uri):  # several shards may begin at once
        if anew:
            with locked(uri):
                Store.remove(uri)
        if not Store.exists(uri):
            return Store.create(uri, header, texts, vectors)
        store = Store.open(uri)
        refuse_other(store.header, model, uri)
        wanted.check(store.header, uri)
        return store
