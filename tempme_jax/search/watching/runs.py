"""Run `tempme index` in a process of its own, which may fail, and tell what it did in a line."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from tempme_jax.words import format_duration, pluralize, printable_name

# Seconds that a run has to store its work once it is told to end.
PATIENCE = 120.0
INTERRUPTED, WRONG_USE = 130, 2
# Files that could not be indexed, of which so many are told.
SHOWN = 3


class RunOutcome(NamedTuple):
    """What a run did.

    Attributes:
        lines: what it did, in words.
        is_failed: whether it failed, and should be tried again later.
        is_hopeless: whether it would fail in the same way again, as with a wrong option.
        is_left: whether some videos are left, since its time was up.
    """

    lines: list[str]
    is_failed: bool = False
    is_hopeless: bool = False
    is_left: bool = False


class IndexRunner:
    """Runs `tempme index` again and again, and tells what is new."""

    def __init__(self, arguments: Sequence[str]):
        """Take the arguments of every run."""
        self._arguments = arguments
        self._failures: set[tuple[str, str]] = set()

    def run(self, exclude: Iterable[str], budget: float | None) -> RunOutcome:
        """Run once, and return what was done.

        A KeyboardInterrupt is passed on once the run has stored what it had done.

        Args:
            exclude: patterns of what to leave out.
            budget: most seconds; None for any number.
        """
        command = [sys.executable, "-m", "tempme_jax", "index", *self._arguments]
        command += ["--quiet", "--json", *(f"--exclude={pattern}" for pattern in exclude)]
        command += [f"--budget={max(1, int(budget))}s"] if budget is not None else []
        # A session of its own: what is typed in a terminal reaches it through this process only.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        try:
            out, errors = process.communicate()
        except BaseException:
            _end(process)
            raise
        return self.describe(process.returncode, out, errors.decode(errors="replace"))

    def describe(self, code: int, out: bytes, errors: str) -> RunOutcome:
        """Say what a run did, from its exit code and what it printed."""
        if code not in (0, INTERRUPTED):
            return RunOutcome([explain_failure(code, errors)], True, code == WRONG_USE)
        try:
            report = json.loads(out)
            lines = [*describe_report(report), *self._list_failures(report)]
            stopped = report["stopped"]
        except (ValueError, KeyError, TypeError):
            return RunOutcome(["the run said nothing that can be understood"], True)
        return RunOutcome(lines, stopped == "Interrupted", is_left=bool(stopped))

    def _list_failures(self, report: dict[str, Any]) -> list[str]:
        """Say which files could not be indexed that no run before has told of."""
        failures = [(each["file"], each["reason"]) for each in report["failures"]]
        new = [each for each in failures if each not in self._failures]
        self._failures = set(failures)
        lines = [
            f"not indexed: {printable_name(os.fsencode(file))}: {reason}"
            for file, reason in new[:SHOWN]
        ]
        if len(new) > SHOWN:
            lines.append(f"not indexed: {len(new) - SHOWN} more; `tempme stats` lists them")
        return lines


def _end(process: subprocess.Popen) -> None:
    """Let a run store its work and end; if it does not, end it and the processes it started."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        process.communicate(timeout=PATIENCE)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def explain_failure(code: int, errors: str) -> str:
    """Say in a line why a run failed."""
    if code < 0:
        name = signal.Signals(-code).name
        memory = "; perhaps the memory was full" if -code == signal.SIGKILL else ""
        return f"the run was ended by {name}{memory}"
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    told = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
    return printable_name((told or lines or [f"the run ended with code {code}"])[-1].encode())


def describe_report(report: dict[str, Any]) -> list[str]:
    """Say in a line what a run did, from its report as JSON; nothing if it found nothing new."""
    done = []
    if report["embedded"]:
        length = format_duration(3600 * report["hours"])
        took = format_duration(report["seconds"])
        done.append(f"{pluralize(report['embedded'], 'video')} indexed ({length}) in {took}")
    for name, word in (("moved", "moved"), ("known", "copied or touched"), ("gone", "gone")):
        if report[name]:
            done.append(f"{report[name]} {word}")
    if report["stopped"]:
        done.append(f"{report['stopped'].lower()}, {pluralize(report['left'], 'video')} left")
    return [", ".join(done)] if done else []
