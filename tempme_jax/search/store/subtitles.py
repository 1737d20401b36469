"""The subtitles of an index: a full-text search of SQLite.

tracks   one row per file of subtitles, per track in a video, and per video that was looked into
lines    passages: a few lines that follow each other, as the words are looked up in
"""

import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple
from unicodedata import normalize

if TYPE_CHECKING:
    import sqlite3

# Words are compared without accents, and English ones by their stems.
SCHEMA = (
    "CREATE TABLE tracks (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, name BLOB NOT NULL, "
    "size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, label TEXT NOT NULL, reason TEXT NOT NULL, "
    "first INTEGER NOT NULL, last INTEGER NOT NULL, UNIQUE (owner, name))",
    "CREATE INDEX spans ON tracks (first)",
    "CREATE VIRTUAL TABLE lines USING fts5(text, times UNINDEXED, "
    "tokenize = 'porter unicode61 remove_diacritics 2')",
)
# Seconds that ranking may take, and how many are taken unranked if it takes longer: of words such
# as "the" in a large library.
MOST_SECONDS, UNRANKED = 2.0, 1000
QUOTES = '"“”„«»「」'
# Nobody looks for so many words; a paragraph that was pasted describes pictures.
MOST_WORDS = 64
# Scripts without spaces between words. Each letter is looked up as a word, several as a phrase.
UNSPACED = r"([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff])"
# Parts words, and is printed nowhere.
SEPARATOR = "\u200b"
# Marks of the words that were found.
BEGIN, END = "\ufdd0", "\ufdd1"


class TrackRow(NamedTuple):
    """A file of subtitles, or a track in a video.

    Attributes:
        owner: of a file the id of the video, see `FileRow`; of a track the id of the content.
        name: of a file its path below the root; of a track its number in digits; b"" of a content
            that was looked into.
        size, mtime_ns: of a file its size and time; else 0.
        label: language of a track; "" if it is not known.
        reason: why it could not be read; "" if it was.
    """

    owner: str
    name: bytes
    size: int = 0
    mtime_ns: int = 0
    label: str = ""
    reason: str = ""


class FoundLines(NamedTuple):
    """Lines that hold the words that were looked up.

    Attributes:
        track: the track that they are of.
        start, end: seconds from the video's start.
        text: the lines.
        exact: whether the words stand there one after the other, as they were given.
    """

    track: TrackRow
    start: float
    end: float
    text: str
    exact: bool


