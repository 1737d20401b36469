"""The report of a run of indexing, and the list of files that it could not index."""

import dataclasses
import json
import os
import shlex
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tempme_jax.files import write_text
from tempme_jax.search.indexing.exclusion import BY_OPTION
from tempme_jax.words import format_duration, pluralize, printable_name

# So many kinds are named in the summary; all are in the JSON.
MOST_COUNTS = 12


class Failure(NamedTuple):
    """A file that could not be indexed: its path, the reason, and the stage at which it failed.

    Stages are "walk", "open", "scan", "decode", "embed" and "subtitles".
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
        begun: number of videos among these of which a part is done, with which the next run
            resumes; no search finds them yet.
        begun_seconds: how many seconds of those are done.
        renewed: those of the embedded files that an earlier version had read otherwise.
        kept: files that could not be read anew; what an earlier version read of them stays.
        reasons: why files are read otherwise than by an earlier version, and how many.
        passed_over: number of files of the folder that are something else than videos, by suffix
            or by what they hold.
        left_out: number of files and folders that were left out, by the reason.
        withdrawn: files that were taken out of the index, since they are left out now.
        unused: patterns of `exclude` that left nothing out.
        subtitles: number of files and tracks of subtitles that were read.
        subtitles_left: number of files that are still to be looked at for subtitles.
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
    begun: int = 0
    begun_seconds: float = 0.0
    renewed: int = 0
    kept: int = 0
    reasons: dict[str, int] = dataclasses.field(default_factory=dict)
    passed_over: Counter[str] = dataclasses.field(default_factory=Counter)
    left_out: Counter[str] = dataclasses.field(default_factory=Counter)
    withdrawn: int = 0
    unused: list[str] = dataclasses.field(default_factory=list)
    subtitles: int = 0
    subtitles_left: int = 0
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
        if self.renewed:
            why = ", ".join(f"{reason} ({n})" for reason, n in sorted(self.reasons.items()))
            files = pluralize(self.renewed, "file")
            lines.append(f"{files} embedded anew, since this version reads them otherwise: {why}")
        if self.kept:
            files = pluralize(self.kept, "file")
            lines.append(f"{files} could not be read anew: what was found of them before stays")
        if self.subtitles:
            texts = pluralize(self.subtitles, "text")
            lines.append(f"{texts} of subtitles read: a search also finds what is said in them")
        if self.subtitles_left:
            files = pluralize(self.subtitles_left, "file")
            lines.append(f"{files} not yet looked at for subtitles: the next run does it")
        lines += describe_counts(self.passed_over, self.left_out)
        if self.withdrawn:
            files = pluralize(self.withdrawn, "file")
            lines.append(f"Taken out of the index, since they are left out now: {files}")
        lines += [f"--exclude {shlex.quote(each)} left nothing out" for each in self.unused]
        if self.left_out[BY_OPTION]:
            lines.append(
                "A run without --exclude takes what it left out; patterns in a file .tempmeignore "
                "in the folder hold for every run"
            )
        if self.failures:
            lines.append(f"{pluralize(len(self.failures), 'file')} could not be indexed:")
            lines += [f"  {printable_name(f.file)}: {f.reason}" for f in self.failures[:5]]
            lines += [f"  and {len(self.failures) - 5} more"] if len(self.failures) > 5 else []
        if self.stopped:
            begun = ""
            if self.begun:
                done = format_duration(self.begun_seconds)
                begun = f", {self.begun} of them begun ({done} are kept, not yet searched)"
            lines.append(
                f"{self.stopped}: {pluralize(self.left, 'video')} left{begun}. "
                "Run the same command to resume."
            )
        return "\n".join(lines)

    def convert_to_json(self) -> dict:
        """Return all fields as values of JSON; names of files are those of os.fsdecode."""
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        failures = [_convert_failure(each) for each in self.failures]
        return values | {"root": str(self.root), "failures": failures}


def describe_counts(passed_over: Counter[str], left_out: Counter[str]) -> list[str]:
    """Say how many files were passed over, and what was left out; a line for each.

    >>> describe_counts(Counter({".part": 2, ".gif": 1}), Counter({"@eaDir": 3}))
    ['3 passed over: 1 .gif, 2 .part', 'Left out: 3 @eaDir']
    """
    lines = []
    if passed_over:
        lines.append(f"{passed_over.total()} passed over: {_list_counts(passed_over)}")
    if left_out:
        lines.append(f"Left out: {_list_counts(left_out)}")
    return lines


def _list_counts(counts: Counter[str]) -> str:
    shown = counts if len(counts) <= MOST_COUNTS else dict(counts.most_common(MOST_COUNTS - 1))
    others = counts.total() - sum(shown.values())
    listed = [f"{number} {label}" for label, number in sorted(shown.items())]
    return ", ".join(listed + [f"{others} others"] * bool(others))


def write_failures(failures: list[Failure], file: Path) -> None:
    """Write failed.jsonl atomically, one line per file.

    A name that is not Unicode is written as Python's os.fsdecode returns it.
    """
    lines = [json.dumps(_convert_failure(failure)) for failure in failures]
    try:
        write_text(file, "".join(f"{line}\n" for line in lines))
    except OSError as error:
        reason = error.strerror or error
        raise OSError(f"{file} cannot be written ({reason}); what was indexed is stored") from error


def _convert_failure(failure: Failure) -> dict[str, str]:
    return {"file": os.fsdecode(failure.file), "reason": failure.reason, "stage": failure.stage}
