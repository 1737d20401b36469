"""The data sets, as TFDS builders that do not need TensorFlow."""

from tempme_jax.datasets.activitynet import ActivityNet
from tempme_jax.datasets.didemo import Didemo
from tempme_jax.datasets.folder import Folder
from tempme_jax.datasets.lsmdc import Lsmdc
from tempme_jax.datasets.moving_shapes import MovingShapes
from tempme_jax.datasets.moving_shapes_qa import MovingShapesQa
from tempme_jax.datasets.msrvtt import Msrvtt
from tempme_jax.datasets.msrvtt_qa import MsrvttQa

DATASETS = {
    "moving_shapes": MovingShapes,
    "moving_shapes_qa": MovingShapesQa,
    "msrvtt": Msrvtt,
    "activitynet": ActivityNet,
    "didemo": Didemo,
    "lsmdc": Lsmdc,
    "msrvtt_qa": MsrvttQa,
    "folder": Folder,
}
