"""Read the tensors of PyTorch files without PyTorch and without running anything in them.

A PyTorch file is a zip archive: `data.pkl`, a pickle that describes the tensors, and one record of
plain numbers for each storage. The pickle is read and checked before the storages are.
"""

import collections
import math
import os
import zipfile
from typing import BinaryIO, NamedTuple

import numpy as np

from tempme_jax.weights.torch_pickles import (
    DAMAGED,
    RESAVE,
    STORED_DTYPES,
    Description,
    Storage,
    Tensor,
    TorchFileError,
    UnsafeFileError,
    read_pickle,
)

__all__ = ["TorchFile", "TorchFileError", "UnsafeFileError", "open_torch_file", "read_torch_file"]

# The first bytes of a file, and of one of PyTorch before 1.6, which is a bare pickle.
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_PREFIXES = ("module.", "_orig_mod.")
# Tied weights and expanded views repeat the numbers of a storage; a bomb repeats them far more.
_MOST_GROWTH = 16
_ALWAYS_ALLOWED_BYTES = 64 * 2**20


class TorchFile(NamedTuple):
    """The contents of a file of PyTorch.

    Attributes:
        arrays: tensors by name.
        description: what the pickle describes beside them.
        prefix: what was removed from all names.
    """

    arrays: dict[str, np.ndarray]
    description: Description = Description({})
    prefix: str = ""


def read_torch_file(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return the tensors of a `.pt`, `.pth` or `.bin` file of PyTorch 1.6 or later by name.

    Reads state dicts, checkpoints and TorchScript archives. Names in nested dicts, lists and
    modules are joined with "."; values other than tensors are ignored. If a checkpoint has one
    dict under "state_dict", "model_state_dict", "model" or "module", only that dict is read,
    without the optimizer beside it. "module." and "_orig_mod." are removed if all names begin with
    them.

    Returns:
        Arrays of the shapes saved, in the order of the file, C-contiguous, writeable and sharing
        no memory. Dtypes stay as saved, but bfloat16 becomes float32 (which is exact).

    Raises:
        UnsafeFileError: if the file refers to anything but tensors and values that do nothing.
        TorchFileError: if the file is not a zip archive (PyTorch before 1.6), is damaged or
            big-endian, has an unknown dtype, or a tensor reaches outside its storage.
        OSError: if the file cannot be opened.
    """
    return open_torch_file(path).arrays


def open_torch_file(path: str | os.PathLike[str]) -> TorchFile:
    """Return the tensors of a file of PyTorch, and what its pickle describes beside them.

    See `read_torch_file`.
    """
    with open(path, "rb") as stream:
        try:
            return _read(_Archive(stream))
        except TorchFileError as error:
            raise type(error)(f"{os.fspath(path)}: {error}") from error


class _Archive:
    """The records of one file, each checked before it is read."""

    def __init__(self, stream: BinaryIO) -> None:
        self.file_bytes = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        head = stream.read(32)
        if not head.startswith((_ZIP, _PICKLE)):
            raise TorchFileError(
                f"not a zip archive, as files of PyTorch are: it begins with {head!r}, as of a "
                "failed download, or where Git LFS has not fetched the file; get it again"
            )
        if head.startswith(_PICKLE):
            raise TorchFileError(
                "not a zip archive, so not from PyTorch 1.6 or later; if an older one wrote it, "
                "save it again with a newer: torch.save(torch.load(path, weights_only=True), path)"
            )
        try:
            self._zip = zipfile.ZipFile(stream)
        except (zipfile.BadZipFile, RuntimeError, ValueError, OSError) as error:
            raise TorchFileError(DAMAGED.format(error)) from error
        self._records = {record.filename: record for record in self._zip.infolist()}
        found = [n for n in self._records if n.endswith("/data.pkl") and n.count("/") == 1]
        if len(found) != 1:
            raise TorchFileError(f"has {len(found)} records data.pkl and not one; use {RESAVE}")
        self._folder = found[0].removesuffix("data.pkl")
        stored = (r for r in self._records.values() if r.compress_type == zipfile.ZIP_STORED)
        if sum(record.file_size for record in stored) > self.file_bytes:
            raise TorchFileError("its records claim more bytes than the file has; get it again")

    def read(self, name: str, default: bytes | None = None) -> bytes:
        record = self._records.get(self._folder + name)
        if record is None and default is not None:
            return default
        if record is None or record.compress_type != zipfile.ZIP_STORED:
            state = "missing" if record is None else "compressed, which PyTorch never does"
            raise TorchFileError(f"its record {name!r} is {state}; get it again or use {RESAVE}")
        try:
            return self._zip.read(record)
        # OSError: a damaged archive points to positions before the start of the file.
        except (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, OSError) as error:
            raise TorchFileError(DAMAGED.format(error)) from error


def _read(archive: _Archive) -> TorchFile:
    byteorder = archive.read("byteorder", default=b"little")
    if byteorder != b"little":
        raise TorchFileError(f"its byte order is {byteorder!r:.9}, not b'little'; use {RESAVE}")
    description = read_pickle(archive.read("data.pkl"))
    tensors, prefix = _remove_prefixes(description.tensors)
    names_by_storage = collections.defaultdict(list)
    wanted = 0
    for name, tensor in tensors.items():
        names_by_storage[tensor.storage].append(name)
        wanted += math.prod(tensor.size) * STORED_DTYPES[tensor.storage.kind].itemsize
    if wanted > max(_MOST_GROWTH * archive.file_bytes, _ALWAYS_ALLOWED_BYTES):
        raise TorchFileError(
            f"its tensors need {wanted} bytes, over {_MOST_GROWTH} times its size; save no views"
        )
    arrays = {}
    for storage, names in names_by_storage.items():
        numbers = _decode_numbers(archive.read(storage.record), storage)
        arrays.update({name: _copy_view(numbers, tensors[name]) for name in names})
    return TorchFile({name: arrays[name] for name in tensors}, description, prefix)


def _remove_prefixes(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    removed = ""
    for prefix in _PREFIXES * 2:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
            removed += prefix
    return tensors, removed


def _decode_numbers(raw: bytes, storage: Storage) -> np.ndarray:
    dtype = STORED_DTYPES[storage.kind]
    if len(raw) < storage.length * dtype.itemsize:
        raise TorchFileError(f"its {storage.record!r:.40} has {len(raw)} bytes, too few: {storage}")
    stored = np.frombuffer(raw, dtype, count=storage.length)
    if storage.kind == "BFloat16Storage":
        return (stored.astype("<u4") << 16).view("<f4")
    return stored != 0 if storage.kind == "BoolStorage" else stored


def _copy_view(numbers: np.ndarray, tensor: Tensor) -> np.ndarray:
    if 0 in tensor.size:
        return np.empty(tensor.size, numbers.dtype)
    # The step along an axis of length 1 is never taken, and may be too large for NumPy.
    steps = [step if n > 1 else 0 for n, step in zip(tensor.size, tensor.stride, strict=True)]
    start, *strides = (count * numbers.itemsize for count in (tensor.offset, *steps))
    # Unlike as_strided, this checks the bounds once more.
    view = np.ndarray(tensor.size, numbers.dtype, numbers, start, strides)
    return np.array(view, order="C")
