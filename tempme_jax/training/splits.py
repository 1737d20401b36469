"""The data of a run: preparation, and the splits."""

import pathlib

import jax
import numpy as np
from jax.experimental import multihost_utils

from tempme_jax.checks import require_one_of
from tempme_jax.datasets import DATASETS
from tempme_jax.datasets.base import Storage
from tempme_jax.datasets.prepare import VideoText
from tempme_jax.datasets.prepared import PreparationError, Prepared
from tempme_jax.training.config import DataSettings


def make_builder(data: DataSettings) -> VideoText:
    """Return the builder of the data set, with its settings for storage.

    Raises:
        ValueError: if there is no such data set, variant or split.
    """
    kind = DATASETS[require_one_of(data.name, DATASETS, "data set")]
    for splits in (data.train, data.validation, data.test):
        for split in splits.split("+"):
            require_one_of(split, kind.SPLITS, f"split of {data.name}")
    root = data.root or pathlib.Path("data") / data.name
    return kind(data_dir=data.prepared, root=root, config=make_storage(data))


def make_storage(data: DataSettings) -> Storage:
    """Return how the frames are stored; an empty variant becomes the first of the data set."""
    return Storage(
        variant=data.variant or DATASETS[data.name].VARIANTS[0],
        size=data.size,
        fps=data.fps,
        least=data.least,
        most=max(data.least, data.most),
    )


def prepare_data(data: DataSettings) -> None:
    """Decode the videos if that was not done before; in one process, while the others wait.

    Raises:
        AnnotationError, PreparationError: see `tempme_jax.datasets.prepare`; in all processes.
    """
    problem = None
    if jax.process_index() == 0:
        try:
            make_builder(data).download_and_prepare(
                workers=data.decoders or None, max_bad=data.max_bad, missing=data.missing
            )
        except (ValueError, OSError, PreparationError) as error:
            problem = error  # the others must hear of it, or they would wait forever
    if jax.process_count() > 1:
        failed = multihost_utils.broadcast_one_to_all(np.bool_(problem is not None))
        if failed and not problem:
            problem = PreparationError("the data are not prepared; the first process says why")
    if problem:
        raise problem


def open_split(data: DataSettings, splits: str) -> Prepared:
    """Open a split of the prepared data, or several, joined by "+"."""
    return Prepared(make_builder(data).data_dir, tuple(splits.split("+")))
