"""What `tempme bench device` measures, and what came of it."""

import dataclasses
from collections.abc import Iterator

from tempme_jax.words import pluralize

METHODS = ("clip", "tome", "tempme")


@dataclasses.dataclass(frozen=True)
class Case:
    """A case to measure: encoding videos, or a training step on them.

    Attributes:
        what: "encode" or "train".
        backbone, method, dtype: the model.
        batch: videos at once.
    """

    what: str
    backbone: str
    method: str
    dtype: str
    batch: int


@dataclasses.dataclass(frozen=True)
class CaseSpeed:
    """What was measured of a case.

    Attributes:
        case: the case.
        seconds: median seconds of a call.
        videos_per_second: speed.
        gmacs_per_second: 1e9 multiply-accumulates per second, of encoding; 0 for a training step,
            whose arithmetic is not counted.
        share: that over the rate of a plain matrix product of the same dtype; 0 likewise.
        compile_seconds: seconds to trace and compile it, or to read it from the cache, while others
            were compiled, too.
        program_mib: what the program needs in MiB: arguments, results and what lies in between.
        problem: why it could not be measured; empty if it was.
    """

    case: Case
    seconds: float = 0.0
    videos_per_second: float = 0.0
    gmacs_per_second: float = 0.0
    share: float = 0.0
    compile_seconds: float = 0.0
    program_mib: float = 0.0
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class Parity:
    """How vectors of a device agree with those of the CPU in float32.

    Attributes:
        backbone, method, dtype: the model on the device.
        largest: largest difference of two numbers of unit vectors.
        cosine: smallest cosine of two vectors.
    """

    backbone: str
    method: str
    dtype: str
    largest: float
    cosine: float


@dataclasses.dataclass(frozen=True)
class DeviceReport:
    """All that was measured of a device.

    Attributes:
        device: its name.
        platform: "cpu", "gpu" or "tpu".
        is_reduced: whether it is the small set of cases, for a CPU.
        matrix: GMAC/s of a plain matrix product, by dtype.
        speeds: the cases.
        parity: agreement with the CPU; empty on a CPU, which is its own reference.
        left: the cases for which no time was left.
        together: how many programs were compiled at the same time.
        seconds: duration of all.
    """

    device: str
    platform: str
    is_reduced: bool
    matrix: dict[str, float]
    speeds: list[CaseSpeed]
    parity: list[Parity]
    left: list[Case]
    together: int
    seconds: float


def list_cases(platform: str) -> list[Case]:
    """List what to measure, the most important first; little on a CPU.

    >>> len(list_cases("cpu"))
    4
    """
    if platform == "cpu":
        small = [Case("encode", "ViT-B/32", name, "float32", 1) for name in ("clip", "tempme")]
        small += [Case("encode", "ViT-B/32", "tempme", "float32", 2)]
        return [*small, Case("train", "ViT-B/32", "tempme", "float32", 2)]
    cases = [Case("encode", "ViT-B/32", name, "bfloat16", 64) for name in METHODS]
    cases += [Case("train", "ViT-B/32", "tempme", "bfloat16", 128)]
    cases += [Case("encode", "ViT-B/16", name, "bfloat16", 64) for name in METHODS]
    cases += [Case("encode", "ViT-B/32", "tempme", "bfloat16", 1)]
    cases += [Case("encode", "ViT-B/32", name, "float32", 64) for name in METHODS]
    cases += [Case("train", "ViT-B/32", "tempme", "float32", 128)]
    cases += [Case("encode", "ViT-B/16", name, "float32", 64) for name in METHODS]
    cases += [Case("train", "ViT-B/16", "tempme", "bfloat16", 128)]
    rest = [
        Case("encode", backbone, name, dtype, batch)
        for backbone in ("ViT-B/32", "ViT-B/16")
        for dtype in ("bfloat16", "float32")
        for batch in (1, 4, 16, 64, 256)
        for name in METHODS
    ]
    return list(dict.fromkeys(cases + rest))


def describe_case(case: Case) -> str:
    """Describe a case in a line.

    >>> describe_case(Case("encode", "ViT-B/32", "tempme", "bfloat16", 64))
    'encode ViT-B/32 tempme, bfloat16, batch 64'
    """
    return f"{case.what} {case.backbone} {case.method}, {case.dtype}, batch {case.batch}"


def list_problems(report: DeviceReport) -> Iterator[str]:
    """Say what was not measured, in lines."""
    if report.is_reduced:
        yield (
            "A reduced set: on a CPU, B/16, bfloat16, larger batches and the comparison with the "
            "CPU are left out."
        )
    if report.together > 1:
        yield f"{report.together} programs were compiled at a time, and measured one by one."
    if report.left:
        names = ", ".join(dict.fromkeys(describe_case(case) for case in report.left))
        yield f"No time was left for {pluralize(len(report.left), 'case')}: {names}."
