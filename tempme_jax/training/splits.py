"""The data of a run: prepared once, and opened split by split."""

import pathlib

import jax
import numpy as np
from jax.experimental import multihost_utils

from tempme_jax.checks import require_one_of
from tempme_jax.datasets import DATASETS
from tempme_jax.datasets.base import Storage
from tempme_jax.datasets.builder import VideoText
from tempme_jax.datasets.prepared import PreparationError, Prepared
from tempme_jax.training.config import DataSettings


def make_builder(data: DataSettings) -> VideoText:
    """The data set, as it is to be stored.

    Raises:
        ValueError: if there is no such data set, variant or split; it says which there are.
    """
    kind = DATASETS[require_one_of(data.name, DATASETS, "data set")]
    for splits in (data.train, data.validation, data.test):
        for split in splits.split("+"):
            require_one_of(split, kind.SPLITS, f"split of {data.name}")
    storage = Storage(
        variant=data.variant or kind.VARIANTS[0],
        size=data.size,
        fps=data.fps,
        least=data.least,
        most=max(data.least, data.most),
    )
    root = data.root or pathlib.Path("data") / data.name
    return kind(data_dir=data.prepared, root=root, config=storage)


def prepare(data: DataSettings) -> None:
    """Decodes the videos once, if they were not; in one process, while the others wait.

    Raises:
        AnnotationError, PreparationError: see `preparation.prepare`; in all processes.
    """
    problem = None
    if jax.process_index() == 0:
        try:
            make_builder(data).download_and_prepare(
                workers=data.decoders or None, max_bad=data.max_bad, missing=data.missing
            )
        except (ValueError, OSError, PreparationError) as error:
            problem = error  # the others must hear of it, or they would wait in vain
    if jax.process_count() > 1:
        failed = multihost_utils.broadcast_one_to_all(np.bool_(problem is not None))
        if failed and not problem:
            problem = PreparationError("the data are not prepared; the first process says why")
    if problem:
        raise problem


def open_split(data: DataSettings, splits: str) -> Prepared:
    """A split of the prepared data, or several, joined by "+"."""
    return Prepared(make_builder(data).data_dir, tuple(splits.split("+")))
