"""What a run measures on its way: lines of JSON, curves of TensorBoard, and the screen."""

import json
import os
import pathlib
import sys
import time
from typing import Any

import tensorboardX
import tqdm

from tempme_jax.files import write_text
from tempme_jax.words import format_clock

METRICS = "metrics.jsonl"


class Log:
    """Writes what is measured, from one process.

    Args:
        folder: the workdir.
        step: the step that the run begins with; what an earlier attempt has written of later
            steps is dropped.
        steps: in all.
        writes: whether this process writes; of many only the first does.
    """

    def __init__(self, folder: pathlib.Path, *, step: int, steps: int, writes: bool = True):
        self.writes = writes
        file = pathlib.Path(os.devnull)
        if writes:
            file = folder / METRICS
            keep_until(file, step)
        self.lines = file.open("a", encoding="utf-8")
        self.curves = tensorboardX.SummaryWriter(
            str(folder), purge_step=step + 1, write_to_disk=writes, flush_secs=10
        )
        # On a terminal a bar; elsewhere, as in a file, lines.
        self.bar = tqdm.tqdm(
            total=steps, initial=step, unit="step", disable=None if writes else True,
            dynamic_ncols=True,
        )  # fmt: skip
        self.steps, self.begun = steps, None

    def write(self, step: int, kind: str, values: dict[str, Any]) -> None:
        """One line and one point of every curve."""
        self.lines.write(json.dumps({"step": step, "kind": kind} | values) + "\n")
        self.lines.flush()
        for name, value in values.items():
            if isinstance(value, int | float):
                self.curves.add_scalar(f"{kind}/{name}", value, step)

    def progress(self, step: int, values: dict[str, float]) -> None:
        """How the run goes, on the screen; how long it takes from the second time on."""
        text = f"loss {values['loss']:.4f}  lr {values['learning_rate']:.2e}"
        if "videos_per_second" in values:
            text += f"  {values['videos_per_second']:.1f} videos/s"
            text += f"  waited {values['waited']:.0%} for data"
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update(step - self.bar.n)
        if self.bar.disable:
            self.say(f"step {step}/{self.steps}  {text}{self.left(step)}")

    def left(self, step: int) -> str:
        """How long the other steps take, by those since the first report, which had to compile."""
        now = time.monotonic()
        if self.begun is None:
            self.begun = step, now
        first, since = self.begun
        if step in (first, self.steps):
            return ""
        return f"  {format_clock((now - since) / (step - first) * (self.steps - step))} left"

    def say(self, text: str) -> None:
        """A line on the screen."""
        if self.writes:
            self.bar.write(text, file=sys.stderr)

    def close(self) -> None:
        """Ends the bar and the files."""
        self.bar.close()
        self.lines.close()
        self.curves.close()


def keep_until(file: pathlib.Path, step: int) -> None:
    """Drops the lines of later steps, and one that was not written to its end."""
    if not file.exists():
        return
    kept = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] > step:
                continue
        except ValueError:  # cut off when the run was killed
            continue
        kept.append(line + "\n")
    write_text(file, "".join(kept))
