"""Creating indexes, and preparing those that are there for a folder of videos."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tempme_jax.search.dials import describe_dial
from tempme_jax.search.header import make_header, refuse_other_model
from tempme_jax.search.indexing.progress import IndexProgress
from tempme_jax.search.indexing.survey import refuse_empty_folder
from tempme_jax.search.indexing.walk import find_videos
from tempme_jax.search.opening import IndexRequest, open_store
from tempme_jax.search.paths import refuse_nested
from tempme_jax.search.query import unrelated
from tempme_jax.search.store.locking import lock_creation, lock_index
from tempme_jax.search.store.place import check_place
from tempme_jax.search.store.store import Store
from tempme_jax.text.base import TextCutWarning

if TYPE_CHECKING:
    from tempme_jax.model import Model


def make_index(uri: str, request: IndexRequest, model: "Model", progress: IndexProgress) -> Store:
    """Create an index without videos, or open the one that another process has just created."""
    header = make_header(
        model, request.source, request.make_sampling(model), per_frame=request.per_frame
    )
    header |= describe_dial(model) or request.dial
    texts = unrelated.read_texts()
    with warnings.catch_warnings(), progress.show("Embedding texts to compare scores with"):
        warnings.simplefilter("ignore", TextCutWarning)  # it matters little if one of these is cut
        vectors = model.embed_text(texts)
    with progress.show("Preparing searches"):  # or the first one would wait
        if not request.open_text_encoder(header):
            if encoder := request.make_text_encoder(model, header):
                encoder.embed_text(texts[0])
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
    open_model: Callable[[], "Model"],
    folder: Path,
    exclude: Sequence[str] = (),
    *,
    progress: IndexProgress,
) -> Store:
    """Return the store of an index, created if it is None, once a folder is known to fit it.

    Raises:
        VideoIndexError: a new index would have no video, the folder lies in an indexed one, or
            the model is not the one of the index.
    """
    if store is None:
        with progress.show("Looking for videos"):
            content = find_videos(folder, exclude)
        if content.is_empty:  # before a model is opened, or its weights fetched
            refuse_empty_folder(folder, content, indexed=0)
        check_place(uri)
        return make_index(uri, request, open_model(), progress)
    refuse_nested(uri, folder, {row.root for row in store.read_files()})
    if request.may_differ(store.header):
        open_model()  # refused here, even if there is nothing to embed
    return store
