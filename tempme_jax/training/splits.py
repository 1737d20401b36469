"""The data of a run: preparation, and the splits."""

import jax
import numpy as np
from jax.experimental import multihost_utils

from tempme_jax.datasets.prepared import Prepared
from tempme_jax.datasets.records import PreparationError
from tempme_jax.model import Model
from tempme_jax.training.config import DataSettings
from tempme_jax.training.places import find_former, make_builder


def prepare_data(data: DataSettings) -> None:
    """Decode the videos if that was not done before; in one process, while the others wait.

    Raises:
        AnnotationError, PreparationError: see `tempme_jax.datasets.prepare`; in all processes.
    """
    problem = None
    if jax.process_index() == 0:
        try:
            prepare_here(data)
        except (ValueError, OSError) as error:
            problem = error  # the others must hear of it, or they would wait forever
    if jax.process_count() > 1:
        failed = multihost_utils.broadcast_one_to_all(np.bool_(problem is not None))
        if failed and not problem:
            problem = PreparationError("the data are not prepared; the first process says why")
    if problem:
        raise problem


def prepare_here(data: DataSettings) -> None:
    """Do the same in this process, without JAX; what is prepared is checked."""
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
