"""What a device does: encoding, a training step, memory, compiling, and whether its numbers agree.

It is made to fit into a few minutes: the cases come in the order of their importance, and those for
which no time is left are listed, not measured.
"""

import dataclasses
import functools
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
from tempme_jax.building import create
from tempme_jax.encoding import encode_pixels
from tempme_jax.model import Model
from tempme_jax.parameters import split
from tempme_jax.training.config import TrainSettings
from tempme_jax.training.optim import make_learning_rate, make_optimizer
from tempme_jax.training.step import TrainState, leave_unchanged, train_step
from tempme_jax.training.tasks import choose_task

FRAMES = 12
# No case begins that would probably end after this share of the given time, as one that takes
# longer than all before it would exceed it.
SHARE = 0.9
# A case takes at most so many rounds or seconds.
ROUNDS, SECONDS_A_CASE = 11, 2.0
# Side of the matrices whose product is the device's own rate.
SIDE = {"cpu": 1536}
SIDE_ELSEWHERE = 8192
MIB = 2**20


def measure_device(
    *, limit: float, report: Callable[[str], None] = lambda message: None
) -> DeviceReport:
    """Measure the first device of this process.

    Args:
        limit: seconds after which no further case begins.
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
    left: list[Case] = []
    longest = 0.0
    for number, case in enumerate(cases):
        began = time.monotonic()
        if began - started + longest > limit:
            left = cases[number:]
            break
        report(f"{number + 1} of {len(cases)}: {describe_case(case)}")
        speeds.append(measure_case(case, matrix[case.dtype]))
        if number == 0 and platform != "cpu":
            report("comparing with the CPU")
            parity = [compare_with_cpu(dtype) for dtype in ("float32", "bfloat16")]
        longest = max(longest, time.monotonic() - began)
    return DeviceReport(
        device.device_kind, platform, platform == "cpu", matrix, speeds, parity, left,
        time.monotonic() - started,
    )  # fmt: skip


def measure_case(case: Case, matrix: float) -> CaseSpeed:
    """Measure a case; `matrix` is the rate of a plain matrix product of its dtype.

    That the device has too little memory for it is a result, too.
    """
    try:
        prepare = prepare_encoding if case.what == "encode" else prepare_training
        model = make_model(case.backbone, case.method, case.dtype)
        started = time.monotonic()
        compiled, call = prepare(model, case.batch)
        compile_seconds = time.monotonic() - started
        seconds = time_calls(call)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return CaseSpeed(case, problem="too little memory")
    rate = 0.0
    if case.what == "encode":
        rate = costs.count_costs(model.network, model.num_frames).mac * case.batch / seconds
    return CaseSpeed(
        case, seconds, case.batch / seconds, rate, rate / matrix, compile_seconds,
        measure_program(compiled),
    )  # fmt: skip


@functools.lru_cache(maxsize=1)
def make_model(backbone: str, method: str, dtype: str) -> Model:
    """Make a model of random weights; the last one is kept."""
    return create(backbone, method=method, num_frames=FRAMES, dtype=dtype)


def draw_pixels(model: Model, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw normalised pixels and a mask, the same each time."""
    size = model.arch.image_size
    shape = (batch, model.num_frames, size, size, 3)
    pixels = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    return pixels, np.ones(shape[:2], bool)


def prepare_encoding(model: Model, batch: int) -> tuple[Any, Callable[[], Any]]:
    """Compile the encoding of a batch; return the program and a call of it."""
    network, params = model.folded
    pixels, mask = map(jnp.asarray, draw_pixels(model, batch))
    compiled = encode_pixels.lower(network, params, pixels, mask).compile()
    return compiled, lambda: compiled(params, pixels, mask)


def prepare_training(model: Model, batch: int) -> tuple[Any, Callable[[], Any]]:
    """Compile a training step on a batch; return the program and a call that makes a step."""
    network, arch = model.network, model.arch
    trainable, frozen = (jax.tree.map(jnp.array, half) for half in split(network, model.params))
    settings = TrainSettings(batch_size=batch)
    optimizer = make_optimizer(settings, make_learning_rate(settings, 1000))
    state = TrainState(jnp.int32(0), trainable, optimizer.init(trainable))
    objective = choose_task(network).objective.make(network, settings, 0)
    rng = np.random.default_rng(0)
    shape = (batch, model.num_frames, arch.image_size, arch.image_size, 3)
    words = [f"a drawn text of number {number}" for number in range(batch)]
    ids, text_mask = model.tokenizer(words)
    rows = {
        "frames": rng.integers(0, 256, shape, dtype=np.uint8),
        "frame_mask": np.ones(shape[:2], bool), "ids": ids, "text_mask": text_mask,
    }  # fmt: skip
    rows = jax.tree.map(jnp.asarray, rows)
    given = (state, frozen, rows)
    compiled = train_step.lower(objective, optimizer, leave_unchanged, *given).compile()

    def call() -> Any:
        nonlocal state  # the step takes the memory of the state that it is given
        state, measured = compiled(state, frozen, rows)
        return measured

    return compiled, call


def time_calls(call: Callable[[], Any]) -> float:
    """Return the median seconds of a call, after one that is not timed."""
    jax.block_until_ready(call())
    taken, started = [], time.perf_counter()
    for _ in range(ROUNDS):
        began = time.perf_counter()
        jax.block_until_ready(call())
        taken.append(time.perf_counter() - began)
        if len(taken) >= 3 and time.perf_counter() - started > SECONDS_A_CASE:
            break
    return statistics.median(taken)


def measure_program(compiled: Any) -> float:
    """Return what a compiled program needs, in MiB; 0 where the compiler does not say."""
    sizes = compiled.memory_analysis()
    if sizes is None:
        return 0.0
    names = ("argument_size_in_bytes", "output_size_in_bytes", "temp_size_in_bytes")
    shared = getattr(sizes, "alias_size_in_bytes", 0)  # results in the memory of arguments
    return (sum(getattr(sizes, name, 0) for name in names) - shared) / MIB


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


def compare_with_cpu(dtype: str, backbone: str = "ViT-B/32", method: str = "tempme") -> Parity:
    """Compare the vectors of two videos with those that the CPU computes in float32."""
    model = make_model(backbone, method, dtype)
    there = np.asarray(encode_pixels(*model.folded, *draw_pixels(model, 2)), np.float32)
    cpu = jax.devices("cpu")[0]
    with jax.default_device(cpu):
        exact = dataclasses.replace(model, network=model.network.copy(dtype="float32"))
        network, params = exact.folded
        params, pixels, mask = jax.device_put((params, *draw_pixels(model, 2)), cpu)
        here = np.asarray(encode_pixels(network, params, pixels, mask))
    return Parity(
        backbone, method, dtype, float(np.abs(there - here).max()),
        float(np.min(np.sum(there * here, axis=1))),
    )  # fmt: skip
