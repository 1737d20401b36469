"""What people see on the screen, in one style: tables, bars, and lines about work that lasts."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # importing these takes a while, and a line has to be there at once
    import rich.console
    import rich.table
    import tqdm

# Width in characters, enough for every table. A narrower terminal wraps the lines, which loses less
# than narrow columns; a file or a pipe has no width of its own.
WIDE = 160
# Seconds between two looks at work that lasts.
TICK = 0.5
# Off a terminal, a line is repeated after so many seconds, then after twice as many, and so on up
# to the longest wait.
FIRST_WAIT, LONGEST_WAIT = 10.0, 60.0


def make_table(
    title: str, columns: Iterable[str] = (), *, left: Iterable[str] = ()
) -> "rich.table.Table":
    """Return a table without rows in the common style.

    Args:
        title: the text above it; rich's markup counts.
        columns: the heads of the columns, which are aligned to the right.
        left: the heads of those that are aligned to the left instead.
    """
    import rich.box
    import rich.table

    table = rich.table.Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD)
    for name in columns:
        table.add_column(name, justify="left" if name in left else "right")
    return table


def make_console() -> "rich.console.Console":
    """Return a console on standard output, wide enough for every table."""
    import rich.console

    return rich.console.Console(width=WIDE, highlight=False)


def format_number(value: float | None, spec: str) -> str:
    """Return a number in the given format, or a dash for None."""
    return "-" if value is None else format(value, spec)


def make_progress_bar(
    items: Iterable[Any] | None = None,
    label: str = "",
    *,
    total: float | None = None,
    unit: str = "steps",
    quiet: bool = False,
    **options: Any,
) -> "tqdm.tqdm":
    """Return a progress bar on standard error, hidden if `quiet` or if that is not a terminal.

    Args:
        items: what the bar yields when it is iterated over; None to call its `update`.
        label: the text before the bar.
        total: the number of units; None for the length of `items`.
        unit: the noun of what is counted, in the plural.
        quiet: whether the bar is hidden on a terminal, too.
        **options: other options of `tqdm.tqdm`.
    """
    import tqdm

    hidden = True if quiet else None  # None: not on a terminal
    defaults = {"dynamic_ncols": True, "disable": hidden}
    return tqdm.tqdm(items, label, total, unit=f" {unit}", **(defaults | options))


def is_terminal() -> bool:
    """Return whether standard error is a terminal, on which lines can be redrawn."""
    return sys.stderr.isatty()


class Ticker:
    """Calls a function again and again in a thread, until it is stopped."""

    def __init__(self, call: Callable[[], object], seconds: float = TICK):
        """Call it after so many seconds, and so on."""
        self._call, self._seconds, self._stopped = call, seconds, threading.Event()
        self._thread = threading.Thread(target=self._run, name="ticker", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            self._call()

    def stop(self) -> None:
        """Stop; the function is not called any more once this returns."""
        self._stopped.set()
        self._thread.join()


class Intervals:
    """Tells when a line is due in a log: often at first, then once a minute."""

    def __init__(self):
        """Start now."""
        self._started = time.monotonic()
        self._wait = self._next = FIRST_WAIT

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def is_due(self) -> bool:
        """Return whether a line is due; if so, the next one is after a longer wait."""
        if self.elapsed < self._next:
            return False
        self._wait = min(2 * self._wait, LONGEST_WAIT)
        self._next = self.elapsed + self._wait
        return True


@contextlib.contextmanager
def show_work(label: str, *, quiet: bool = False) -> Iterator[None]:
    """Say at once on standard error what is being done, and for how long, in a context.

    On a terminal the line counts the seconds. Elsewhere, as in a log, it is repeated with the
    seconds if the work lasts.

    Args:
        label: what is being done, such as "Opening the model".
        quiet: whether nothing is said.
    """
    if quiet:
        yield
        return
    if not is_terminal():
        intervals = Intervals()
        print(f"{label}...", file=sys.stderr, flush=True)

        def repeat() -> None:
            if intervals.is_due():
                print(f"{label}... {intervals.elapsed:.0f} s", file=sys.stderr, flush=True)

        ticker = Ticker(repeat)
        try:
            yield
        finally:
            ticker.stop()
        return
    # A bar of tqdm without a bar goes along with other bars, such as that of a download.
    with make_progress_bar(label=label, bar_format="{desc}... {elapsed_s:.0f} s") as line:
        ticker = Ticker(line.refresh)
        try:
            yield
        finally:
            ticker.stop()
