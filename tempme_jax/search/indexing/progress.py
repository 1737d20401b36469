"""Progress of a run, on standard error: lines, and bars if it is a terminal."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import tqdm

from tempme_jax.screen import make_progress_bar
from tempme_jax.words import format_duration, pluralize

T = TypeVar("T")
# The remaining time is estimated once so many files and seconds have passed.
FILES_TO_GO_BY, SECONDS_TO_GO_BY = 3, 10.0


class IndexProgress:
    """The lines and bars of a run; bars are shown only on a terminal."""

    def __init__(self, *, quiet: bool = False):
        """Print nothing if `quiet`."""
        self.quiet = quiet
        self._bar: tqdm.tqdm | None = None
        self._told = False
        self._files = self._bad = self._seconds = 0
        self._began = self._first = self._done = 0.0

    def say(self, line: str) -> None:
        """Print a line."""
        if not self.quiet:
            tqdm.tqdm.write(line, file=sys.stderr)

    def track(self, items: Iterable[T], total: int, label: str = "Opening") -> Iterator[T]:
        """Yield items of which each is a file, and show a bar of them."""
        options = {"total": total, "unit": "files", "quiet": self.quiet, "leave": False}
        yield from make_progress_bar(items, label, **options)

    def begin(self, lengths: list[float | None]) -> None:
        """Announce videos to embed, by their lengths in seconds; None if the file states none."""
        known = sum(length for length in lengths if length)
        unknown = sum(length is None for length in lengths)
        also = f", and {unknown} of unknown length" if unknown else ""
        self.say(f"To embed: {pluralize(len(lengths), 'video')}, {format_duration(known)}{also}")
        self._seconds = round(known)
        self._bar = make_progress_bar(
            label="Embedding",
            total=self._seconds,
            quiet=self.quiet,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}, {remaining} to go{postfix}",
        )

    def count_video(self, seconds: float, *, bad: bool = False) -> None:
        """Count a video as done, by its length as given to `begin`."""
        assert self._bar is not None, "begin() comes first"
        self._files, self._bad = self._files + 1, self._bad + bad
        self._done += seconds  # a bar that is not shown does not count
        self._bar.update(max(min(round(self._done), self._seconds) - self._bar.n, 0))
        self._bar.set_postfix_str(f"{self._files} videos, {self._bad} bad", refresh=False)
        if self._files == 1:  # before it, processes were started and programs compiled
            self._began, self._first = time.monotonic(), seconds
        took = time.monotonic() - self._began
        if not self._told and self._files >= FILES_TO_GO_BY and took >= SECONDS_TO_GO_BY:
            self._told = True
            self._report_speed(took)

    def _report_speed(self, took: float) -> None:
        speed, left = (self._done - self._first) / took, max(self._seconds - self._done, 0)
        if speed:
            rest = format_duration(left / speed)
            self.say(f"{speed:.1f} minutes of video per minute; about {rest} to go")

    def end(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
