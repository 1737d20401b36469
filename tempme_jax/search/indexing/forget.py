"""Taking a folder out of an index."""

from pathlib import Path

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.indexing.unfinished import UnfinishedVideos
from tempme_jax.search.paths import decode_root, encode_root
from tempme_jax.search.store.locking import lock_index
from tempme_jax.search.store.store import Store


def remove_folder(store: Store, folder: Path) -> int:
    """Implement `VideoIndex.forget`."""
    root = encode_root(store.uri, folder)
    with lock_index(store.uri):
        finished = store.finish_forgetting()
        rows = store.read_files()
        removed = [row for row in rows if row.root == root]
        if not removed and not finished:
            folders = sorted({str(decode_root(store.uri, row.root)) for row in rows})
            raise VideoIndexError(
                f"{folder} is not in the index {store.uri}, which holds {', '.join(folders)}"
            )
        UnfinishedVideos(store.uri, store.header, root).clear()
        if removed:
            store.forget([row.id for row in removed])
    return len(removed)
