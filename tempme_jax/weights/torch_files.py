"""Read the tensors of PyTorch files without PyTorch and without running anything in them.

A PyTorch file is a zip archive: `data.pkl`, a pickle that describes the tensors, and one record of
plain numbers for each storage. A pickle can call any function, so this one is read with an
allow-list of the names that describe tensors, and is checked before the storages are read.
"""

import collections
import functools
import io
import math
import os
import pickle
import pickletools
import zipfile
from typing import Any, BinaryIO, NamedTuple

import numpy as np

_STORED_DTYPES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype("<u2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("u1"),
}
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")

_MOST_DIMENSIONS = 32
# NumPy counts the bytes of an array in 63 bits, with an axis of length 0 as if it were 1.
_MOST_ELEMENTS = (2**63 - 1) // 8
_MOST_VALUES = 1_000_000
_LONGEST_NAME = 1024
# Tied weights and expanded views repeat the numbers of a storage; a bomb repeats them far more.
_MOST_GROWTH = 16
_ALWAYS_ALLOWED_BYTES = 64 * 2**20

_RESAVE = "torch.save(model.state_dict(), path)"
_DAMAGED = "truncated or damaged ({!r}); get the file again"


class TorchFileError(ValueError):
    """A PyTorch file that cannot be read: another format, damaged, or inconsistent in itself."""


class UnsafeFileError(TorchFileError):
    """A PyTorch file that asks for something other than tensors; nothing of it was run."""


class _Storage(NamedTuple):
    record: str
    kind: str
    length: int


