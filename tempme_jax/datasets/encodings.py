"""Decode annotation files; name the likely encoding of those that are neither UTF-8 nor marked."""

import codecs
import pathlib
import re
import shlex
import statistics

from tempme_jax.datasets.annotations import make_error
from tempme_jax.datasets.base import AnnotationError

# Encodings of text files that begin with a byte order mark; Excel's "Unicode text" is UTF-16.
# The marks of UTF-32 come first: that of UTF-16 is the beginning of one of them.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# What old programs write in Western Europe and America; other regions have other code pages.
_CODE_PAGE = "Windows-1252"
_MOST_IN_A_ROW = 2
# Characters around a wrong one that are shown.
_SHOWN = 12


def decode_text(file: pathlib.Path, data: bytes) -> str:
    """Decode a text file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    Raises:
        AnnotationError: it has another encoding. The message names the likely one.
    """
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding.startswith("utf-8"):
            raise _explain_bytes(file, data, error.start) from error
        advice = "it is damaged or cut off; get it again, or save it as UTF-8"
        raise make_error(
            file, f"is {encoding.upper()} text but for some bytes", "", advice
        ) from error
    if encoding != "utf-8":
        return text
    if error := _explain_zeros(file, data):
        raise error
    return text


def _explain_zeros(file: pathlib.Path, data: bytes) -> AnnotationError | None:
    """Explain zero bytes, which stand beside every Latin letter in UTF-16 and UTF-32."""
    if b"\0" not in data:
        return None
    for encoding in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        # Read in the wrong order, the ends of lines become other letters.
        if "\0" not in text and re.search("[\n\r,;\t]", text):
            name = encoding.upper()
            problem = f"is probably {name} without a byte order mark"
            return make_error(file, problem, "", _advise(file, name[:6] + name[7:]))
    return None


def _explain_bytes(file: pathlib.Path, data: bytes, start: int) -> AnnotationError:
    """Explain the byte at `start`, the first that is not UTF-8."""
    if explained := _explain_zeros(file, data):
        return explained
    number = 1 + data.count(b"\n", 0, start)
    line = f"line {number}"
    text = data.decode("utf-8", "replace")
    wrong, beyond_ascii = text.count("\ufffd"), sum(letter > "\x7f" for letter in text)
    if beyond_ascii > 2 * wrong:  # most of these letters are UTF-8
        return make_error(
            file, "is UTF-8 text but for some bytes", line, "it is damaged or cut off; get it again"
        )
    first = data.rfind(b"\n", 0, start) + 1
    around = data[max(first, start - _SHOWN) : start + _SHOWN].splitlines()[0]
    try:
        # In Western words, few letters in a row are beyond ASCII; in others, all are.
        runs = re.findall(rb"[\x80-\xff]+", data)
        is_western = statistics.median(map(len, runs)) <= _MOST_IN_A_ROW and data.decode("cp1252")
    except UnicodeDecodeError:
        is_western = False
    if not is_western:
        problem = "is not UTF-8 text, but in an older encoding, such as GB18030 or Windows-1251"
        return make_error(file, problem, line, _advise(file, "ENCODING"))
    shown = around.decode("cp1252")
    problem = f"is not UTF-8 text, but probably {_CODE_PAGE}, in which this line has {shown!r}"
    return make_error(file, problem, line, _advise(file, _CODE_PAGE.upper()))


def _advise(file: pathlib.Path, encoding: str) -> str:
    """Advise how to convert a file to UTF-8."""
    name = shlex.quote(str(file))
    return (
        f"save it as UTF-8 (in Excel: CSV UTF-8), or convert it: iconv -f {encoding} -t UTF-8 "
        f"{name} > NEW && mv NEW {name}"
    )
