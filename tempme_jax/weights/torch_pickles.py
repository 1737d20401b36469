"""Read the pickle of a PyTorch file without running anything in it.

Names that describe tensors are known. Values of other kinds (a Namespace, a date, a scalar of
NumPy) become stand-ins, which are neither imported nor called. What can only be there to do harm,
such as a function of the standard library, is refused.
"""

import collections
import functools
import io
import math
import pickle
from typing import Any, NamedTuple

import numpy as np

from tempme_jax.weights.naming import MARKS
from tempme_jax.weights.torch_checks import StandIn, check_opcodes, may_stand_in

STORED_DTYPES = {
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

# Where a checkpoint of a training keeps its weights.
WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
MOST_DIMENSIONS = 32
# NumPy counts the bytes of an array in 63 bits, with an axis of length 0 as if it were 1.
MOST_ELEMENTS = (2**63 - 1) // 8
MOST_VALUES = 1_000_000
MOST_CLASSES = 100_000
LONGEST_NAME = 1024
RESAVE = "torch.save(model.state_dict(), path)"
DAMAGED = "truncated or damaged ({!r}); get the file again"


class TorchFileError(ValueError):
    """A PyTorch file that cannot be read: another format, damaged, or inconsistent in itself."""


class UnsafeFileError(TorchFileError):
    """A PyTorch file that asks for something other than tensors; nothing of it was run."""


class Storage(NamedTuple):
    """A record of numbers of one kind."""

    record: str
    kind: str
    length: int


class Tensor(NamedTuple):
    """A tensor as the pickle describes it; offset and stride count elements."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class Description(NamedTuple):
    """What the pickle of a PyTorch file describes.

    Attributes:
        tensors: descriptions of tensors by name.
        modules: names of the classes of a TorchScript archive.
        stand_ins: names of what became stand-ins.
        keys: keys of the outermost dict.
        taken: the one of them whose tensors these are; empty for all.
        others: those that hold a CLIP as well, such as averages over the training, and were passed
            over.
    """

    tensors: dict[str, Tensor]
    modules: frozenset[str] = frozenset()
    stand_ins: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    taken: str = ""
    others: tuple[str, ...] = ()


class _ScriptedModule:
    """A stand-in for every module class of a TorchScript archive."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _TensorUnpickler(pickle.Unpickler):
    """Unpickles descriptions of tensors, in the containers that hold them, and nothing else."""

    def __init__(self, pickled: bytes) -> None:
        super().__init__(io.BytesIO(pickled), encoding="utf-8")
        self.modules: set[str] = set()
        self.stand_ins: dict[str, type] = {}
        self.classes = 0

    def find_class(self, module: str, name: str) -> Any:
        wanted = f"{module}.{name}"
        self.classes += 1
        if self.classes > MOST_CLASSES:
            raise TorchFileError(f"refers to more than {MOST_CLASSES} names; use {RESAVE}")
        if wanted == "collections.OrderedDict":
            return collections.OrderedDict
        if module == "torch" and name in STORED_DTYPES:
            return name
        # Make a new class or function each time, as the pickle could alter a shared one.
        if wanted.startswith("__torch__."):
            self.modules.add(name)
            return type("ScriptedModule", (_ScriptedModule,), {})
        if wanted in _ADMITTED:
            return functools.partial(_ADMITTED[wanted])
        # PyTorch gives the dtypes that have no storage class of their own to _rebuild_tensor_v3.
        if module.startswith("torch") and name.endswith(("Storage", "_rebuild_tensor_v3")):
            raise TorchFileError(
                f"holds a tensor of an unknown dtype, by {wanted!a:.99}; known are "
                f"{', '.join(STORED_DTYPES)}. Convert it with PyTorch and use {RESAVE}"
            )
        if may_stand_in(module, name):
            if wanted not in self.stand_ins:
                self.stand_ins[wanted] = type("StandIn", (StandIn,), {})
            return self.stand_ins[wanted]
        raise UnsafeFileError(
            f"refused, as it refers to {wanted!a:.99}, which is not part of a tensor; nothing was "
            f"run. If you trust its author, load it with PyTorch and save the weights: {RESAVE}"
        )

    def persistent_load(self, identifier: Any) -> Storage:
        tag, kind, key, _, length = identifier
        strings = tag == "storage" and type(kind) is str and type(key) is str
        if not strings or kind not in STORED_DTYPES or not _is_count(length):
            raise TorchFileError("a storage needs a known kind, a name and a length of 0...2**60")
        return Storage(f"data/{key}", kind, length)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MOST_ELEMENTS


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *options: Any) -> Tensor:
    """Check a description of a tensor: every element must lie within its storage."""
    # The options are requires_grad, the hooks and, from PyTorch 2.0, signs still to be applied.
    if type(storage) is not Storage or any(options[2:]):
        raise TorchFileError(f"a tensor is not plain numbers in a storage; use {RESAVE}")
    if not all(map(_is_count, (offset, *size, *stride))) or len(size) != len(stride):
        raise TorchFileError("a tensor needs an offset, sizes and as many strides in 0...2**60")
    if len(size) > MOST_DIMENSIONS or math.prod(max(n, 1) for n in size) > MOST_ELEMENTS:
        raise TorchFileError(f"a tensor of size {size!r:.80} is too large for any array")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and last >= storage.length:
        raise TorchFileError(
            f"a tensor of size {size}, stride {stride} and offset {offset} reaches element {last} "
            f"of {storage.record!r:.40}, which has {storage.length}; get the file again"
        )
    return Tensor(storage, offset, tuple(size), tuple(stride))


