"""The metadata of an ONNX file, read without its graph, which may be large."""

import os
from typing import BinaryIO

# The numbers of fields of an ONNX ModelProto and of its StringStringEntryProto.
METADATA_PROPS, KEY, VALUE = 14, 1, 2
# Wire types of protocol buffers: whole numbers, 8 bytes, bytes with their length, 4 bytes.
VARINT, FIXED_8, BYTES, FIXED_4 = 0, 1, 2, 5
LONGEST = 10  # bytes of a number


def read_metadata(file: str | os.PathLike) -> dict[str, str]:
    """Return the metadata of an ONNX file.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is not an ONNX file, or is cut off.
    """
    found = {}
    with open(file, "rb") as opened:
        size = os.fstat(opened.fileno()).st_size
        if not size:
            raise ValueError(f"{file} is empty")
        while opened.tell() < size:
            number, kind = divmod(read_number(opened), 8)
            if kind == VARINT:
                read_number(opened)
                continue
            sizes = {FIXED_8: 8, FIXED_4: 4}
            length = read_number(opened) if kind == BYTES else sizes.get(kind, size + 1)
            end = opened.tell() + length
            if end > size:
                raise ValueError(f"{file} is not an ONNX file, or is cut off")
            if number == METADATA_PROPS:
                key, value = read_entry(opened, end)
                found[key] = value
            opened.seek(end)
    return found


def read_entry(opened: BinaryIO, end: int) -> tuple[str, str]:
    """Return the key and the value of an entry."""
    texts = {KEY: "", VALUE: ""}
    while opened.tell() < end:
        number = read_number(opened) // 8
        texts[number] = opened.read(read_number(opened)).decode()
    return texts[KEY], texts[VALUE]


def read_number(opened: BinaryIO) -> int:
    """Return a whole number of a protocol buffer: seven bits a byte, the lowest first."""
    number = 0
    for place in range(LONGEST):
        byte = opened.read(1)
        if not byte:
            break
        number |= (byte[0] & 127) << (7 * place)
        if byte[0] < 128:
            return number
    raise ValueError(f"{opened.name} is not an ONNX file, or is cut off")
