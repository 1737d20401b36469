"""What a run of indexing did, and which files it could not index."""

import dataclasses
import json
import os
from pathlib import Path
from typing import NamedTuple

from tempme_jax.files import write_text
from tempme_jax.words import format_duration, pluralize, printable_name


class Failure(NamedTuple):
    """A file without windows: where it went wrong (walk, open, scan, decode), and why."""

    file: bytes
    reason: str
    stage: str


@dataclasses.dataclass(kw_only=True)
class Report:
    """What a run did.

    Attributes:
        root: the folder.
        found: files that look like videos.
        unchanged: of these, known from before and as they were.
        embedded: new or changed ones, now with windows.
        moved: files of the index that now have another name.
        known: others that are new or were written to, but of a content that has windows already:
            copied, or only touched.
        gone: files of the index that are no longer there.
        failures: all files of the folder without windows, those of former runs too.
        left: files that a run which was stopped did not come to.
        windows: that were embedded.
        hours: of video that were embedded.
        seconds: that it took.
        stopped: why it stopped before the end; empty if it did not.
    """

    root: Path
    found: int = 0
    unchanged: int = 0
    embedded: int = 0
    moved: int = 0
    known: int = 0
    gone: int = 0
    failures: list[Failure] = dataclasses.field(default_factory=list)
    left: int = 0
    windows: int = 0
    hours: float = 0.0
    seconds: float = 0.0
    stopped: str = ""

    @property
    def summary(self) -> str:
        """In some lines."""
        lines = [
            f"{pluralize(self.embedded, 'video')} indexed ({format_duration(3600 * self.hours)}, "
            f"{pluralize(self.windows, 'window')}) in {format_duration(self.seconds)}, "
            f"{self.unchanged} unchanged"
        ]
        others = {
            "moved": self.moved,
            "copied or touched": self.known,
            "gone": self.gone,
        }
        lines[0] += "".join(f", {number} {what}" for what, number in others.items() if number)
        if self.failures:
            lines.append(f"{pluralize(len(self.failures), 'file')} could not be indexed:")
            lines += [f"  {printable_name(f.file)}: {f.reason}" for f in self.failures[:5]]
            lines += [f"  and {len(self.failures) - 5} more"] if len(self.failures) > 5 else []
        if self.stopped:
            lines.append(
                f"{self.stopped}: {pluralize(self.left, 'video')} left. The same command goes on."
            )
        return "\n".join(lines)


def write_failures(failures: list[Failure], file: Path) -> None:
    """Writes failed.jsonl, a line for each file, whole or not at all.

    A name that is not Unicode stands there as Python's os.fsdecode gives it.
    """
    lines = [
        json.dumps({"file": os.fsdecode(f.file), "reason": f.reason, "stage": f.stage})
        for f in failures
    ]
    write_text(file, "".join(f"{line}\n" for line in lines))
