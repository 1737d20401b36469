"""The data of a run: preparation, and the splits."""

import functools
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils

from tempme_jax.datasets.prepare import require_root
from tempme_jax.datasets.prepared import Prepared
from tempme_jax.datasets.records import PreparationError
from tempme_jax.datasets.unchanged import list_splits
from tempme_jax.model import Model
from tempme_jax.training.config import DataSettings
from tempme_jax.training.places import find_former, make_builder


def check_annotations(data: DataSettings) -> None:
    """Read the annotations of what is not prepared yet, which takes seconds.

    Raises:
        AnnotationError, PreparationError: they are not there, or not as they should be; in all
            processes.
    """
    do_in_first_process(functools.partial(list_here, data))


def prepare_data(data: DataSettings) -> None:
    """Decode the videos if that was not done before.

    Raises:
        AnnotationError, PreparationError: see `tempme_jax.datasets.prepare`; in all processes.
    """
    do_in_first_process(functools.partial(prepare_here, data))


def do_in_first_process(work: Callable[[], None]) -> None:
    """Call a function in one process, while the others wait; errors are raised in all."""
    problem = None
    if jax.process_index() == 0:
        try:
            work()
        except (ValueError, OSError) as error:
            problem = error  # the others must hear of it, or they would wait forever
    if jax.process_count() > 1:
        failed = multihost_utils.broadcast_one_to_all(np.bool_(problem is not None))
        if failed and not problem:
            problem = PreparationError("the data are not prepared; the first process says why")
    if problem:
        raise problem


def list_here(data: DataSettings) -> None:
    """Read the annotations in this process, without JAX, unless the videos are prepared."""
    builder = make_builder(data)
    require_root(builder)
    if not (builder.MAKES_ITSELF or builder.is_prepared()):
        list_splits(builder)


def prepare_here(data: DataSettings) -> None:
    """Decode the videos in this process, without JAX; what is prepared is checked."""
    builder = find_former(data) or make_builder(data)
    builder.download_and_prepare(
        workers=data.decoders or None, max_bad=data.max_bad, missing=data.missing
    )


def require_same_resize(data: DataSettings, model: Model) -> None:
    """Raise a PreparationError if frames are made square in another way than a model takes."""
    if data.resize != model.arch.resize:
        raise PreparationError(
            f"data.resize={data.resize!r}, but the model was trained on frames of "
            f"{model.arch.resize!r}: give --config.data.resize={model.arch.resize}, which prepares "
            "such frames in a folder of their own"
        )


def open_split(data: DataSettings, splits: str) -> Prepared:
    """Open a split of the prepared data, or several, joined by "+"."""
    return Prepared(make_builder(data).data_dir, tuple(splits.split("+")))
