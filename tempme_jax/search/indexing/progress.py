"""Progress of a run, on standard error: lines, and bars if it is a terminal."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeVar

from tempme_jax.screen import Intervals, Ticker, is_terminal, make_progress_bar, show_work
from tempme_jax.words import format_clock, format_duration, pluralize, printable_name

if TYPE_CHECKING:
    import tqdm

    from tempme_jax.search.indexing.embedding import Advance

T = TypeVar("T")
# The remaining time is estimated once so many seconds have passed.
SECONDS_TO_GO_BY = 2.0
# Letters of a file's name that are shown beside a bar.
LETTERS = 30


class IndexProgress:
    """The lines and bars of a run; bars are shown only on a terminal, and lines instead elsewhere.

    Seconds of video are counted, as far as files state their length or it was found out.
    """

    def __init__(self, *, quiet: bool = False):
        """Print nothing if `quiet`."""
        self.quiet = quiet
        self._lengths: dict[str, float] = {}
        self._done: dict[str, float] = {}
        self._total = self._sum = 0.0  # of lengths, and of what is done
        self._names: dict[str, str] = {}
        self._name = ""
        self._videos = self._bad = 0
        # Seconds of video that were done when the first windows were, and when that was: before it,
        # processes were started and programs compiled.
        self._first: tuple[float, float] | None = None
        self._bar: tqdm.tqdm | None = None
        self._ticker: Ticker | None = None

    def say(self, line: str) -> None:
        """Print a line."""
        if not self.quiet:
            import tqdm

            tqdm.tqdm.write(line, file=sys.stderr)

    def show(self, label: str) -> AbstractContextManager[None]:
        """Say what is being done while the context is open."""
        return show_work(label, quiet=self.quiet)

    def show_first(self, label: str, call: Callable[..., T]) -> Callable[..., T]:
        """Return a function that says what is being done during its first call."""
        is_first = True

        def wrapped(*arguments) -> T:
            nonlocal is_first
            if not is_first:
                return call(*arguments)
            is_first = False
            with self.show(label):
                return call(*arguments)

        return wrapped

    def track(self, items: Iterable[T], total: int, label: str = "Opening") -> Iterator[T]:
        """Yield items of which each is a file, and show a bar of them."""
        options = {"total": total, "unit": "files", "quiet": self.quiet, "leave": False}
        if self.quiet or not total:
            yield from items
        elif is_terminal():
            bar = make_progress_bar(items, label, **options)
            ticker = Ticker(bar.refresh)
            try:
                yield from bar
            finally:
                ticker.stop()
        else:
            intervals = Intervals()
            self.say(f"{label} {pluralize(total, 'file')}...")
            for number, item in enumerate(items):
                if intervals.is_due():
                    self.say(f"{label}: {number} of {pluralize(total, 'file')}")
                yield item

    def begin(self, lengths: Mapping[str, float | None], files: Mapping[str, str]) -> None:
        """Announce videos to embed.

        Args:
            lengths: their lengths in seconds, by key; None if the file states none.
            files: the path of each.
        """
        self._lengths = {key: length or 0.0 for key, length in lengths.items()}
        self._total = sum(self._lengths.values())
        self._names = dict(files)
        unknown = sum(length is None for length in lengths.values())
        also = f", and {unknown} of unknown length" if unknown else ""
        known = format_duration(self._total)
        self.say(f"To embed: {pluralize(len(lengths), 'video')}, {known}{also}")

    def advance(self, advance: "Advance") -> None:
        """Count the first seconds of a video as done; say so if an earlier run embedded them."""
        key = advance.key
        self._name = self._shorten_name(key)
        self._total += advance.length - self._lengths[key]
        self._lengths[key] = advance.length
        if advance.is_resumed:
            self.say(f"Resuming {self._name} at {format_clock(advance.seconds)}")
            if self._first:  # this says nothing of the speed
                new = advance.seconds - self._done.get(key, 0.0)
                self._first = self._first[0] + new, self._first[1]
        self._count(key, advance.seconds)
        if not advance.is_resumed:
            self._show()

    def count_video(self, key: str, *, bad: bool = False) -> None:
        """Count a video as done; a bad one has failed."""
        self._videos, self._bad = self._videos + 1, self._bad + bad
        self._name = self._name or self._shorten_name(key)
        self._count(key, self._lengths[key])
        self._show()

    def _count(self, key: str, seconds: float) -> None:
        self._sum += seconds - self._done.get(key, 0.0)
        self._done[key] = seconds

    def _show(self) -> None:
        """Begin to show what is done, unless that is shown already."""
        self._first = self._first or (self._sum, time.monotonic())
        if self.quiet or self._ticker is not None:
            return
        if is_terminal():
            self._bar = make_progress_bar(total=1.0, bar_format="{desc}")
            self._draw(self._bar)
            self._ticker = Ticker(lambda bar=self._bar: self._draw(bar))
        else:
            intervals = Intervals()
            self._ticker = Ticker(lambda: intervals.is_due() and self.say(self.describe()))

    def _draw(self, bar: "tqdm.tqdm") -> None:
        bar.total, bar.desc = max(self._total, 1e-9), self._name
        bar.n = min(self._sum, bar.total)
        bar.bar_format = f"{{desc}} {{percentage:3.0f}}%|{{bar}}| {self._describe_state()}"
        bar.refresh()

    def describe(self) -> str:
        """Say in a line what is done."""
        return f"{self._name}: {self._describe_state()}"

    def _describe_state(self) -> str:
        done, total = self._sum, self._total
        parts = [f"{format_clock(done)} of {format_clock(total)}"]
        if (speed := self._measure_speed()) is not None:
            parts += [f"{speed:.1f} x real time"]
            parts += [f"{format_clock((total - done) / speed)} to go"] if speed > 0 else []
        if len(self._lengths) > 1:
            parts += [f"{self._videos} of {len(self._lengths)} videos"]
        return ", ".join(parts + [f"{self._bad} bad"] * bool(self._bad))

    def _measure_speed(self) -> float | None:
        """Return seconds of video per second; None if it is too early to tell."""
        if self._first is None:
            return None
        done, since = self._first
        took = time.monotonic() - since
        return (self._sum - done) / took if took >= SECONDS_TO_GO_BY else None

    def _shorten_name(self, key: str) -> str:
        name = printable_name(os.fsencode(os.path.basename(self._names.get(key, ""))))
        return name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}\N{HORIZONTAL ELLIPSIS}"

    def end(self) -> None:
        """Close the bar, or print the last line."""
        if self._ticker is not None:
            self._ticker.stop()
            self._ticker = None
            if self._bar is not None:
                self._draw(self._bar)
                self._bar.close()
            else:
                self.say(self.describe())