class _Tensor(NamedTuple):
    """A tensor as the pickle describes it; offset and stride count elements."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def read_torch_file(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return the tensors of a `.pt`, `.pth` or `.bin` file of PyTorch 1.6 or later by name.

    Reads state dicts, checkpoints and TorchScript archives. Names in nested dicts, lists and
    modules are joined with "."; values other than tensors are ignored. If a checkpoint has one
    dict under "state_dict", "model_state_dict" or "model", only that dict is read, without the
    optimizer beside it. "module." and "_orig_mod." are removed if all names begin with them.

    Returns:
        Arrays of the shapes saved, in the order of the file, C-contiguous, writeable and sharing
        no memory. Dtypes stay as saved, but bfloat16 becomes float32 (which is exact).

    Raises:
        UnsafeFileError: if the file refers to anything but parts of tensors.
        TorchFileError: if the file is not a zip archive (PyTorch before 1.6), is damaged or
            big-endian, has an unknown dtype, or a tensor reaches outside its storage.
        OSError: if the file cannot be opened.
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
        if stream.read(4) != b"PK\x03\x04":
            raise TorchFileError(
                "not a zip archive, so not from PyTorch 1.6 or later; if an older one wrote it, "
                "save it again with a newer: torch.save(torch.load(path, weights_only=True), path)"
            )
        try:
            self._zip = zipfile.ZipFile(stream)
        except (zipfile.BadZipFile, RuntimeError, ValueError, OSError) as error:
            raise TorchFileError(_DAMAGED.format(error)) from error
        self._records = {record.filename: record for record in self._zip.infolist()}
        found = [n for n in self._records if n.endswith("/data.pkl") and n.count("/") == 1]
        if len(found) != 1:
            raise TorchFileError(f"has {len(found)} records data.pkl and not one; use {_RESAVE}")
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
            raise TorchFileError(f"its record {name!r} is {state}; get it again or use {_RESAVE}")
        try:
            return self._zip.read(record)
        # OSError: a damaged archive points to positions before the start of the file.
        except (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, OSError) as error:
            raise TorchFileError(_DAMAGED.format(error)) from error


def _read(archive: _Archive) -> dict[str, np.ndarray]:
    byteorder = archive.read("byteorder", default=b"little")
    if byteorder != b"little":
        raise TorchFileError(f"its byte order is {byteorder!r:.9}, not b'little'; use {_RESAVE}")
    tensors = _read_descriptions(archive.read("data.pkl"))
    names_by_storage = collections.defaultdict(list)
    wanted = 0
    for name, tensor in tensors.items():
        names_by_storage[tensor.storage].append(name)
        wanted += math.prod(tensor.size) * _STORED_DTYPES[tensor.storage.kind].itemsize
    if wanted > max(_MOST_GROWTH * archive.file_bytes, _ALWAYS_ALLOWED_BYTES):
        raise TorchFileError(
            f"its tensors need {wanted} bytes, over {_MOST_GROWTH} times its size; save no views"
        )
    arrays = {}
    for storage, names in names_by_storage.items():
        numbers = _decode_numbers(archive.read(storage.record), storage)
        arrays.update({name: _copy_view(numbers, tensors[name]) for name in names})
    return {name: arrays[name] for name in tensors}


class _ScriptedModule:
    """A stand-in for every module class of a TorchScript archive."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _TensorUnpickler(pickle.Unpickler):
    """Unpickles descriptions of tensors, in the containers that hold them, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        wanted = f"{module}.{name}"
        if wanted == "collections.OrderedDict":
            return collections.OrderedDict
        if module == "torch" and name in _STORED_DTYPES:
            return name
        # Make a new class or function each time, as the pickle could alter a shared one.
        if wanted.startswith("__torch__."):
            return type("ScriptedModule", (_ScriptedModule,), {})
        if wanted in _ADMITTED:
            return functools.partial(_ADMITTED[wanted])
        # PyTorch gives the dtypes that have no storage class of their own to _rebuild_tensor_v3.
        if module.startswith("torch") and name.endswith(("Storage", "_rebuild_tensor_v3")):
            raise TorchFileError(
                f"holds a tensor of an unknown dtype, by {wanted!a:.99}; known are "
                f"{', '.join(_STORED_DTYPES)}. Convert it with PyTorch and use {_RESAVE}"
            )
        raise UnsafeFileError(
            f"refused, as it refers to {wanted!a:.99}, which is not part of a tensor; nothing was "
            f"run. If you trust its author, load it with PyTorch and save the weights: {_RESAVE}"
        )

    def persistent_load(self, identifier: Any) -> _Storage:
        tag, kind, key, _, length = identifier
        known = tag == "storage" and kind in _STORED_DTYPES and type(key) is str
        if not known or not _is_count(length):
            raise TorchFileError("a storage needs a known kind, a name and a length of 0...2**60")
        return _Storage(f"data/{key}", kind, length)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MOST_ELEMENTS


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *options: Any) -> _Tensor:
    """Check a description of a tensor: every element must lie within its storage."""
    # The options are requires_grad, the hooks and, from PyTorch 2.0, signs still to be applied.
    if type(storage) is not _Storage or any(options[2:]):
        raise TorchFileError(f"a tensor is not plain numbers in a storage; use {_RESAVE}")
    if not all(map(_is_count, (offset, *size, *stride))) or len(size) != len(stride):
        raise TorchFileError("a tensor needs an offset, sizes and as many strides in 0...2**60")
    if len(size) > _MOST_DIMENSIONS or math.prod(max(n, 1) for n in size) > _MOST_ELEMENTS:
        raise TorchFileError(f"a tensor of size {size!r:.80} is too large for any array")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and last >= storage.length:
        raise TorchFileError(
            f"a tensor of size {size}, stride {stride} and offset {offset} reaches element {last} "
            f"of {storage.record!r:.40}, which has {storage.length}; get the file again"
        )
    return _Tensor(storage, offset, tuple(size), tuple(stride))


_ADMITTED = {
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
    "torch.jit._pickle.restore_type_tag": lambda value, _: value,
    "torch.jit._pickle.build_tensorlist": list,
    "torch.jit._pickle.build_intlist": list,
    "torch.jit._pickle.build_doublelist": list,
    "torch.jit._pickle.build_boollist": list,
}


def _read_descriptions(pickled: bytes) -> dict[str, _Tensor]:
    try:
        # Python allocates up to the highest memo number at once: a few bytes could fill the memory.
        for opcode, argument, _ in pickletools.genops(pickled):
            if opcode.name.endswith("PUT") and (argument or 0) > len(pickled):
                raise TorchFileError(f"its data.pkl has {len(pickled)} bytes for {argument} values")
        root = _TensorUnpickler(io.BytesIO(pickled), encoding="utf-8").load()
        tensors = _collect_tensors(_unwrap(root))
    except TorchFileError:
        raise
    # The documentation of pickle: broken data may raise any exception.
    except Exception as error:
        raise TorchFileError("its data.pkl is " + _DAMAGED.format(error)) from error
    for prefix in _PREFIXES * 2:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _unwrap(root: Any) -> Any:
    if not isinstance(root, dict) or any(isinstance(root[key], _Tensor) for key in root):
        return root
    wrapped = [root[key] for key in _WRAPPERS if key in root and isinstance(root[key], dict)]
    return wrapped[0] if len(wrapped) == 1 else root


def _collect_tensors(root: Any) -> dict[str, _Tensor]:
    found: dict[str, _Tensor] = {}
    pending = [("", root)]
    # Values are counted and names limited, as a pickle can make a container hold itself.
    for _ in range(_MOST_VALUES):
        if not pending:
            return found
        path, node = pending.pop()
        name = path.removeprefix(".")
        if len(name) > _LONGEST_NAME or name in found:
            raise TorchFileError(f"the name {name!r:.80} is there twice or is far too long")
        if isinstance(node, _ScriptedModule):
            node = node.state
        if isinstance(node, _Tensor):
            found[name] = node
        elif isinstance(node, list | tuple):
            pending.extend((f"{path}.{i}", node[i]) for i in reversed(range(len(node))))
        elif isinstance(node, dict):
            if not all(isinstance(key, str | int) for key in node):
                raise TorchFileError(f"has a dict whose keys are not strings; use {_RESAVE}")
            pending.extend((f"{path}.{key}", node[key]) for key in reversed(node))
    raise TorchFileError(f"has more than {_MOST_VALUES} values; use {_RESAVE}")


def _decode_numbers(raw: bytes, storage: _Storage) -> np.ndarray:
    dtype = _STORED_DTYPES[storage.kind]
    if len(raw) < storage.length * dtype.itemsize:
        raise TorchFileError(f"its {storage.record!r:.40} has {len(raw)} bytes, too few: {storage}")
    stored = np.frombuffer(raw, dtype, count=storage.length)
    if storage.kind == "BFloat16Storage":
        return (stored.astype("<u4") << 16).view("<f4")
    return stored != 0 if storage.kind == "BoolStorage" else stored


def _copy_view(numbers: np.ndarray, tensor: _Tensor) -> np.ndarray:
    if 0 in tensor.size:
        return np.empty(tensor.size, numbers.dtype)
    # The step along an axis of length 1 is never taken, and may be too large for NumPy.
    steps = [step if n > 1 else 0 for n, step in zip(tensor.size, tensor.stride, strict=True)]
    start, *strides = (count * numbers.itemsize for count in (tensor.offset, *steps))
    # Unlike as_strided, this checks the bounds once more.
    view = np.ndarray(tensor.size, numbers.dtype, numbers, start, strides)
    return np.array(view, order="C")
