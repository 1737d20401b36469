"""The data sets, as TFDS builders that do not need TensorFlow."""

from typing import Any

from tempme_jax.datasets.activitynet import ActivityNet
from tempme_jax.datasets.didemo import Didemo
from tempme_jax.datasets.folder import Folder
from tempme_jax.datasets.lsmdc import Lsmdc
from tempme_jax.datasets.moving_shapes import MovingShapes
from tempme_jax.datasets.moving_shapes_qa import MovingShapesQa
from tempme_jax.datasets.msrvtt import Msrvtt
from tempme_jax.datasets.msrvtt_qa import MsrvttQa
from tempme_jax.datasets.msvd import Msvd
from tempme_jax.datasets.prepare import VideoText
from tempme_jax.datasets.vatex import Vatex
from tempme_jax.plugins import add_table, find_row

DATASETS: dict[str, type[VideoText]] = {
    "moving_shapes": MovingShapes,
    "moving_shapes_qa": MovingShapesQa,
    "msrvtt": Msrvtt,
    "activitynet": ActivityNet,
    "didemo": Didemo,
    "lsmdc": Lsmdc,
    "msvd": Msvd,
    "vatex": Vatex,
    "msrvtt_qa": MsrvttQa,
    "folder": Folder,
}


def find_row_problem(name: str, row: Any) -> str:
    """Return what is wrong with a row of `DATASETS`; empty if nothing is."""
    if not (isinstance(row, type) and issubclass(row, VideoText)):
        return "a row is a class derived from tempme_jax.datasets.prepare.VideoText"
    if row.name != name:  # which prepared frames are named after
        return f"its class is named {row.name!r}; write name = {name!r} into it"
    return ""


add_table("data set", DATASETS, find_row_problem)


def find_data_set(name: str) -> type[VideoText]:
    """Return a data set, of an installed plugin if need be.

    Raises:
        ValueError: if there is none of this name; it names similar ones.
    """
    return find_row("data set", name)
