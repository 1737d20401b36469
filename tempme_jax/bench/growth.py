"""Whether the time of encoding grows as its arithmetic does, over frames and over batches."""

import dataclasses
import statistics
from collections.abc import Callable, Iterable

import numpy as np

from tempme_jax import costs
from tempme_jax.bench.encode import make_call, time_call
from tempme_jax.building import create


@dataclasses.dataclass(frozen=True)
class Point:
    """A number of frames and a batch, and how long it takes to encode them.

    Attributes:
        frames: frames of a video.
        batch: videos in a call.
        gmacs: 1e9 multiply-accumulates of a call.
        seconds: median seconds of a call.
        line: the seconds that the straight line gives for the multiply-accumulates.
        deviation: by which share of the line the seconds are above it; negative below it.
    """

    frames: int
    batch: int
    gmacs: float
    seconds: float
    line: float = 0.0
    deviation: float = 0.0


@dataclasses.dataclass(frozen=True)
class Growth:
    """Seconds over multiply-accumulates.

    Attributes:
        backbone, method: the model.
        points: what was measured.
        gmacs_per_second: the slope of the line, as a speed.
        fixed_seconds: what the line gives for no arithmetic at all.
        largest: the largest deviation from the line, whatever its sign.
    """

    backbone: str
    method: str
    points: list[Point]
    gmacs_per_second: float
    fixed_seconds: float
    largest: float


def measure_growth(
    frames: Iterable[int],
    batches: Iterable[int],
    *,
    backbone: str = "ViT-B/32",
    method: str = "tempme",
    rounds: int = 3,
    report: Callable[[str], None] = lambda message: None,
) -> Growth:
    """Measure numbers of frames with a batch of one, and batches with the fewest frames, in turns.

    Args:
        frames: numbers of frames of a video.
        batches: numbers of videos in a call.
        backbone, method: the model, of random weights.
        rounds: number of calls of each.
        report: called with a message before each part of the work.
    """
    counts = sorted(set(frames))
    cases = [(n, 1) for n in counts] + [(counts[0], b) for b in sorted(set(batches)) if b > 1]
    calls, gmacs = {}, {}
    for n, batch in cases:
        report(f"preparing {n} frames, batch {batch}")
        model = create(backbone, method=method, num_frames=n)
        gmacs[n, batch] = costs.count_costs(model.network, n).mac * batch
        calls[n, batch] = make_call(model, batch)
        time_call(calls[n, batch])  # compiles
    taken = {case: [] for case in cases}
    for turn in range(rounds):
        report(f"round {turn + 1} of {rounds}")
        for case in cases:
            taken[case].append(time_call(calls[case]))
    points = [Point(*case, gmacs[case], statistics.median(taken[case])) for case in cases]
    return draw_line(points, backbone, method)


def draw_line(points: list[Point], backbone: str, method: str) -> Growth:
    """Fit the straight line whose relative deviations are the least in their squares.

    >>> growth = draw_line([Point(12, n, 10.0 * n, 0.5 + n) for n in (1, 2, 3)], "ViT-B/32", "clip")
    >>> round(growth.gmacs_per_second, 6), round(growth.fixed_seconds, 6), round(growth.largest, 6)
    (10.0, 0.5, 0.0)
    """
    gmacs = np.array([point.gmacs for point in points])
    seconds = np.array([point.seconds for point in points])
    if len(points) > 1:
        rows = np.stack([gmacs / seconds, 1 / seconds], axis=1)
        slope, fixed = np.linalg.lstsq(rows, np.ones(len(points)), rcond=None)[0]
    else:
        slope, fixed = seconds[0] / gmacs[0], 0.0
    line = slope * gmacs + fixed
    deviations = seconds / line - 1
    fitted = [
        dataclasses.replace(point, line=float(a), deviation=float(b))
        for point, a, b in zip(points, line, deviations, strict=True)
    ]
    largest = float(np.abs(deviations).max())
    return Growth(backbone, method, fitted, float(1 / slope), float(fixed), largest)
