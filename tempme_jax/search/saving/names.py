"""Names of saved moments, which are safe on every system and tell the moment."""

import hashlib
import os
import re
import unicodedata
from pathlib import Path

# Letters that Windows, or a shell, takes for something else; and all that are not seen.
_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
# Names that Windows keeps for devices, also with a suffix.
_DEVICES = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{name}{n}" for name in ("com", "lpt") for n in range(10)),
}
# Bytes of a video's name that are kept: file systems take 255 for the whole.
MOST_BYTES = 120


def name_part(file: Path, start: float, end: float, *, mark: str = "") -> str:
    """Return the name of the mp4 file of a part of a video.

    Args:
        file: path of the video.
        start: start of the part in seconds.
        end: end of the part in seconds.
        mark: what tells videos of the same name apart, such as the first digits of an id.

    >>> name_part(Path("/videos/cat: a film?.mkv"), 65.0, 77.5)
    'cat a film 1m05s-1m17.5s.mp4'
    """
    times = f"{format_time(start)}-{format_time(end)}"
    return " ".join(filter(None, [clean_stem(file.stem), times, mark])) + ".mp4"


def clean_stem(stem: str) -> str:
    """Return a name, without its suffix, that every system takes; "video" if nothing is left."""
    # Bytes that are no text, and letters that are not seen or change the direction, are left out.
    text = os.fsencode(stem).decode(errors="ignore")
    text = unicodedata.normalize("NFC", _UNSAFE.sub(" ", text))
    text = "".join(letter for letter in text if unicodedata.category(letter)[0] != "C")
    text = text.encode()[:MOST_BYTES].decode(errors="ignore")
    text = " ".join(text.split()).strip(" .-~")
    return f"{text}_" if text.lower() in _DEVICES else text or "video"


def format_time(seconds: float) -> str:
    """Format seconds for a file's name; tenths are cut, and left out if zero.

    >>> format_time(5), format_time(65.25), format_time(3725)
    ('0m05s', '1m05.2s', '1h02m05s')
    """
    tenths = int(seconds * 10 + 1e-6)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    whole, tenth = divmod(rest, 10)
    tail = f"{whole:02d}" + (f".{tenth}" if tenth else "")
    return f"{hours}h{minutes:02d}m{tail}s" if hours else f"{minutes}m{tail}s"


def make_mark(window: str, start: float, end: float) -> str:
    """Return six digits that tell a moment from those of other videos with the same name."""
    content = window.rpartition("-")[0]
    return hashlib.sha256(f"{content} {start!r} {end!r}".encode()).hexdigest()[:6]
