"""The report of a run of indexing, and the list of files that it could not index."""

import dataclasses
import json
import os
from pathlib import Path
from typing import NamedTuple

from tempme_jax.files import write_text
from tempme_jax.words import format_duration, pluralize, printable_name


class Failure(NamedTuple):
    """A file that could not be indexed: its path, the reason, and the stage at which it failed.

    Stages are "walk", "open", "scan", "decode" and "embed".
    """

    file: bytes
    reason: str
    stage: str


@dataclasses.dataclass(kw_only=True)
class IndexReport:
    """The result of a run.

    Attributes:
        root: the folder.
        found: number of files with a video's name.
        unchanged: files that are in the index and have not changed.
        embedded: new or changed files that were embedded.
        moved: files of the index that now have another path.
        known: other new or changed files whose content has windows already: copies, or files
            that were only touched.
        gone: files of the index that are no longer there.
        failures: all files of the folder that could not be indexed, in this run or earlier ones.
        left: files that are still to be embedded, if the run was stopped.
        windows: number of windows that were embedded.
        hours: hours of video that were embedded.
        seconds: duration of the run.
        stopped: why the run stopped early, as "Interrupted"; empty if it did not.
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
        """The report in a few lines."""
        lines = [
            f"{pluralize(self.embedded, 'video')} indexed ({format_duration(3600 * self.hours)}, "
            f"{pluralize(self.windows, 'window')}) in {format_duration(self.seconds)}, "
            f"{self.unchanged} unchanged"
        ]
        others = {"moved": self.moved, "copied or touched": self.known, "gone": self.gone}
        lines[0] += "".join(f", {number} {what}" for what, number in others.items() if number)
        if self.failures:
            lines.append(f"{pluralize(len(self.failures), 'file')} could not be indexed:")
            lines += [f"  {printable_name(f.file)}: {f.reason}" for f in self.failures[:5]]
            lines += [f"  and {len(self.failures) - 5} more"] if len(self.failures) > 5 else []
        if self.stopped:
            lines.append(
                f"{self.stopped}: {pluralize(self.left, 'video')} left. "
                "Run the same command to resume."
            )
        return "\n".join(lines)


def write_failures(failures: list[Failure], file: Path) -> None:
    """Write failed.jsonl atomically, one line per file.

    A name that is not Unicode is written as Python's os.fsdecode returns it.
    """
    lines = [
        json.dumps({"file": os.fsdecode(f.file), "reason": f.reason, "stage": f.stage})
        for f in failures
    ]
    write_text(file, "".join(f"{line}\n" for line in lines))
