"""What a method costs: parameters that train, multiply-accumulates, tokens left."""

import dataclasses
import math

from tempme_jax.networks.clip import Clip
from tempme_jax.networks.macs import list_stages, multiply_accumulates
from tempme_jax.networks.tokens import Stage
from tempme_jax.parameters import pretrained_paths, shapes


@dataclasses.dataclass(frozen=True)
class Cost:
    """The costs of one model.

    Attributes:
        trainable: count of the parameters that train, in both towers.
        mac, paper: 1e9 multiply-accumulates of one video, counted in the two ways.
        tokens: all tokens at the output, over all clips, learned ones included.
        stages: clips and tokens of every block.
    """

    trainable: int
    mac: float
    paper: float
    tokens: int
    stages: tuple[Stage, ...]


def count(network: Clip, num_frames: int) -> Cost:
    """The costs of a model on videos of `num_frames` frames."""
    stages = list_stages(network, num_frames)
    mac, paper = multiply_accumulates(network, num_frames)
    return Cost(
        trainable=count_trainable(network, num_frames),
        mac=mac / 1e9,
        paper=paper / 1e9,
        tokens=tokens_left(network, stages),
        stages=stages,
    )


def tokens_left(network: Clip, stages: tuple[Stage, ...]) -> int:
    """All tokens at the output, over all clips, learned ones included."""
    adapter, last = network.adapter, stages[-1]
    context = adapter.context_tokens("video", len(stages) - 1)
    return last.clips * (last.out + context) + adapter.summary_tokens


def count_trainable(network: Clip, num_frames: int) -> int:
    """How many parameters train."""
    pretrained = pretrained_paths(network.arch)
    return sum(
        math.prod(shape)
        for path, shape in shapes(network, num_frames).items()
        if path not in pretrained or network.adapter.tunes(path)
    )
