"""Read subtitles: files of text beside a video, and text tracks in it.

libav reads all formats, so this runs in child processes, as everything that opens untrusted files.
What it finds is plain text: marks of style, drawings and lines that only roll on are left out.
"""

import contextlib
import dataclasses
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import av
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import AssSubtitle

from tempme_jax.video.container import VideoError, convert_errors, open_video
from tempme_jax.video.opening import FileState, HeldFile, hold_file
from tempme_jax.video.progress import report_progress
from tempme_jax.video.suffixes import SUBTITLE_FORMATS

# The codecs of tracks of text; others hold pictures of text.
TEXT_CODECS = frozenset({"subrip", "srt", "mov_text", "webvtt", "ass", "ssa", "text"})
# A film of three hours has about 3,000 lines, 150 kB; effects of fans make some larger.
MOST_BYTES, MOST_LINES, MOST_LETTERS = 20 * 2**20, 100_000, 5_000_000
# So much of a file of an old encoding is enough to tell which one it is.
SAMPLE = 200_000
# A file of UTF-8 that was cut or damaged has fewer broken letters than this share of its other ones
# beyond ASCII; in text of an old encoding most are broken.
MOST_BROKEN = 0.25
# Seconds: how long a line is shown that has no end, and between lines that follow each other.
NO_END, TOUCHING = 3.0, 0.1
# Seconds: after a longer pause another one speaks of something else.
LONGEST_PAUSE = 5.0
_BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
# If more than this share of every other byte is zero, the others are letters of UTF-16.
MOSTLY, UTF_16 = 0.5, ("utf-16-be", "utf-16-le")
_DRAWING = re.compile(r"\{[^{}]*\\p[1-9]")
_MARKS = re.compile(r"\{[^{}]*\}|</?[A-Za-z][^<>\n]{0,200}>")
# Letters of Persian and of India, and emoji, are joined or parted by these, which do not print.
_JOINERS = "\u200c\u200d"


class Line(NamedTuple):
    """What is said or shown as text at one time: start and end in seconds, and the text."""

    start: float
    end: float
    text: str


class TextTrack(NamedTuple):
    """A file of subtitles, or a track of text in a video.

    Attributes:
        number: its number among all tracks of subtitles of a video, from 1; 0 of a file.
        language: language of a track as the video states it; "" if it does not.
        lines: what it holds, by their start.
        reason: why it cannot be read; "" if it can.
    """

    number: int
    language: str
    lines: list[Line]
    reason: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SubtitleRequest:
    """A file to read subtitles from; `file`, `root` and `state` are those of `hold_file`.

    Attributes:
        in_video: whether it is a video, with tracks in it.
        key: what the caller calls it.
    """

    file: str
    root: str | None = None
    state: FileState | None = None
    in_video: bool = False
    key: Any = None


def read_subtitles(request: SubtitleRequest) -> list[TextTrack]:
    """Read the tracks of text of a video, or a file of subtitles as one track.

    Raises:
        VideoError: the file cannot be read.
    """
    with hold_file(request.file, root=request.root, state=request.state) as held:
        if request.in_video:
            return read_text_tracks(held.path)
        return [TextTrack(0, "", read_subtitle_file(held))]


def read_subtitle_file(held: HeldFile) -> list[Line]:
    """Read a file of subtitles; lines are sorted by their start.

    Raises:
        VideoError: it is too large, is not text, or holds no line with a time.
    """
    path, size = held.path, held.state.size
    if size > MOST_BYTES:
        limit = MOST_BYTES // 2**20
        raise VideoError(path, f"{size / 2**20:,.0f} MiB; subtitles have at most {limit} MiB")
    text = decode_text(path, held.read(0, size))
    source, track = io.BytesIO(text.encode(errors="replace")), _Track(path)
    with contextlib.suppress(FFmpegError):  # as of a text without a time
        with av.open(source, "r", format=_find_format(path, text)) as container:
            for packet in container.demux(container.streams.subtitles[0]):
                track.add(packet, start=0.0)
    if track.reason or not track.lines:
        raise VideoError(path, track.reason or "text without a line of subtitles that has a time")
    return tidy_lines(track.lines)


def read_text_tracks(path: str) -> list[TextTrack]:
    """Read the tracks of text in a video, which `hold_file` holds; none if it has none.

    Times start with the video, as a player counts them.
    """
    with convert_errors(path), open_video(path) as container:
        numbered = enumerate(container.streams.subtitles, start=1)
        chosen = {stream.index: (number, stream) for number, stream in numbered if is_text(stream)}
        tracks = {index: _Track(path) for index in chosen}
        for stream in container.streams:
            if stream.index not in chosen:
                stream.discard = Discard.all  # what is not read from the disk takes no time
        if chosen:
            start = (container.start_time or 0) / 1e6  # AV_TIME_BASE
            for packet in container.demux(*(stream for _, stream in chosen.values())):
                tracks[packet.stream.index].add(packet, start=start)
    return [
        TextTrack(
            number,
            (stream.language or "").removeprefix("und"),
            tidy_lines(tracks[index].lines),
            tracks[index].reason,
        )
        for index, (number, stream) in chosen.items()
    ]


