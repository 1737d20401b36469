"""What whoever waits for an index is told, on standard error."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import tqdm

from tempme_jax.words import format_duration, pluralize

T = TypeVar("T")
# The time that is left is told once there is something to go by.
FILES_TO_GO_BY, SECONDS_TO_GO_BY = 3, 10.0


class Progress:
    """Lines and bars; the bars only on a terminal."""

    def __init__(self, *, quiet: bool = False):
        """Says nothing if `quiet`."""
        self.quiet = quiet
        self._bar: tqdm.tqdm | None = None
        self._told = False
        self._files = self._bad = 0
        self._began = self._first = self._done = 0.0

    def say(self, line: str) -> None:
        """Writes a line."""
        if not self.quiet:
            tqdm.tqdm.write(line, file=sys.stderr)

    def opened(self, items: Iterable[T], total: int) -> Iterator[T]:
        """Passes on what was opened, with a bar."""
        hidden = True if self.quiet else None
        yield from tqdm.tqdm(items, "Opening", total, unit="file", leave=False, disable=hidden)

    def begin(self, lengths: list[float | None]) -> None:
        """There are videos of such lengths, in seconds, to embed; None: the file does not say."""
        known = sum(length for length in lengths if length)
        unknown = sum(length is None for length in lengths)
        also = f", and {unknown} that do not say how long they are" if unknown else ""
        self.say(f"To embed: {pluralize(len(lengths), 'video')}, {format_duration(known)}{also}")
        self._bar = tqdm.tqdm(
            desc="Embedding",
            total=round(known),
            disable=True if self.quiet else None,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}, {remaining} to go{postfix}",
        )

    def embedded(self, seconds: float, *, bad: bool = False) -> None:
        """A video of what was taken to be its length is done."""
        self._files, self._bad = self._files + 1, self._bad + bad
        self._done += seconds  # the bar does not count where it is not shown
        self._bar.update(max(min(round(self._done), self._bar.total) - self._bar.n, 0))
        self._bar.set_postfix_str(f"{self._files} videos, {self._bad} bad", refresh=False)
        if self._files == 1:  # until then processes were started, and programs compiled
            self._began, self._first = time.monotonic(), seconds
        took = time.monotonic() - self._began
        if not self._told and self._files >= FILES_TO_GO_BY and took >= SECONDS_TO_GO_BY:
            self._told = True
            self._tell(took)

    def _tell(self, took: float) -> None:
        speed, left = (self._done - self._first) / took, max(self._bar.total - self._done, 0)
        if speed:
            rest = format_duration(left / speed)
            self.say(f"{speed:.1f} minutes of video a minute; about {rest} to go")

    def end(self) -> None:
        """All is done, or the run stops."""
        if self._bar is not None:
            self._bar.close()
