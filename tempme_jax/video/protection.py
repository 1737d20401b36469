"""Find out why a video cannot be decoded: it is encrypted, or a part of it is missing."""

import re
from collections.abc import Iterator
from typing import BinaryIO

# How many boxes of an MP4 file are looked at. Fragmented files have one or two a second.
MOST_BOXES = 100_000

_PROTECTED = {
    b"encv": "encrypted (common encryption, as of streaming services)",
    b"drmi": "encrypted (FairPlay, as of Apple's store)",
}
# The three objects of ASF that say that a file is encrypted.
_ASF_ENCRYPTION = re.compile(
    rb"\xfb\xb3\x11\x22\x23\xbd\xd2\x11\xb4\xb7\x00\xa0\xc9\x55\xfc\x6e"
    rb"|\x14\xe6\x8a\x29\x22\x26\x17\x4c\xb9\x35\xda\xe0\x7e\xe9\x28\x9c"
    rb"|\x33\x85\x05\x43\x81\x69\xe6\x49\x9b\x74\xad\x12\xcb\x86\xd5\x8c"
)
_ASF = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"
_EBML, _CLUSTER = b"\x1a\x45\xdf\xa3", b"\x1f\x43\xb6\x75"
# ContentEncodings, ContentEncoding and ContentEncryption in one another.
_EBML_ENCRYPTION = re.compile(rb"\x6d\x80.{1,32}\x62\x40.{1,32}\x50\x35", re.DOTALL)
_TOP_BOXES = frozenset(
    {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"styp", b"pnot", b"uuid"}
)
_FOLDERS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl"})


def find_damage(file: BinaryIO, head: bytes, size: int) -> str:
    """Say why the video in a file cannot be decoded, in a few words; "" if that is not known.

    Args:
        file: the file, open.
        head: its first bytes.
        size: its size in bytes.
    """
    encryption = find_encryption(file, head, size)
    if encryption:
        return encryption
    if head[4:8] in _TOP_BOXES:
        return _find_missing_boxes(file, size)
    if head.startswith(_EBML) and len(head) == size and _CLUSTER not in head:
        return "cut short (it has no frames, as in an unfinished download or recording)"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        if int.from_bytes(head[4:8], "little") + 8 > size:
            return f"cut short ({size} bytes of {int.from_bytes(head[4:8], 'little') + 8})"
    return ""


def find_encryption(file: BinaryIO, head: bytes, size: int) -> str:
    """Say how the video in a file is encrypted; "" if it is not, or that is not known."""
    if head[4:8] in _TOP_BOXES:
        kinds = (kind for kind in _list_entries(file, size) if kind in _PROTECTED)
        return next((_PROTECTED[kind] for kind in kinds), "")
    if head.startswith(_ASF):
        return "encrypted (Windows Media DRM)" if _ASF_ENCRYPTION.search(head) else ""
    if head.startswith(_EBML):
        return "encrypted (in Matroska's way)" if _EBML_ENCRYPTION.search(head) else ""
    for length in (188, 192):  # packets of MPEG-TS, and those with a time before each
        packets = [head[i:] for i in range(length - 188, len(head) - 4, length)]
        if len(packets) > 4 and all(packet[0] == 0x47 for packet in packets):
            scrambled = sum(packet[3] & 0xC0 != 0 for packet in packets)
            return "encrypted (a scrambled broadcast)" if scrambled > len(packets) // 2 else ""
    if head.startswith(b"\0\0\1\xba"):  # sectors of a DVD
        sectors = [head[i : i + 32] for i in range(0, len(head) - 31, 2048)]
        pictures = [each[20] for each in sectors if each[14:18] == b"\0\0\1\xe0"]
        if any(flags & 0xC0 == 0x80 and flags & 0x30 for flags in pictures):
            return "encrypted (a copy-protected DVD)"
    return ""


def find_codecs(file: BinaryIO, head: bytes, size: int) -> list[str]:
    """Return the names that a file gives to its codecs; none if it is not known where."""
    if head[4:8] in _TOP_BOXES:
        names = list(_list_entries(file, size))
    elif head.startswith(_EBML):
        names = re.findall(rb"\x86[\x81-\xbf](V_[\w/]+)", head)
    else:
        names = re.findall(rb"(?:vids|VIDO)(\w{4})", head)
    return [name.decode("latin-1") for name in dict.fromkeys(names) if name.isascii()]


def _list_entries(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the kinds of all sample entries of an MP4 file, which name its codecs."""
    index = entries = range(0)
    for kind, start, end in _walk_boxes(file, 0, size):
        if start in entries:
            yield kind
        elif kind == b"moov":
            index = range(start, end)
        elif kind == b"stsd":
            entries = range(start, end)
        elif index and start >= index.stop:
            return


def _walk_boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind, start and end of the boxes of an MP4 file, and of those of its tracks.

    Sample entries, which name the codec or the encryption, are among them.
    """
    waiting = [(start, end)]
    for _ in range(MOST_BOXES):
        while waiting and waiting[-1][0] + 8 > waiting[-1][1]:
            waiting.pop()
        if not waiting:
            return
        place, limit = waiting[-1]
        file.seek(place)
        header = file.read(16)
        if len(header) < 8:
            return
        length, kind, skip = int.from_bytes(header[:4]), header[4:8], 8
        if length == 1:
            length, skip = int.from_bytes(header[8:16]), 16
        length = limit - place if length == 0 else length
        if length < skip:
            return
        yield kind, place, place + length
        waiting[-1] = (place + length, limit)
        if kind in _FOLDERS:
            waiting.append((place + skip, min(place + length, limit)))
        elif kind == b"stsd":
            waiting.append((place + skip + 8, min(place + length, limit)))


def _find_missing_boxes(file: BinaryIO, size: int) -> str:
    """Say which part of an MP4 file is missing; "" if none is."""
    kinds, last = set(), 0
    for kind, start, end in _walk_boxes(file, 0, size):
        kinds.add(kind)
        if start >= last:  # not within another one
            last = end
    if b"moov" not in kinds:
        return "cut short (its index, moov, is missing, as in an unfinished download or recording)"
    if last > size:
        return f"cut short ({size} bytes of at least {last})"
    if not kinds & {b"mdat", b"moof"}:
        return "cut short (it has no frames, as in an unfinished download or recording)"
    return ""
