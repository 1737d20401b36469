"""The text tower alone, kept in the user's cache as a program: it embeds a query at once.

To open a model, its network is built and traced and all its parameters are read, which takes
seconds. A query needs a part of that: `keep` traces the text tower once, for one text, and stores
the program (StableHLO, of `jax.export`) with the places of its parameters in the file of weights.
`find` opens it again: it imports JAX, but neither Flax nor a network, and maps the file of weights
into memory, from which it reads the embeddings of the query's words only. JAX's own cache keeps
what the program compiles to.

An entry is of one model, as long as its files keep their sizes and times, and of one version of
JAX and of this package.
"""

import dataclasses
import functools
import hashlib
import json
import os
import time
import zlib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy

from tempme_jax.compile_cache import find_home_folder, is_caching_allowed, use_persistent_cache
from tempme_jax.files import write_whole
from tempme_jax.mapped import map_arrays
from tempme_jax.version import __version__

if TYPE_CHECKING:  # it takes long to import
    from tempme_jax.model import Model
    from tempme_jax.text.base import BaseTokenizer

# The embeddings of all words, of which a query needs a few.
WORDS = ("text", "token_embedding")
# No entry is kept if it would hold more bytes of parameters than this, since the file of weights
# holds them in other shapes.
MOST_BYTES = 2**28
# Entries of other versions are removed at this age, once one of the same model is kept.
OLD_SECONDS = 30 * 86_400
# The code that makes the program: rooms, and modules beside them.
SOURCES = ("adapters", "networks", "reducers")
MODULES = ("parameters.py", "text_encoder.py", "vectors.py")
# What damaged entries and places that cannot be read or written raise. Path.home() raises
# RuntimeError.
FAILURES = (
    OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError,
    safetensors.SafetensorError,
)  # fmt: skip


class TextEncoder:
    """Embeds texts as the model does whose text tower it is.

    Attributes:
        description: what `keep` was told about the model.
        tokenizer: the tokenizer of the model.
    """

    def __init__(self, entry: "Entry", arrays: Sequence[np.ndarray], words: np.ndarray, call: Any):
        """Take the parts; call `find` instead."""
        self.description = entry.description
        self._entry, self._arrays, self._words, self._call = entry, arrays, words, call

    @functools.cached_property
    def tokenizer(self) -> "BaseTokenizer":
        """The tokenizer that turns texts into the model's ids."""
        from tempme_jax.text.tokenizers import make_tokenizer

        return make_tokenizer(*self._entry.tokenizer)

    def embed_text(self, texts: str | Sequence[str]) -> np.ndarray:
        """Embed a text or a list of texts, as `Model.embed_text`: float32 [b, e]."""
        vectors = [
            np.asarray(self._call(self._arrays, *pick_words(self._words, ids[None]), mask[None]))
            for ids, mask in zip(*self.tokenizer(texts), strict=True)
        ]
        return np.concatenate(vectors)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """What the cache keeps of a model, besides its program and some of its parameters.

    Attributes:
        files: path, size, times and number of each file that the model was read from, the one with
            the arrays first, and of the folder if other files in it would have changed the model.
        description: what the caller tells about the model, of JSON's types.
        tokenizer: the arguments of `make_tokenizer`.
        names: for each parameter its name in the file of weights, or "" if the entry holds it; the
            last one is that of the embeddings of words.
    """

    files: list[list[Any]]
    description: dict[str, Any]
    tokenizer: list[Any]
    names: list[str]


def find(source: Mapping[str, Any]) -> TextEncoder | None:
    """Return the text encoder of a model, if the cache has one of the files that are there now.

    Args:
        source: the arguments of `load`.
    """
    if not is_caching_allowed() or str(source["source"]).endswith(".onnx"):
        return None
    import jax
    import jax.export

    try:
        arrays, metadata = map_arrays(locate_entry(source))
        entry = Entry(**json.loads(metadata["entry"]))
        if not is_current(entry, str(source["source"])) or compute_crc(arrays) != metadata["crc"]:
            return None
        held, _ = map_arrays(entry.files[0][0])
        exported = jax.export.deserialize(bytearray(arrays.pop("program").tobytes()))
        # For a CPU's program, JAX imports SciPy's LAPACK, which this one has no use for. The entry
        # is of this platform, so the program need not say it again.
        exported = dataclasses.replace(exported, platforms=("this",))
        own = iter([arrays[f"{number}"] for number in range(len(arrays))])
        *params, words = [held[name] if name else next(own) for name in entry.names]
        params = [np.asarray(array, np.float32) for array in params]
    except FAILURES:
        return None
    use_persistent_cache()
    return TextEncoder(entry, jax.device_put(params), words, jax.jit(exported.call))


def keep(model: "Model", source: Mapping[str, Any], description: dict[str, Any]) -> bool:
    """Keep the text encoder of a model in the cache, and return whether that was possible.

    Args:
        model: the model.
        source: the arguments of `load` that opened it.
        description: about the model, of JSON's types; `find` returns it.
    """
    from tempme_jax.parameters import flatten
    from tempme_jax.weights.adapter_files import locate_files

    flat = {path: array for path, array in flatten(model.params).items() if path[0] != "video"}
    if not is_caching_allowed() or WORDS not in flat:
        return False
    try:
        files = locate_files(str(source["source"]))
        arrays, metadata = map_arrays(files[0])
    except FAILURES:
        return False  # a workdir, or several files
    paths = [*(path for path in flat if path != WORDS), WORDS]
    params = [np.asarray(flat[path], np.float32) for path in paths]
    names = name_arrays(params, arrays)
    own = [array for array, name in zip(params, names, strict=True) if not name]
    if sum(array.nbytes for array in own) > MOST_BYTES:
        return False
    if "tempme_jax" not in metadata or os.path.isdir(source["source"]):
        files.append(files[0].parent)
    entry = Entry(
        files=list(map(describe_file, files)),
        description=description,
        tokenizer=list(model.tokenizer_arguments),
        names=names,
    )
    return write_entry(source, entry, export_program(model, paths, params), own)