def join_lines(lines: list[Line], seconds: float) -> Iterator[list[Line]]:
    """Yield passages: lines that follow each other within some seconds, or one that is longer.

    The first line of the next one is added to each, unless it comes much later: so words that are
    spoken across the border are found.
    """
    passage: list[Line] = []
    for line in lines:
        if passage and line.end - passage[0].start > seconds:
            follows = line.start - passage[-1].end < LONGEST_PAUSE
            yield [*passage, line] if follows else passage
            passage = []
        passage.append(line)
    if passage:
        yield passage


def is_text(stream: SubtitleStream) -> bool:
    """Return whether a track holds text, not pictures of it."""
    return stream.codec_context is not None and stream.codec_context.name in TEXT_CODECS


def decode_text(path: str, data: bytes) -> str:
    """Decode a file of text in any encoding.

    Raises:
        VideoError: it is binary, or its encoding cannot be told.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    zeros = [data[place:SAMPLE:2].count(0) / max(1, len(data[:SAMPLE]) // 2) for place in (0, 1)]
    if max(zeros) > MOSTLY and min(zeros) < 1 - MOSTLY:  # UTF-16 without a mark
        return _refuse_binary(path, data.decode(UTF_16[zeros.index(max(zeros))], errors="replace"))
    text = data.decode(errors="replace")
    broken = text.count("\ufffd")
    others = len(text) - len(text.encode("ascii", errors="ignore")) - broken
    if broken <= MOST_BROKEN * others:
        return _refuse_binary(path, text)
    import chardet  # most files are UTF-8

    guess = chardet.detect(
        data[:SAMPLE], encoding_era=chardet.EncodingEra.MODERN_WEB, prefer_superset=True
    )
    if guess["encoding"] is None:
        raise VideoError(path, "not text, or in an encoding that is not known; save it as UTF-8")
    return _refuse_binary(path, data.decode(guess["encoding"], errors="replace"))


def tidy_lines(lines: Iterable[Line]) -> list[Line]:
    """Sort lines, and leave out what was on screen just before, as where captions roll on.

    >>> lines = tidy_lines([Line(0, 2, "one"), Line(2, 4, "one\\ntwo"), Line(9, 10, "two")])
    >>> [line.text for line in lines]
    ['one', 'two', 'two']
    """
    tidied: list[Line] = []
    shown: tuple[float, list[str]] = (0.0, [])
    for start, end, text in sorted(lines):
        rows = text.split("\n")
        before = shown[1] if start - shown[0] <= TOUCHING else []
        new = [row for row in rows if row not in before]
        shown = end, rows
        if new:
            tidied.append(Line(start, end, "\n".join(new)))
        elif tidied and tidied[-1].end < end:  # the same is shown on
            tidied[-1] = tidied[-1]._replace(end=end)
    return tidied


def clean_text(text: str) -> str:
    """Return the text of a line without marks of style, and without what cannot be printed."""
    if _DRAWING.search(text):
        return ""
    text = _MARKS.sub("", text.replace("\\h", " ").replace("\\N", "\n").replace("\\n", "\n"))
    rows = []
    for row in unicodedata.normalize("NFC", text).splitlines():
        words = " ".join(row.split())
        kept = "".join(letter for letter in words if letter.isprintable() or letter in _JOINERS)
        if kept.strip():
            rows.append(kept.strip())
    return "\n".join(rows)


def _find_format(path: str, text: str) -> str:
    """Return libav's name of a format: what the text begins like decides, then the suffix."""
    start = text[:1000].lstrip()
    if start.startswith("WEBVTT"):
        return "webvtt"
    if start.startswith("[Script Info]"):
        return "ass"
    return SUBTITLE_FORMATS.get(path[path.rfind(".") :].lower(), "srt")


def _refuse_binary(path: str, text: str) -> str:
    controls = sum(text.count(chr(code)) for code in (0, 1, 2, 3, 4, 5, 6, 7, 8))
    if controls > len(text) / 1000:
        raise VideoError(path, "binary data, not text")
    return text


class _Track:
    """Collects the lines of a track, as long as they are not too many."""

    def __init__(self, path: str):
        self.path, self.lines, self.reason = path, list[Line](), ""
        self._letters = 0

    def add(self, packet: Packet, *, start: float) -> None:
        """Add what a packet holds; one that cannot be decoded is passed over."""
        report_progress()
        if packet.pts is None or not packet.size or self.reason:
            return
        assert packet.time_base is not None
        unit = float(packet.time_base)
        begin = max(0.0, packet.pts * unit - start)
        length = (packet.duration or 0) * unit
        try:
            parts = [part.dialogue for part in packet.decode() if isinstance(part, AssSubtitle)]
        except FFmpegError:
            return
        texts = (clean_text(part.decode(errors="replace")) for part in parts)
        if text := "\n".join(filter(None, texts)):
            self.lines.append(Line(begin, begin + (length if length > 0 else NO_END), text))
            self._letters += len(text)
        if len(self.lines) > MOST_LINES or self._letters > MOST_LETTERS:
            self.lines.clear()
            self.reason = f"more than {MOST_LINES:,} lines or {MOST_LETTERS:,} letters of subtitles"
