"""Speed and memory of training steps, each version in a process of its own, in turns."""

import contextlib
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator

import tempme_jax
from tempme_jax.bench import steps as worker

HERE = pathlib.Path(tempme_jax.__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class TrainSpeed:
    """Speed and memory of the training steps of one version.

    Attributes:
        checkout: the folder that holds the package.
        first_seconds: seconds of the first step, which compiles or reads the compiled program.
        seconds: seconds of a step: median over the rounds of the median of a round.
        steps_per_second: its inverse.
        cpu_seconds: the least seconds of a step on all cores together, which other programs on the
            machine change less.
        peak_memory_bytes: the most that the process has held.
        speed_ratio: how many times as fast as the last version: median over the rounds.
        cpu_ratio: the last version's `cpu_seconds` by its own.
        memory_ratio: its memory by that of the last version.
        loss_difference: largest difference of its losses from those of the last version.
    """

    checkout: str
    first_seconds: float
    seconds: float
    steps_per_second: float
    cpu_seconds: float
    peak_memory_bytes: int
    speed_ratio: float
    cpu_ratio: float
    memory_ratio: float
    loss_difference: float


class Worker:
    """A process that makes the steps of one version.

    Args:
        folder: the folder that holds the package.
        settings: the flags of a config.
    """

    def __init__(self, folder: pathlib.Path, settings: list[str]):
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, worker.__file__, str(folder), *settings],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def make_steps(self, number: int) -> dict:
        """Make steps; return their seconds, their losses and the peak of memory."""
        assert self.process.stdin and self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{number}\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise ValueError(
                f"{self.folder}: no step could be made (exit code {self.process.wait()}); the "
                "lines above say why"
            )
        return json.loads(line)


@contextlib.contextmanager
def start_workers(folders: list[pathlib.Path], settings: list[str]) -> Iterator[list[Worker]]:
    """Start a process for each folder; end all of them at the end of the block."""
    workers = []
    try:
        for folder in folders:
            workers.append(Worker(folder, settings))
        yield workers
    finally:
        for one in workers:
            one.process.kill()
            one.process.communicate()


def measure_training(
    settings: list[str],
    *,
    against: str | os.PathLike | None = None,
    steps: int = 3,
    rounds: int = 5,
    report: Callable[[str], None] = lambda message: None,
) -> list[TrainSpeed]:
    """Measure training steps on drawn batches, of this version and perhaps of another, in turns.

    Args:
        settings: flags as of a training, --config first.
        against: folder of another checkout, which this one is compared with.
        steps: steps of each version in a round.
        rounds: number of rounds; the versions begin in turns.
        report: called with a message before each part of the work.

    Raises:
        ValueError: if a step cannot be made, or `against` holds no package.
    """
    folders = [HERE] if against is None else [HERE, pathlib.Path(against).resolve()]
    for folder in folders:
        if not (folder / "tempme_jax" / "__init__.py").is_file():
            raise ValueError(f"{folder} must be a checkout, a folder that holds tempme_jax")
    with start_workers(folders, settings) as workers:
        first = []
        for one in workers:
            report(f"compiling the step of {one.folder}")
            first.append(one.make_steps(1))
        made: list[list[dict]] = [[] for _ in workers]
        for turn in range(rounds):
            report(f"round {turn + 1} of {rounds}")
            for number in sorted(range(len(workers)), reverse=turn % 2 == 1):
                made[number].append(workers[number].make_steps(steps))
    return summarize(folders, first, made)


def summarize(
    folders: list[pathlib.Path], first: list[dict], made: list[list[dict]]
) -> list[TrainSpeed]:
    """Return the figures of each version, from its first step and those of each round."""
    taken = [[statistics.median(one["seconds"]) for one in rounds] for rounds in made]
    cpu = [min(min(one["cpu_seconds"]) for one in rounds) for rounds in made]
    losses = [[loss for one in rounds for loss in one["losses"]] for rounds in made]
    peaks = [rounds[-1]["peak"] for rounds in made]
    return [
        TrainSpeed(
            checkout=str(folders[i]),
            first_seconds=first[i]["seconds"][0],
            seconds=statistics.median(taken[i]),
            steps_per_second=1 / statistics.median(taken[i]),
            cpu_seconds=cpu[i],
            peak_memory_bytes=peaks[i],
            speed_ratio=statistics.median(b / a for a, b in zip(taken[i], taken[-1], strict=True)),
            cpu_ratio=cpu[-1] / cpu[i],
            memory_ratio=peaks[i] / peaks[-1],
            loss_difference=max(abs(a - b) for a, b in zip(losses[i], losses[-1], strict=True)),
        )
        for i in range(len(folders))
    ]
