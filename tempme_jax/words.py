"""Numbers, times and names in words for people."""

import os
import re
import unicodedata

_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?)")


def name_program() -> str:
    """Return how the user calls the command: as tempme, or through run.sh, which says so."""
    return os.environ.get("TEMPME_PROGRAM", "tempme")


def pluralize(count: int, word: str) -> str:
    """Return a number and its noun, in the plural if need be.

    >>> pluralize(1, "patch"), pluralize(2, "patch"), pluralize(0, "video")
    ('1 patch', '2 patches', '0 videos')
    """
    ending = "" if count == 1 else "es" if word.endswith("ch") else "s"
    return f"{count} {word}{ending}"


def format_clock(seconds: float, *, tenths: bool = False) -> str:
    """Format seconds as on a clock: rounded, or cut to tenths, which are left out if zero.

    >>> format_clock(62.6), format_clock(3723), format_clock(7.25, tenths=True)
    ('1:03', '1:02:03', '0:07.2')
    """
    whole = int(seconds) if tenths else round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    tenth = int(10 * (seconds - whole)) if tenths else 0
    tail = f":{rest:02d}" + (f".{tenth}" if tenth else "")
    return f"{hours}:{minutes:02d}{tail}" if hours else f"{minutes}{tail}"


def parse_clock(text: str) -> float:
    """Convert a time as on a clock, or in seconds, to seconds.

    >>> parse_clock("1:02:03.5"), parse_clock("2:30"), parse_clock("90")
    (3723.5, 150.0, 90.0)

    Raises:
        ValueError: the text is no such time.
    """
    found = _CLOCK.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is not a time; write it in seconds, or like 1:30 or 1:02:03.5")
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return 3600 * hours + 60 * minutes + seconds


def format_duration(seconds: float) -> str:
    """Format a length of time, rounded, in its largest unit.

    >>> format_duration(45), format_duration(700), format_duration(12600)
    ('45 s', '12 min', '3.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def format_size(size: float) -> str:
    """Format a number of bytes in its largest unit, counted in thousands.

    >>> format_size(512), format_size(1_234_567), format_size(2.5e10)
    ('512 bytes', '1.2 MB', '25 GB')
    """
    units = ["bytes", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        del units[0]
    is_short = size < 10 and units[0] != "bytes"
    return f"{size:.1f} {units[0]}" if is_short else f"{size:.0f} {units[0]}"


def printable_name(path: bytes) -> str:
    """Return a name to print, which does nothing to the terminal.

    Undecodable bytes, control characters, line breaks and changes of the direction of writing
    each become U+FFFD.
    """
    text = path.decode(errors="replace")
    return "".join(
        letter if _is_harmless(letter) else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def _is_harmless(letter: str) -> bool:
    if unicodedata.category(letter) in ("Cc", "Zl", "Zp"):
        return False
    # An override such as U+202E makes "gpj.4pm" of a name; joiners and marks change nothing.
    directions = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    return unicodedata.bidirectional(letter) not in directions
