"""Speed and memory of a model in JAX and in ONNX Runtime, in processes that take turns."""

import dataclasses
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from tempme_jax.screen import make_console, make_table

# The names of the rows, and the precision of those that are exported.
PRECISIONS = {"onnx float32": "float32", "onnx int8": "int8"}
FIRST = "jax float32"
# Longer than any model takes to open and to compile.
PATIENCE = 1200.0


@dataclasses.dataclass(frozen=True)
class RuntimeSpeed:
    """Speed of encoding a video, in one runtime.

    Attributes:
        runtime: the runtime and its precision.
        open_seconds: seconds until the first video is encoded, imports included.
        seconds: median of the seconds of a call.
        ratio: speed relative to JAX: median over the pairs of calls.
        resident_mib: resident memory of its process after the last call, in MiB.
        file_mb: size of the file of the video tower, in MB; None for JAX, which reads both towers.
        cosine: smallest cosine of a vector and that of JAX, on drawn inputs; None for JAX.
    """

    runtime: str
    open_seconds: float
    seconds: float
    ratio: float
    resident_mib: float
    file_mb: float | None
    cosine: float | None


def measure_runtimes(
    *,
    backbone: str,
    method: str,
    num_frames: int,
    batch: int = 1,
    pairs: int = 11,
    report: Callable[[str], None] = lambda message: None,
) -> list[RuntimeSpeed]:
    """Measure a model of random weights, or one that `load` opens, in JAX and in ONNX Runtime.

    Args:
        backbone: a name of `ARCHITECTURES`, or what `load` takes.
        method: name of the method.
        num_frames: frames of a video.
        batch: videos in a call.
        pairs: calls of each.
        report: receives lines about what is done.
    """
    from tempme_jax.export.runtime import name_files

    report("Making the model and its exports")
    with tempfile.TemporaryDirectory() as folder:
        files, cosines, frames = make_files(Path(folder), backbone, method, num_frames)
        opened, seconds, resident = run_in_turns(files, (batch, *frames), pairs, report)
        sizes = {name: name_files(files[name])["video"].stat().st_size / 1e6 for name in PRECISIONS}
    first = seconds[FIRST]
    return [
        RuntimeSpeed(
            name,
            opened[name],
            statistics.median(times),
            statistics.median(a / b for a, b in zip(first, times, strict=True)),
            resident[name],
            sizes.get(name),
            cosines[name],
        )
        for name, times in seconds.items()
    ]


def make_files(
    folder: Path, backbone: str, method: str, num_frames: int
) -> tuple[dict[str, Path], dict[str, float | None], tuple[int, ...]]:
    """Write a model and its exports; return the files, the cosines, and the shape of a video."""
    from tempme_jax.building import create
    from tempme_jax.export import saving
    from tempme_jax.loading import load
    from tempme_jax.networks.architecture import ARCHITECTURES

    open_model = create if backbone in ARCHITECTURES else load
    model = open_model(backbone, method=method, num_frames=num_frames)
    files = {FIRST: folder / "model.safetensors"}
    model.save(files[FIRST])
    cosines: dict[str, float | None] = {FIRST: None}
    for name, precision in PRECISIONS.items():
        files[name] = folder / f"{precision}.onnx"
        made = saving.export_onnx(model, files[name], int8=precision == "int8")
        cosines[name] = made.agreement["video"]["cosine"]
    side = model.arch.image_size
    return files, cosines, (model.num_frames, side, side, 3)


def run_in_turns(
    files: dict[str, Path], shape: tuple[int, ...], pairs: int, report: Callable[[str], None]
) -> tuple[dict[str, float], dict[str, list[float]], dict[str, float]]:
    """Return the seconds to open, those of the calls, and the memory, by runtime."""
    context = multiprocessing.get_context("spawn")
    pipes, children = {}, []
    try:
        opened = {}
        for name, file in files.items():
            pipes[name], other = context.Pipe()
            child = context.Process(target=encode_on_demand, args=(other, str(file), shape))
            child.start()
            children.append(child)
            other.close()
            report(f"Opening {name}")
            opened[name] = ask(pipes[name])
        seconds: dict[str, list[float]] = {name: [] for name in files}
        for number in range(pairs):
            report(f"Calls {number + 1} of {pairs}")
            for name, pipe in pipes.items():
                pipe.send("encode")
                seconds[name].append(ask(pipe))
        resident = {}
        for name, pipe in pipes.items():
            pipe.send("memory")
            resident[name] = ask(pipe)
        return opened, seconds, resident
    finally:
        for pipe in pipes.values():
            pipe.close()
        for child in children:
            child.join(10)
            child.kill()


def ask(pipe: Connection) -> float:
    """Return the next answer of a child.

    Raises:
        RuntimeError: if it has ended, or does not answer.
    """
    try:
        if pipe.poll(PATIENCE):
            return pipe.recv()
    except EOFError:
        pass
    raise RuntimeError("a process that measures has ended early; its error is printed above")


def encode_on_demand(pipe: Connection, file: str, shape: tuple[int, ...]) -> None:
    """Open a model in this process, and encode videos when asked to; send how long it takes."""
    started = time.perf_counter()
    import psutil

    from tempme_jax.loading import load

    model = load(file)
    rng = np.random.default_rng(0)
    batch = [(rng.integers(0, 256, shape, np.uint8), np.ones(shape[:2], bool))]
    model.encode_frames(batch)
    pipe.send(time.perf_counter() - started)
    model.encode_frames(batch)
    while True:
        try:
            asked = pipe.recv()
        except EOFError:  # all was measured
            return
        if asked == "memory":
            pipe.send(psutil.Process().memory_info().rss / 2**20)
            continue
        started = time.perf_counter()
        model.encode_frames(batch)
        pipe.send(time.perf_counter() - started)


def print_runtimes(speeds: list[RuntimeSpeed], title: str) -> None:
    """Print speeds as a table."""
    columns = ("Runtime", "ready in s", "s a call", "x JAX", "memory MiB", "file MB", "cosine")
    table = make_table(title, columns, left=("Runtime",))
    for row in speeds:
        table.add_row(
            row.runtime,
            f"{row.open_seconds:.1f}",
            f"{row.seconds:.3f}",
            f"{row.ratio:.2f}",
            f"{row.resident_mib:.0f}",
            "-" if row.file_mb is None else f"{row.file_mb:.1f}",
            "-" if row.cosine is None else f"{row.cosine:.6f}",
        )
    make_console().print(table)