def write_entry(
    source: Mapping[str, Any], entry: Entry, program: bytearray, own: Sequence[np.ndarray]
) -> bool:
    """Write an entry, whole or not at all, and remove old ones of the same model."""
    kept: dict[str, np.ndarray] = {f"{n}": np.asarray(a, order="C") for n, a in enumerate(own)}
    kept["program"] = np.frombuffer(program, np.uint8)
    about = {"entry": json.dumps(dataclasses.asdict(entry)), "crc": compute_crc(kept)}
    try:
        place = locate_entry(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        with write_whole(place) as unfinished:
            safetensors.numpy.save_file(kept, unfinished, about)
        for other in place.parent.glob(f"{place.name.partition('-')[0]}-*"):
            if time.time() - other.stat().st_mtime > OLD_SECONDS:
                other.unlink()
    except FAILURES:
        return False
    return True


def export_program(
    model: "Model", paths: Sequence[tuple[str, ...]], params: Sequence[np.ndarray]
) -> bytearray:
    """Return the program from parameters, rows of embeddings, places in these and mask to vectors.

    What was learned is folded in the program: it is a small part of the arithmetic.
    """
    import flax.traverse_util
    import jax
    import jax.export

    from tempme_jax.parameters import cast_kernels
    from tempme_jax.vectors import normalize

    count = model.max_words
    arch = dataclasses.replace(model.arch, vocab_size=count)
    network = model.network.copy(arch=arch)

    def embed(arrays, words, ids, mask):
        tree = flax.traverse_util.unflatten_dict(dict(zip(paths, [*arrays, words], strict=True)))
        adapter, tree = network.adapter.fold(tree)
        tree = {"params": cast_kernels(tree, network.dtype)}
        vectors = network.copy(adapter=adapter).apply(tree, ids, mask, method="encode_text")
        assert isinstance(vectors, jax.Array)
        return normalize(vectors)

    shapes = [jax.ShapeDtypeStruct(array.shape, np.float32) for array in params[:-1]]
    words = jax.ShapeDtypeStruct((count, params[-1].shape[1]), np.float32)
    ids, mask = (jax.ShapeDtypeStruct((1, count), kind) for kind in (np.int32, np.bool_))
    unchecked = [jax.export.DisabledSafetyCheck.platform()]
    export = jax.export.export(jax.jit(embed), disabled_checks=unchecked)
    return export(shapes, words, ids, mask).serialize()


def pick_words(table: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of a table that ids [1, n] name, float32 [n, d], and the ids' places in them.

    The order of ids is kept, so the largest one, which ends a text of CLIP, stays the largest.
    """
    known, places = np.unique(ids, return_inverse=True)
    rows = np.zeros((ids.size, table.shape[1]), np.float32)
    rows[: len(known)] = table[known]
    return rows, places.reshape(ids.shape).astype(np.int32)


def name_arrays(params: Sequence[np.ndarray], arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Return the name of the array of a file that equals each parameter; "" if none does."""

    def take_sample(array):
        return array.shape, np.asarray(array.reshape(-1)[:64], np.float32).tobytes()

    alike: dict[Any, list[str]] = {}
    for name, array in arrays.items():
        if array.dtype.kind == "f":
            alike.setdefault(take_sample(array), []).append(name)
    return [
        next((n for n in alike.get(take_sample(one), ()) if np.array_equal(arrays[n], one)), "")
        for one in params
    ]


def is_current(entry: Entry, source: str) -> bool:
    """Return whether the files are those that a model was read from, and `source` still means them.

    The name of a repository means a folder here, if there is one.
    """
    if os.path.exists(source):
        read = [os.path.realpath(path) for path, *_ in entry.files]
        if os.path.realpath(source) not in (*read, *map(os.path.dirname, read)):
            return False
    return all(describe_file(path) == [path, *about] for path, *about in entry.files)


def compute_crc(arrays: Mapping[str, np.ndarray]) -> str:
    """Compute the CRC-32 of arrays, in the order of their names."""
    crc = 0
    for name in sorted(arrays):
        crc = zlib.crc32(arrays[name].data, crc)
    return f"{crc:08x}"


def describe_file(path: str | os.PathLike) -> list[Any]:
    """Return path, size, times and number of a file; they change if it does."""
    stat = os.stat(path)
    return [os.path.abspath(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def locate_entry(source: Mapping[str, Any]) -> Path:
    """Return the place of the entry of a model in the cache, for this device and these versions."""
    import jax

    about = [jax.__version__, jax.default_backend(), hash_sources()]
    about += [jax.config.jax_default_matmul_precision, jax.config.jax_enable_x64]  # type: ignore
    parts = [sorted(source.items()), about]
    names = [hashlib.sha256(json.dumps(part).encode()).hexdigest()[:24] for part in parts]
    return find_home_folder() / "text" / f"{'-'.join(names)}.safetensors"


def hash_sources() -> str:
    """Return the hash of the version, which reads weights in its way, and of a program's code."""
    digest = hashlib.sha256(__version__.encode())
    package = resources.files("tempme_jax")
    folders = [package / name for name in SOURCES]
    for file in sorted((f for folder in folders for f in folder.iterdir()), key=str):
        if file.name.endswith(".py"):
            digest.update(file.read_bytes())
    for name in MODULES:
        digest.update((package / name).read_bytes())
    return digest.hexdigest()
