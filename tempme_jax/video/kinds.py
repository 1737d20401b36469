"""What a file is by its content, where it is no video or none that can be decoded.

At most some kilobytes are read, and nothing in them is run.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from tempme_jax.video.errors import VideoError
from tempme_jax.video.opening import open_descriptor
from tempme_jax.video.protection import find_codecs, find_damage, find_encryption
from tempme_jax.video.suffixes import AMBIGUOUS_SUFFIXES

# Bytes that are read of the head of a file; the marks of all kinds lie within.
HEAD = 40 * 2**10
# Bytes of unknown formats that are shown.
SHOWN = 8


class Content(NamedTuple):
    """The content of a file.

    Attributes:
        reason: why no frames can be read from it, in a few words.
        kind: what files of its kind are called if they are something else than videos, one of
            KINDS; "" if it is a damaged video, or of an unknown format.
    """

    reason: str
    kind: str = ""


AUDIO, PICTURE, SOURCE, TEXT, ARCHIVE, OTHER = KINDS = (
    "music or other audio",
    "still pictures",
    "source code",
    "text",
    "archives",
    "other data",
)

TRACKERS = b"M.K. M!K! M&K! FLT4 FLT8 4CHN 6CHN 8CHN CD81".split()

# Offset, bytes, kind, and name of the format. The first that fits is taken.
_MARKS: list[tuple[int, bytes, str, str]] = [
    (0, b"\xff\xd8\xff", PICTURE, "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", PICTURE, "PNG"),
    (0, b"GIF87a", PICTURE, "GIF"),
    (0, b"GIF89a", PICTURE, "GIF"),
    (8, b"WEBP", PICTURE, "WebP"),
    (0, b"II*\0", PICTURE, "TIFF or raw"),
    (0, b"MM\0*", PICTURE, "TIFF or raw"),
    (0, b"8BPS", PICTURE, "Photoshop"),
    (0, b"\0\0\0\x0cJXL \r\n", PICTURE, "JPEG XL"),
    (0, b"\0\0\0\x0cjP  \r\n", PICTURE, "JPEG 2000"),
    (0, b"ID3", AUDIO, "MP3"),
    *((0, b"\xff" + sync, AUDIO, "MP3") for sync in (b"\xfb", b"\xfa", b"\xf3", b"\xf2", b"\xe3")),
    *((0, b"\xff" + sync, AUDIO, "AAC") for sync in (b"\xf1", b"\xf9")),
    (0, b"fLaC", AUDIO, "FLAC"),
    (8, b"WAVE", AUDIO, "WAV"),
    (8, b"AIF", AUDIO, "AIFF"),
    (0, b"#!AMR", AUDIO, "AMR"),
    (0, b"MThd", AUDIO, "MIDI"),
    (0, b"MAC ", AUDIO, "Monkey's Audio"),
    (0, b"wvpk", AUDIO, "WavPack"),
    (0, b"caff", AUDIO, "Core Audio"),
    (0, b".snd", AUDIO, "Sun audio"),
    (0, b".ra\xfd", AUDIO, "RealAudio"),
    *((1080, mark, AUDIO, "a tracker module") for mark in TRACKERS),
    (0, b"Extended Module", AUDIO, "a tracker module"),
    (0, b"IMPM", AUDIO, "a tracker module"),
    (44, b"SCRM", AUDIO, "a tracker module"),
    (0, b"PK\3\4", ARCHIVE, "zip"),
    (0, b"PK\5\6", ARCHIVE, "zip"),
    (0, b"Rar!\x1a\7", ARCHIVE, "rar"),
    (0, b"7z\xbc\xaf\x27\x1c", ARCHIVE, "7z"),
    (0, b"\x1f\x8b", ARCHIVE, "gzip"),
    (0, b"BZh", ARCHIVE, "bzip2"),
    (0, b"\xfd7zXZ\0", ARCHIVE, "xz"),
    (0, b"\x28\xb5\x2f\xfd", ARCHIVE, "zstd"),
    (257, b"ustar", ARCHIVE, "tar"),
    (32769, b"CD001", ARCHIVE, "a disc image"),
    (0, b"%PDF-", OTHER, "a PDF document"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OTHER, "an office document"),
    (0, b"SQLite format 3\0", OTHER, "an SQLite database"),
    (0, b"bplist00", OTHER, "a property list"),
    (0, b"\x7fELF", OTHER, "a program"),
    (0, b"MZ", OTHER, "a program"),
    (0, b"\0\5\x16\7", OTHER, "what macOS keeps beside a file (AppleDouble)"),
]

# Formats of videos: offset, bytes, name. A file of one that is read is damaged.
_READ: list[tuple[int, bytes, str]] = [
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
    *((4, box, "MP4 or QuickTime") for box in (b"ftyp", b"moov", b"mdat", b"wide", b"free")),
    (8, b"AVI ", "AVI"),
    (0, b"\x30\x26\xb2\x75", "Windows Media"),
    (0, b"FLV", "Flash Video"),
    (0, b"OggS", "Ogg"),
    (0, b".RMF", "RealMedia"),
    (0, b"\0\0\1\xba", "MPEG"),
]
_NOT_READ: list[tuple[int, bytes, str]] = [
    *((0, mark, "a Flash program") for mark in (b"FWS", b"CWS", b"ZWS")),
    (8, b"CDXA", "a track of a Video CD"),
    (4, b"RED1", "RED"),
    (4, b"RED2", "RED"),
    (0, b"MLVI", "Magic Lantern"),
    (0, b"nut/multimedia", "NUT"),
    (0, b"BIK", "Bink"),
    (0, b"SMK", "Smacker"),
    (0, b"NSV", "Nullsoft Video"),
]

# What a text is by its first words, in lower case. What stands for a missing video has no kind.
_TEXTS: list[tuple[str, str, str]] = [
    (r"<!doctype ts|<\?xml[^>]*>\s*(<!doctype ts|<ts\b)", SOURCE, "a translation of Qt"),
    (r"#extm3u|ffconcat|\[playlist\]|<asx|<smil|rtsp://|v=0\s", TEXT, "a play list"),
    (r"(<\?xml[^>]*>\s*(<!--.*?-->\s*)?)?<mpd\b", TEXT, "a play list"),
    (r"(<!--.*?-->\s*)?<(!doctype html|html|head)\b", "", "a web page, as of failed downloads"),
    (r"version https://git-lfs|\S*/annex/objects/", "", "a pointer of Git to the file itself"),
    (r"d\d+:announce", OTHER, "a torrent without its files"),
    (r"webvtt|\d+\s+\d\d:\d\d:\d\d,\d\d\d -->", TEXT, "subtitles"),
    (r"\{|\[\s*[\[{\"\d]", TEXT, "text, as JSON or an error message"),
    (r"<\?xml|<", TEXT, "text, as XML"),
]  # fmt: skip

# Suffixes that text has when it is part of a program.
_SOURCES = frozenset({".ts", ".mts", ".mod", ".mp"})


def describe_content(path: str) -> Content:
    """Say what a file is that libav cannot open as a video."""
    with open_bytes(path) as file:
        head, size = _read_head(file)
        suffix = os.path.splitext(path)[1].lower()
        if not size:
            return Content("an empty file")
        for find in (_find_mark, _find_text):
            found = find(head, suffix)
            if found:
                return found
        damage = find_damage(file, head, size)
        if damage:
            return Content(damage)
        if not any(head[:4096]):
            return Content(_describe_zeros(file, size))
    for offset, mark, name in _READ:
        if head.startswith(mark, offset):
            return Content(f"damaged (it begins as {name}, and cannot be read further)")
    for offset, mark, name in _NOT_READ:
        if head.startswith(mark, offset):
            return Content(f"of a format that is not read ({name})")
        shown = head[:SHOWN].hex(" ")
    return Content(f"not a video (of an unknown format; it begins with {shown})")


def explain_no_frame(path: str) -> str:
    """Say why no frame of a file can be decoded, though libav opens it; "" if that is not known."""
    with open_bytes(path) as file:
        return find_damage(file, *_read_head(file))


def explain_no_decoder(path: str) -> str:
    """Say why there is no decoder for a file: for which codec, if the file is whole."""
    with open_bytes(path) as file:
        head, size = _read_head(file)
        damage = find_damage(file, head, size)
        if damage:
            return damage
        names = find_codecs(file, head, size)
    return f"its codec cannot be decoded ({', '.join(names) or 'unknown to libav'})"


def check_encryption(path: str) -> None:
    """Raise a VideoError for an encrypted video; some of its frames might decode to noise."""
    with open_bytes(path) as file:
        found = find_encryption(file, *_read_head(file))
    if found:
        raise VideoError(path, found)


@contextlib.contextmanager
def open_bytes(path: str) -> Iterator[BinaryIO]:
    """Open a file for reading: the one that is held, if it is, or a regular one.

    Raises:
        VideoError: it cannot be opened or read.
    """
    with open(open_descriptor(path), "rb") as file:
        try:
            yield file
        except OSError as error:
            raise VideoError(path, f"cannot be read ({error.strerror})") from error


def _read_head(file: BinaryIO) -> tuple[bytes, int]:
    """Return the first bytes of a file, and its size."""
    return file.read(HEAD), os.fstat(file.fileno()).st_size


def is_passed_over(path: str | bytes, kind: str) -> bool:
    """Return whether a file is simply something else than a video, not one that is broken.

    That is audio under any name, and another kind of file if it may well have the suffix.
    """
    suffix = os.fsdecode(os.path.splitext(path)[1]).lower()
    return kind == AUDIO or (bool(kind) and suffix in AMBIGUOUS_SUFFIXES)


def _find_mark(head: bytes, suffix: str) -> Content | None:
    for offset, mark, kind, name in _MARKS:
        if head.startswith(mark, offset):
            words = {AUDIO: f"audio only, {name}", PICTURE: f"a picture, {name}"}
            words[ARCHIVE] = f"an archive, {name}"
            return Content(f"not a video ({words.get(kind, name)})", kind)
    return None


def _find_text(head: bytes, suffix: str) -> Content | None:
    text = _decode_text(head)
    if text is None:
        return None
    start = text.lstrip("\ufeff \t\r\n").lower()
    matches = (
        (kind, name) for pattern, kind, name in _TEXTS if re.match(pattern, start, re.DOTALL)
    )
    kind, name = next(matches, (TEXT, "text"))
    if kind == TEXT and suffix in _SOURCES:
        kind, name = SOURCE, "text, as of a program"
    return Content(f"not a video ({name})", kind)


def _decode_text(head: bytes) -> str | None:
    """Return the text that a file begins with; None if it is none."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = head[: len(head) // 2 * 2].decode("utf-16", errors="replace")
    elif b"\0" in head:
        return None
    else:
        text = head.decode("utf-8", errors="replace")
        # A few letters may be of another encoding, and the last may be cut.
        if text.count("\ufffd") > len(text) // 8 + 1:
            return None
    controls = sum(each < " " and each not in "\t\n\r\f\x1b" for each in text)
    return text if text.strip() and controls <= len(text) // 100 else None


def _describe_zeros(file: BinaryIO, size: int) -> str:
    """Describe a file that begins with zeros, by samples of the rest."""
    for part in range(1, 17):
        file.seek(max(0, size * part // 16 - 4096))
        if any(file.read(4096)):
            return "cut short (it begins with zeros, as in an unfinished download)"
    return "only zeros, as in a file that a download or a copy has not filled"
