"""Files of PyTorch, written by hand: their zip archives and pickles, also hostile ones."""

import pickle
import struct
import zipfile
from collections import namedtuple

import numpy as np

# Things that a pickle can ask for: a function by its name, a call of it, a record of the archive,
# and a module of a TorchScript archive.
Global = namedtuple("Global", "module name")
Call = namedtuple("Call", "function arguments")
Stored = namedtuple("Stored", "identifier")
Module = namedtuple("Module", "cls state")


def opcodes(value) -> bytes:
    """Return the opcodes of a pickle (protocol 2, without memo) that make `value`."""
    match value:
        case Global(module, name):
            return f"c{module}\n{name}\n".encode()
        case Call(function, arguments):
            return opcodes(function) + opcodes(tuple(arguments)) + b"R"
        case Stored(identifier):
            return opcodes(tuple(identifier)) + b"Q"
        case Module(cls, state):
            return opcodes(cls) + b")\x81" + opcodes(state) + b"b"
        case dict():
            return b"}(" + b"".join(opcodes(k) + opcodes(v) for k, v in value.items()) + b"u"
        case list() | tuple():
            start, end = (b"](", b"e") if isinstance(value, list) else (b"(", b"t")
            return start + b"".join(map(opcodes, value)) + end
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    return pickle.dumps(value, protocol=2)[2:-1]


REBUILD = Global("torch._utils", "_rebuild_tensor_v2")
SIX = np.arange(6, dtype="<f4").tobytes()


def tensor(size, stride, offset=0, key="0", kind="FloatStorage", length=6, metadata=None):
    storage = Stored(("storage", Global("torch", kind), key, "cpu", length))
    hooks = Call(Global("collections", "OrderedDict"), ())
    return Call(REBUILD, (storage, offset, size, stride, False, hooks, metadata))


T = tensor((6,), (1,))


def write(path, data, storage=SIX, compressed=None, **records):
    """Write a torch file of one storage; `data` are the values or the pickle itself."""
    data = data if isinstance(data, bytes) else b"\x80\x02" + opcodes(data) + b"."
    with zipfile.ZipFile(path, "w") as archive:
        for name, record in {"data.pkl": data, "data/0": storage, **records}.items():
            method = zipfile.ZIP_DEFLATED if name == compressed else zipfile.ZIP_STORED
            archive.writestr(f"archive/{name}", record, compress_type=method)
    return path


def write_arrays(path, arrays):
    """Write arrays, by name, as torch.save writes a checkpoint."""
    kinds = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage"}
    described, records = {}, {}
    for key, (name, array) in enumerate(arrays.items()):
        stride = tuple(step // array.itemsize for step in array.strides)
        kind = kinds[str(array.dtype)]
        described[name] = tensor(array.shape, stride, 0, str(key), kind, array.size)
        records[f"data/{key}"] = array.tobytes()
    return write(path, {"state_dict": described, "epoch": 3}, **records)


class Evil(namedtuple("Evil", "function argument")):
    def __reduce__(self):
        return self.function, (self.argument,)
