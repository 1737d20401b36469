"""The log of a training: metrics.jsonl, TensorBoard curves, and the screen."""

import json
import os
import pathlib
import sys
import time
from typing import Any, TypedDict

import tensorboardX

from tempme_jax.fields import FieldError, parse_fields
from tempme_jax.files import write_text
from tempme_jax.screen import Ticker, make_progress_bar
from tempme_jax.training.tracking import Tracker
from tempme_jax.words import format_clock

METRICS = "metrics.jsonl"


class Measurement(TypedDict):
    """A line of metrics.jsonl; the values have names of their own.

    Attributes:
        step: the step.
        kind: "train", or the split that was measured.
    """

    step: int
    kind: str


class Log:
    """Writes measurements to files and the screen.

    Args:
        folder: the workdir.
        step: steps made before; lines of later steps, left by an earlier attempt, are dropped.
        steps: steps of the whole training.
        writes: whether this process writes; among many only the first does.
        tracker: takes the numbers, too.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        *,
        step: int,
        steps: int,
        writes: bool = True,
        tracker: Tracker | None = None,
    ):
        self.writes, self.tracker = writes, tracker or Tracker()
        file = pathlib.Path(os.devnull)
        if writes:
            file = folder / METRICS
            drop_later_lines(file, step)
        self.lines = file.open("a", encoding="utf-8")
        self.curves = tensorboardX.SummaryWriter(
            str(folder), purge_step=step + 1, write_to_disk=writes, flush_secs=10
        )
        # A bar on a terminal, lines elsewhere, such as in a file.
        self.bar = make_progress_bar(total=steps, initial=step, unit="steps", quiet=not writes)
        # Evaluating takes a while; the clock of the bar goes on.
        self.ticker = None if self.bar.disable else Ticker(self.bar.refresh)
        self.steps = steps
        self.first_report: tuple[int, float] | None = None

    def write(self, step: int, kind: str, values: dict[str, Any]) -> None:
        """Write one line, and a point of every curve."""
        self.lines.write(json.dumps({"step": step, "kind": kind} | values) + "\n")
        self.lines.flush()
        numbers = {name: one for name, one in values.items() if isinstance(one, int | float)}
        for name, value in numbers.items():
            self.curves.add_scalar(f"{kind}/{name}", value, step)
        self.tracker.write(step, kind, numbers)

    def show_progress(self, step: int, values: dict[str, float]) -> None:
        """Show loss, speed and, from the second time on, the time left."""
        text = f"loss {values['loss']:.4f}  lr {values['learning_rate']:.2e}"
        if "videos_per_second" in values:
            text += f"  {values['videos_per_second']:.1f} videos/s"
            text += f"  waited {values['waited']:.0%} for data"
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update(step - self.bar.n)
        if self.bar.disable:
            self.say(f"step {step}/{self.steps}  {text}{self._format_time_left(step)}")

    def _format_time_left(self, step: int) -> str:
        # Judged from the first report on: the steps before it include compilation.
        now = time.monotonic()
        if self.first_report is None:
            self.first_report = step, now
        first, since = self.first_report
        if step in (first, self.steps):
            return ""
        return f"  {format_clock((now - since) / (step - first) * (self.steps - step))} left"

    def say(self, text: str) -> None:
        """Print a line."""
        if self.writes:
            self.bar.write(text, file=sys.stderr)

    def close(self) -> None:
        """Close the bar and the files."""
        if self.ticker:
            self.ticker.stop()
        self.bar.close()
        self.lines.close()
        self.curves.close()


def drop_later_lines(file: pathlib.Path, step: int) -> None:
    """Remove the lines of later steps, and those that cannot be read."""
    if not file.exists():
        return
    kept = []
    for line in file.read_bytes().split(b"\n"):
        try:
            measured = parse_fields(line, Measurement, "line")
        except FieldError:  # cut off when the run was killed, or damaged
            continue
        if measured["step"] <= step:
            kept.append(line.decode() + "\n")
    write_text(file, "".join(kept))