def _rebuild_of_type(function: Any, _: Any, arguments: Any, *state: Any) -> Any:
    """Rebuild a tensor that has attributes, or is of a class of its own."""
    known = isinstance(function, functools.partial) and function.func in _REBUILD
    return function(*arguments) if known else None


_REBUILD = (_rebuild_tensor,)
_ADMITTED = {
    "collections.defaultdict": lambda *_: {},
    "torch._tensor._rebuild_from_type_v2": _rebuild_of_type,
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


def read_pickle(pickled: bytes) -> Description:
    """Read the pickle of a PyTorch file.

    Raises:
        UnsafeFileError: if it refers to something that only a file made to do harm asks for.
        TorchFileError: if it is damaged or inconsistent in itself.
    """
    try:
        problem = check_opcodes(pickled)
        if problem:
            raise TorchFileError(f"its data.pkl {problem}")
        unpickler = _TensorUnpickler(pickled)
        root = unpickler.load()
        part = _unwrap(root)
        tensors = _collect_tensors(part)
        taken, others = _list_models(root, part)
        keys = frozenset(map(str, root)) if isinstance(root, dict) else frozenset()
    except TorchFileError:
        raise
    # The documentation of pickle: broken data may raise any exception.
    except Exception as error:
        raise TorchFileError("its data.pkl is " + DAMAGED.format(error)) from error
    stand_ins = frozenset(unpickler.stand_ins)
    return Description(tensors, frozenset(unpickler.modules), stand_ins, keys, taken, others)


def _unwrap(root: Any) -> Any:
    if not isinstance(root, dict) or any(isinstance(root[key], Tensor) for key in root):
        return root
    wrapped = [root[key] for key in WRAPPERS if key in root and isinstance(root[key], dict)]
    if len(wrapped) > 1:  # the others may be settings
        wrapped = [part for part in wrapped if any(isinstance(v, Tensor) for v in part.values())]
    return wrapped[0] if len(wrapped) == 1 else root


def _list_models(root: Any, part: Any) -> tuple[str, tuple[str, ...]]:
    if part is root:
        return "", ()
    marks, known = tuple(MARKS.values()), {}

    def is_model(value: Any, deeper: int) -> bool:
        if not isinstance(value, dict):
            return False
        if id(value) not in known:  # a pickle can hold one dict in many places, and in itself
            known[id(value)] = False
            known[id(value)] = any(
                (isinstance(key, str) and key.endswith(marks)) or (deeper and is_model(inner, 0))
                for key, inner in value.items()
            )
        return known[id(value)]

    taken = next(key for key in root if root[key] is part)
    others = [key for key in root if root[key] is not part and is_model(root[key], 1)]
    return str(taken), tuple(map(str, others))


def _collect_tensors(root: Any) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    pending = [("", root)]
    # Values are counted and names limited, as a pickle can make a container hold itself.
    for _ in range(MOST_VALUES):
        if not pending:
            return found
        path, node = pending.pop()
        name = path.removeprefix(".")
        if len(name) > LONGEST_NAME or name in found:
            raise TorchFileError(f"the name {name!r:.80} is there twice or is far too long")
        if isinstance(node, _ScriptedModule):
            node = node.state
        if isinstance(node, Tensor):
            found[name] = node
        elif isinstance(node, list | tuple):
            pending.extend((f"{path}.{i}", node[i]) for i in reversed(range(len(node))))
        elif isinstance(node, dict):
            if any(isinstance(v, Tensor) for k, v in node.items() if not isinstance(k, str | int)):
                raise TorchFileError(f"has a dict whose keys are not strings; use {RESAVE}")
            keys = [key for key in node if isinstance(key, str | int)]
            pending.extend((f"{path}.{key}", node[key]) for key in reversed(keys))
    raise TorchFileError(f"has more than {MOST_VALUES} values; use {RESAVE}")