class Subtitles:
    """The subtitles of an index, open for a run that writes, or to look up words."""

    def __init__(self, connection: "sqlite3.Connection"):
        """Use a connection; see `subtitle_file`."""
        self._connection = connection

    def read_tracks(self) -> list[TrackRow]:
        """Read all rows of tracks."""
        rows = self._connection.execute(f"SELECT {', '.join(TrackRow._fields)} FROM tracks")
        return [TrackRow(*row) for row in rows]

    def replace(self, track: TrackRow, passages: Iterable[Sequence[tuple]]) -> None:
        """Store a track instead of the one of its name.

        Args:
            track: its row.
            passages: lines that follow each other, each as start, end and text.
        """
        self.remove([track])
        first = last = 0
        for number, lines in enumerate(passages):
            text = "\n".join(line[2].replace("\n", " ") for line in lines)
            times = json.dumps([[round(start, 3), round(end, 3)] for start, end, _ in lines])
            found = self._connection.execute(
                "INSERT INTO lines (text, times) VALUES (?, ?)", (separate_letters(text), times)
            )
            last = found.lastrowid or 0
            first = last if number == 0 else first
        marks = ", ".join("?" * (len(track) + 2))
        names = ", ".join(TrackRow._fields)
        self._connection.execute(
            f"INSERT INTO tracks ({names}, first, last) VALUES ({marks})", (*track, first, last)
        )

    def remove(self, tracks: Iterable[TrackRow]) -> None:
        """Remove tracks and their lines."""
        for track in tracks:
            key = track.owner, track.name
            where = "owner = ? AND name = ?"
            for span in self._connection.execute(
                f"SELECT first, last FROM tracks WHERE {where} AND last > 0", key
            ).fetchall():
                self._connection.execute("DELETE FROM lines WHERE rowid BETWEEN ? AND ?", span)
            self._connection.execute(f"DELETE FROM tracks WHERE {where}", key)

    def commit(self) -> None:
        """Store what was changed since the last time, all or nothing."""
        self._connection.commit()

    def count_tracks(self) -> int:
        """Count the files and tracks that hold lines."""
        found = self._connection.execute("SELECT count(*) FROM tracks WHERE last > 0")
        return found.fetchone()[0]

    def count_lines(self) -> int:
        """Count the passages."""
        return self._connection.execute("SELECT count(*) FROM lines").fetchone()[0]

    def purge(self, owners: set[str]) -> None:
        """Remove the tracks of all but some owners, also from the disk."""
        self.remove([track for track in self.read_tracks() if track.owner not in owners])
        self._connection.execute("INSERT INTO lines (lines) VALUES ('rebuild')")
        self.commit()
        self._connection.execute("VACUUM")

    def find_damage(self) -> str:
        """Say what is damaged; "" if nothing is."""
        import sqlite3

        try:
            found = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                return found
            self._connection.execute("INSERT INTO lines (lines) VALUES ('integrity-check')")
        except sqlite3.OperationalError:
            return ""  # open for reading only, so words are not compared with their index
        except sqlite3.DatabaseError as error:
            return str(error)
        return ""

    def find(self, text: str) -> Iterator[FoundLines]:
        """Find lines that hold all words of a text, first those that hold it as it stands.

        Words in lines next to each other are found together. A text in quotation marks is looked up
        only as it stands.
        """
        text = "".join(
            each if each.isprintable() else " " for each in normalize("NFC", text)
        ).strip()
        is_quoted = len(text) > 2 and text[0] in QUOTES and text[-1] in QUOTES
        words = [word for word in separate_letters(text).split() if any(map(str.isalnum, word))]
        if not 0 < len(words) <= MOST_WORDS:
            return
        seen: set[int] = set()
        for exact in (True,) if is_quoted or len(words) == 1 else (True, False):
            parts = [" ".join(words)] if exact else words
            query = " ".join('"' + part.replace('"', " ") + '"' for part in parts)
            for row in self._rank(query):
                if row not in seen and (track := self._find_track(row)):
                    seen.add(row)
                    times, marked = self._connection.execute(
                        "SELECT times, highlight(lines, 0, ?, ?) FROM lines "
                        "WHERE lines MATCH ? AND rowid = ?",
                        (BEGIN, END, query, row),
                    ).fetchone()
                    yield read_lines(track, json.loads(times), marked, exact=exact)

    def _rank(self, query: str) -> list[int]:
        """Return the rows that match, best first; of too many to rank, some in any order."""
        import sqlite3

        select = "SELECT rowid FROM lines WHERE lines MATCH ?"
        end = time.monotonic() + MOST_SECONDS
        self._connection.set_progress_handler(lambda: time.monotonic() > end, 10_000)
        try:
            rows = self._connection.execute(f"{select} ORDER BY rank, rowid", (query,)).fetchall()
        except sqlite3.OperationalError:
            if time.monotonic() <= end:
                raise
            self._connection.set_progress_handler(None, 0)
            rows = self._connection.execute(f"{select} LIMIT {UNRANKED}", (query,)).fetchall()
        finally:
            self._connection.set_progress_handler(None, 0)
        return [row for (row,) in rows]

    def _find_track(self, row: int) -> TrackRow | None:
        found = self._connection.execute(
            f"SELECT {', '.join(TrackRow._fields)}, last FROM tracks "
            "WHERE first <= ? AND first > 0 ORDER BY first DESC LIMIT 1",
            (row,),
        ).fetchone()
        return TrackRow(*found[:-1]) if found and row <= found[-1] else None


def read_lines(track: TrackRow, times: list, marked: str, *, exact: bool) -> FoundLines:
    """Return the lines of a passage from the first to the last that holds a word that was found."""
    lines, is_open = [], False
    for number, line in enumerate(marked.split("\n")):
        if is_open or BEGIN in line:
            lines.append((number, line))
        # A phrase may begin in one line and end in the next.
        is_open = line.rfind(BEGIN) > line.rfind(END) if BEGIN in line or END in line else is_open
    first, last = lines[0][0], lines[-1][0]
    text = " ".join(marked.split("\n")[first : last + 1])
    text = re.sub(f"[{BEGIN}{END}{SEPARATOR}]", "", text)
    return FoundLines(track, times[first][0], times[last][1], text, exact)


def separate_letters(text: str) -> str:
    """Put a separator around each letter of scripts without spaces between words."""
    return re.sub(UNSPACED, f"{SEPARATOR}\\1{SEPARATOR}", text)
