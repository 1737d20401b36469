"""The programs that `tempme bench device` measures: encoding and training steps, compiled ahead."""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tempme_jax.bench.device_cases import Case
from tempme_jax.building import create
from tempme_jax.encoding import encode_pixels
from tempme_jax.model import Model
from tempme_jax.parameters import split
from tempme_jax.training.config import TrainSettings
from tempme_jax.training.optim import make_learning_rate, make_optimizer
from tempme_jax.training.step import TrainState, leave_unchanged, train_step
from tempme_jax.training.tasks import choose_task

FRAMES = 12
MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled case.

    Attributes:
        case: the case.
        model: its model.
        make_call: a function that draws what the program takes, and returns a call of it.
        compile_seconds: seconds to trace and compile it.
        mib: what it needs in MiB: arguments, results and what lies in between; 0 where the
            compiler does not say.
        problem: why it could not be compiled; empty if it was.
    """

    case: Case
    model: Model
    make_call: Callable[[], Callable[[], Any]] | None = None
    compile_seconds: float = 0.0
    mib: float = 0.0
    problem: str = ""


def compile_together(cases: Sequence[Case]) -> list[Program]:
    """Compile several cases at the same time."""
    models = [make_model(case.backbone, case.method, case.dtype) for case in cases]
    with ThreadPoolExecutor(len(cases)) as pool:
        return list(pool.map(compile_case, cases, models))


def compile_case(case: Case, model: Model) -> Program:
    """Compile a case. That the device has too little memory for it is a result, too."""
    prepare = prepare_encoding if case.what == "encode" else prepare_training
    started = time.monotonic()
    try:
        compiled, make_call = prepare(model, case.batch)
    except jax.errors.JaxRuntimeError as error:
        return Program(case, model, problem=explain(error))
    return Program(
        case, model, make_call, time.monotonic() - started, count_mib(compiled.memory_analysis())
    )


def explain(error: Exception) -> str:
    """Say that the memory is too little; any other error is raised again."""
    if "RESOURCE_EXHAUSTED" not in str(error):
        raise error
    return "too little memory"


def count_mib(sizes: Any) -> float:
    """Return what a compiled program needs in MiB, of its memory analysis."""
    if sizes is None:
        return 0.0
    names = ("argument_size_in_bytes", "output_size_in_bytes", "temp_size_in_bytes")
    shared = getattr(sizes, "alias_size_in_bytes", 0)  # results in the memory of arguments
    return (sum(getattr(sizes, name, 0) for name in names) - shared) / MIB


@functools.lru_cache(maxsize=4)
def make_model(backbone: str, method: str, dtype: str) -> Model:
    """Make a model of random weights; the last few are kept."""
    return create(backbone, method=method, num_frames=FRAMES, dtype=dtype)


def draw_pixels(model: Model, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw normalised pixels and a mask, the same each time."""
    size = model.arch.image_size
    shape = (batch, model.num_frames, size, size, 3)
    pixels = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    return pixels, np.ones(shape[:2], bool)


def prepare_encoding(model: Model, batch: int) -> tuple[Any, Callable[[], Callable[[], Any]]]:
    """Compile the encoding of a batch."""
    network, params = model.folded
    size = model.arch.image_size
    pixels = jax.ShapeDtypeStruct((batch, model.num_frames, size, size, 3), jnp.float32)
    mask = jax.ShapeDtypeStruct(pixels.shape[:2], bool)
    compiled = encode_pixels.lower(network, params, pixels, mask).compile()

    def make_call() -> Callable[[], Any]:
        given = jax.device_put(draw_pixels(model, batch))
        return lambda: compiled(params, *given)

    return compiled, make_call


def prepare_training(model: Model, batch: int) -> tuple[Any, Callable[[], Callable[[], Any]]]:
    """Compile a training step on a batch."""
    network = model.network
    trainable, frozen = split(network, model.params)
    settings = TrainSettings(batch_size=batch)
    optimizer = make_optimizer(settings, make_learning_rate(settings, 1000))
    objective = choose_task(network).objective.make(network, settings, 0)
    rows = draw_rows(model, batch)

    def make_state() -> TrainState:
        copied = jax.tree.map(jnp.array, trainable)
        return TrainState(jnp.int32(0), copied, optimizer.init(copied))

    given = jax.eval_shape(make_state), frozen, rows
    compiled = train_step.lower(objective, optimizer, leave_unchanged, *given).compile()

    def make_call() -> Callable[[], Any]:
        state, placed = make_state(), jax.device_put(rows)

        def call() -> Any:
            nonlocal state  # the step takes the memory of the state that it is given
            state, measured = compiled(state, frozen, placed)
            return measured

        return call

    return compiled, make_call


def draw_rows(model: Model, batch: int) -> dict[str, np.ndarray]:
    """Draw the videos and texts of a training batch."""
    size = model.arch.image_size
    shape = (batch, model.num_frames, size, size, 3)
    words = [f"a drawn text of number {number}" for number in range(batch)]
    ids, text_mask = model.tokenizer(words)
    return {
        "frames": np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8),
        "frame_mask": np.ones(shape[:2], bool), "ids": ids, "text_mask": text_mask,
    }  # fmt: skip
