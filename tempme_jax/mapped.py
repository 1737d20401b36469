"""Safetensors files mapped into memory: an array is read from the disk where it is looked at."""

import json
import mmap
import os

import numpy as np
import safetensors

# The dtypes that NumPy has, by the names in a file.
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U8": "u1", "BOOL": "?",
}  # fmt: skip


def map_arrays(file: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the arrays of a safetensors file, read-only, and its metadata.

    Arrays of dtypes that NumPy lacks are copied. The file must not be changed in place while the
    arrays are used; one that is replaced by another does no harm.

    Raises:
        OSError: the file cannot be read.
        safetensors.SafetensorError: it is damaged.
        AttributeError, TypeError: it holds a dtype that is not known.
    """
    with safetensors.safe_open(file, "numpy") as opened, open(file, "rb") as raw:
        names = list(opened.keys())  # the header was checked, and the length of the file
        data = mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ)
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        arrays = {}
        for name in names:
            about = header[name]
            start, end = about["data_offsets"]
            dtype = np.dtype(DTYPES.get(about["dtype"], "V0"))
            if not dtype.itemsize:
                arrays[name] = opened.get_tensor(name)
                continue
            count, offset = (end - start) // dtype.itemsize, 8 + size + start
            array = np.frombuffer(data, dtype, count, offset) if count else np.empty(0, dtype)
            arrays[name] = array.reshape(about["shape"])
        return arrays, opened.metadata() or {}
