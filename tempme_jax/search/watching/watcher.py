"""Notice what comes to a folder, and index it once it is whole."""

import datetime
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.indexing.walk import find_videos
from tempme_jax.search.watching.growing import GrowingFiles
from tempme_jax.search.watching.hours import Hours
from tempme_jax.search.watching.runs import RunOutcome
from tempme_jax.video.suffixes import SUBTITLE_FORMATS, VIDEO_SUFFIXES
from tempme_jax.words import format_duration, pluralize, printable_name

if TYPE_CHECKING:
    from watchfiles import Change

# What runs the index: takes patterns to leave out, and most seconds or None.
Run = Callable[[list[str], float | None], RunOutcome]
# Seconds after which a run that failed is tried again; after each further failure twice as many.
FIRST_RETRY, LONGEST_RETRY = 60.0, 3600.0
# Milliseconds between two looks at files that grow, and in which changes are put together.
TICK, TOGETHER = 1000, 500
# Letters in which a pattern of .gitignore is not taken by its word.
_SPECIAL = r"\*?[]!#"
SUFFIXES = VIDEO_SUFFIXES | SUBTITLE_FORMATS.keys()


class WatchStopped(VideoIndexError):
    """Watching is of no use, since every run would fail in the same way."""


class FolderWatcher:
    """Decides when to index a folder: at the start, when files have come, and now and then."""

    def __init__(
        self,
        folder: Path,
        run: Run,
        *,
        settle: float,
        every: float,
        hours: Hours | None,
        say: Callable[[str], None],
    ):
        """Take what is watched.

        Args:
            folder: the folder.
            run: indexes it.
            settle: seconds that a file has to be at rest.
            every: seconds after which the folder is indexed even if nothing was noticed, as on
                network drives.
            hours: when it may be indexed; None for always.
            say: prints a line.
        """
        self._folder, self._run, self._say = folder, run, say
        self._every, self._hours = every, hours
        self._growing = GrowingFiles(settle)
        self._is_due, self._has_run = True, False
        self._next_try = self._last = -float("inf")
        self._wait = FIRST_RETRY
        self._told = ""

    def step(self, changes: Iterable[tuple["Change", str]]) -> None:
        """Take the changes since the last step, and index the folder if that is due.

        Raises:
            WatchStopped: the first run failed, and every other would in the same way.
        """
        now = time.monotonic()
        for change, path in sorted(changes, key=lambda pair: pair[1]):
            self._take(change.name, path, now)
        if self._growing.look(now):
            self._is_due = True
        if now - self._last >= self._every:
            self._is_due = True
        if self._is_due and now >= self._next_try:
            self._index(now)

    def _take(self, change: str, path: str, now: float) -> None:
        """Take a change: "added", "modified" or "deleted"."""
        name = printable_name(os.fsencode(os.path.relpath(path, self._folder)))
        if change == "deleted":
            self._say(f"gone: {name}")
            self._is_due = True
        elif os.path.isdir(path):
            self._is_due = True
        else:
            is_new = self._growing.note(path, now, time.time())
            if is_new is None:
                self._say(f"new or changed: {name}")
                self._is_due = True
            elif is_new:
                self._say(f"new or changed: {name}; waiting until it is whole")

    def _index(self, now: float) -> None:
        budget = None
        if self._hours is not None:
            budget = self._hours.find_rest(datetime.datetime.now())
            if budget < 1:
                return self._tell_once(f"waiting for the hours {self._hours}")
        try:
            found = [each.path for each in find_videos(self._folder).found]
        except VideoIndexError as error:  # a disk that is not there now
            return self._fail(now, str(error))
        if not (found or self._has_run):
            self._is_due, self._last = False, now
            return self._tell_once("no videos yet")
        paths = (os.path.join(self._folder, os.fsdecode(each)) for each in found)
        self._growing.note_young(paths, now, time.time())
        growing = self._growing.paths
        if len(growing) == len(found) and not self._has_run:  # what is there is still being written
            self._is_due, self._last = False, now
            return
        also = f", {pluralize(len(growing), 'file')} still growing" if growing else ""
        self._tell_once(f"indexing{also}")
        self._is_due = False  # before the run, in which new files may come
        outcome = self._run([make_pattern(self._folder, each) for each in growing], budget)
        self._finish(outcome)

    def _finish(self, outcome: RunOutcome) -> None:
        now = time.monotonic()
        if outcome.is_hopeless and not self._has_run:
            raise WatchStopped(outcome.lines[-1])
        if outcome.is_failed:
            return self._fail(now, outcome.lines[-1] if outcome.lines else "it was interrupted")
        for line in outcome.lines or ["nothing new"]:
            self._say(line)
        self._told, self._has_run, self._last = "", True, now
        self._wait, self._is_due = FIRST_RETRY, self._is_due or outcome.is_left

    def _fail(self, now: float, reason: str) -> None:
        self._say(f"failed: {reason}; trying again in {format_duration(self._wait)}")
        self._is_due, self._next_try = True, now + self._wait
        self._wait = min(2 * self._wait, LONGEST_RETRY)
        self._told = ""

    def _tell_once(self, line: str) -> None:
        """Say a line unless it was the last of these."""
        if line != self._told:
            self._say(line)
            self._told = line


def watch_changes(folder: Path, *, poll: bool) -> Iterator[set[tuple["Change", str]]]:
    """Yield the changes of videos in a folder and below, and nothing every second without any.

    While the folder is not there, nothing is yielded either.

    Args:
        folder: the folder.
        poll: whether to look at all files again and again, as network drives need.
    """
    import watchfiles

    while True:
        try:
            yield from watchfiles.watch(
                folder, watch_filter=make_filter(folder), debounce=TOGETHER, rust_timeout=TICK,
                yield_on_timeout=True, force_polling=poll or None, ignore_permission_denied=True,
            )  # fmt: skip
            return
        except OSError:  # it is gone; a run says so
            yield set()
            time.sleep(TICK / 1000)


def make_filter(folder: Path) -> Callable[["Change", str], bool]:
    """Return a function that tells which changes matter: of videos, subtitles and folders."""

    def matters(change: "Change", path: str) -> bool:
        names = os.path.relpath(path, folder).split(os.sep)
        if any(name.startswith(".") for name in names):  # hidden, as the index itself is
            return False
        suffix = os.path.splitext(path)[1].lower()
        if suffix in SUFFIXES:
            return True
        # A folder that was moved tells nothing of its files.
        return not suffix if change.name == "deleted" else os.path.isdir(path)

    return matters


def make_pattern(folder: Path, path: str) -> str:
    """Return the pattern of .gitignore that takes one file below a folder.

    >>> make_pattern(Path("/videos"), "/videos/sub/a[1].mp4")
    '/sub/a\\\\[1\\\\].mp4'
    """
    text = "".join(
        f"\\{each}" if each in _SPECIAL else each for each in os.path.relpath(path, folder)
    )
    return f"/{text}"
