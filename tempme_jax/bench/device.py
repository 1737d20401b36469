"""What a device does: encoding, a training step, memory, compiling, and whether its numbers agree.

It is made to fit into a few minutes: the cases come in the order of their importance, and those for
which no time is left are listed, not measured. For an accelerator, compiling takes most of the
time, so a few programs are compiled together, and then measured one after the other.
"""

import dataclasses
import functools
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tempme_jax import costs
from tempme_jax.bench.device_cases import (
    Case,
    CaseSpeed,
    DeviceReport,
    Parity,
    describe_case,
    list_cases,
)
from tempme_jax.bench.device_programs import (
    Program,
    compile_together,
    draw_pixels,
    explain,
    make_model,
)
from tempme_jax.encoding import encode_pixels

# No case begins that would probably end after this share of the given time, as one that takes
# longer than all before it would exceed it.
SHARE = 0.9
# A case takes at most so many rounds or seconds.
ROUNDS, SECONDS_A_CASE = 11, 2.0
# Side of the matrices whose product is the device's own rate.
SIDE = {"cpu": 1536}
SIDE_ELSEWHERE = 8192
# Programs that are compiled together, at most, and processors that each of them keeps busy.
TOGETHER, PROCESSORS = 8, 2
# Videos that are compared with the CPU's.
COMPARED = 2


def measure_device(
    *, limit: float, report: Callable[[str], None] = lambda message: None
) -> DeviceReport:
    """Measure the first device of this process.

    Args:
        limit: seconds after which no further cases begin.
        report: called with a message before each part of the work.
    """
    started, device = time.monotonic(), jax.devices()[0]
    platform = jax.default_backend()
    cases = list_cases(platform)
    report("measuring a plain matrix product")
    dtypes = dict.fromkeys(case.dtype for case in cases)
    matrix = {dtype: measure_matrix_rate(dtype, platform) for dtype in dtypes}
    speeds: list[CaseSpeed] = []
    parity: list[Parity] = []
    together, longest = choose_together(platform), 0.0
    while len(speeds) < len(cases):
        began, done = time.monotonic(), len(speeds)
        if began - started + longest > limit:
            break
        chosen = cases[done : done + together]
        report(f"{done + 1} of {len(cases)}: compiling {', '.join(map(describe_case, chosen))}")
        for program in compile_together(chosen):
            report(f"{len(speeds) + 1} of {len(cases)}: {describe_case(program.case)}")
            speed, vectors = measure_program(program, matrix[program.case.dtype])
            speeds.append(speed)
            new = not any(one.dtype == program.case.dtype for one in parity)
            if new and platform != "cpu" and is_compared(speed):
                report("comparing with the CPU")
                parity.append(compare_with_cpu(program.case, np.asarray(vectors)))
        longest = max(longest, time.monotonic() - began)
    return DeviceReport(
        device.device_kind, platform, platform == "cpu", matrix, speeds, parity,
        cases[len(speeds) :], together, time.monotonic() - started,
    )  # fmt: skip


def choose_together(platform: str) -> int:
    """Return how many programs are compiled together; for a CPU one, which is measured alone."""
    processors = os.cpu_count() or 1
    return 1 if platform == "cpu" else max(1, min(TOGETHER, processors // PROCESSORS))


def measure_program(program: Program, matrix: float) -> tuple[CaseSpeed, Any]:
    """Measure a program; `matrix` is the rate of a plain matrix product of its dtype.

    Returns:
        Its speed, and the result of its first call, which is not timed.
    """
    case, model = program.case, program.model
    if program.make_call is None:
        return CaseSpeed(case, problem=program.problem), None
    try:
        seconds, result = time_calls(program.make_call())
    except jax.errors.JaxRuntimeError as error:
        return CaseSpeed(case, problem=explain(error)), None
    rate = 0.0
    if case.what == "encode":
        rate = costs.count_costs(model.network, model.num_frames).mac * case.batch / seconds
    speed = CaseSpeed(
        case, seconds, case.batch / seconds, rate, rate / matrix, program.compile_seconds,
        program.mib,
    )  # fmt: skip
    return speed, result


def time_calls(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the median seconds of a call, after one that is not timed, and its result."""
    result = jax.block_until_ready(call())
    taken, started = [], time.perf_counter()
    for _ in range(ROUNDS):
        began = time.perf_counter()
        jax.block_until_ready(call())
        taken.append(time.perf_counter() - began)
        if len(taken) >= 3 and time.perf_counter() - started > SECONDS_A_CASE:
            break
    return statistics.median(taken), result


def measure_matrix_rate(dtype: str, platform: str) -> float:
    """Return the best rate of a plain product of square matrices, in GMAC/s."""
    side = SIDE.get(platform, SIDE_ELSEWHERE)
    a = jax.random.normal(jax.random.key(0), (side, side), jnp.dtype(dtype))
    multiply = jax.jit(jnp.matmul)
    jax.block_until_ready(multiply(a, a))
    return side**3 / 1e9 / min(_time_once(multiply, a) for _ in range(ROUNDS))


def _time_once(multiply: Callable, a: jax.Array) -> float:
    started = time.perf_counter()
    jax.block_until_ready(multiply(a, a))
    return time.perf_counter() - started


def is_compared(speed: CaseSpeed) -> bool:
    """Return whether the vectors of a case are compared with those of the CPU."""
    case = speed.case
    return (
        not speed.problem
        and (case.what, case.method) == ("encode", "tempme")
        and case.batch >= COMPARED
    )


def compare_with_cpu(case: Case, vectors: np.ndarray) -> Parity:
    """Compare the first vectors of a case with those that the CPU computes in float32."""
    here = encode_on_cpu(case.backbone, case.method, case.batch)
    there = vectors[:COMPARED].astype(np.float32)
    return Parity(
        case.backbone, case.method, case.dtype, float(np.abs(there - here).max()),
        float(np.min(np.sum(there * here, axis=1))),
    )  # fmt: skip


@functools.lru_cache(maxsize=2)
def encode_on_cpu(backbone: str, method: str, batch: int) -> np.ndarray:
    """Return the vectors of the first videos of a batch, computed by the CPU in float32."""
    cpu = jax.devices("cpu")[0]
    model = make_model(backbone, method, "float32")
    with jax.default_device(cpu):
        exact = dataclasses.replace(model, params=jax.device_put(model.params, cpu))
        given = [array[:COMPARED] for array in draw_pixels(model, batch)]
        return np.asarray(encode_pixels(*exact.folded, *given), np.float32)
