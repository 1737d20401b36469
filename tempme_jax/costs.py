"""Costs of a method: parameters that train, multiply-accumulates, tokens left."""

import dataclasses
import math

from tempme_jax.networks.macs import count_macs, list_stages
from tempme_jax.networks.network import Network
from tempme_jax.networks.tokens import Stage
from tempme_jax.parameters import find_shapes, list_pretrained_paths


@dataclasses.dataclass(frozen=True)
class Cost:
    """The costs of one model.

    Attributes:
        trainable: count of the parameters that train, in both towers.
        mac, paper: multiply-accumulates of one video, in units of 1e9, counted in the two ways of
            `networks.macs`.
        tokens: count of tokens at the output, over all clips, learned ones included.
        stages: clips and tokens of every block.
    """

    trainable: int
    mac: float
    paper: float
    tokens: int
    stages: tuple[Stage, ...]


def count_costs(network: Network, num_frames: int) -> Cost:
    """Count the costs of a model on videos of `num_frames` frames.

    >>> import tempme_jax
    >>> model = tempme_jax.load("tiny-tempme")
    >>> count_costs(model.network, model.num_frames).tokens
    31
    """
    stages = list_stages(network, num_frames)
    mac, paper = count_macs(network, num_frames)
    return Cost(
        trainable=count_trainable(network, num_frames),
        mac=mac / 1e9,
        paper=paper / 1e9,
        tokens=count_output_tokens(network, stages),
        stages=stages,
    )


def count_output_tokens(network: Network, stages: tuple[Stage, ...]) -> int:
    """Count all tokens at the output, over all clips, learned ones included."""
    adapter, last = network.adapter, stages[-1]
    context = adapter.count_context_tokens("video", len(stages) - 1)
    return last.clips * (last.out + context) + adapter.summary_tokens


def count_trainable(network: Network, num_frames: int) -> int:
    """Count the parameters that train."""
    pretrained = list_pretrained_paths(network.arch)
    return sum(
        math.prod(shape)
        for path, shape in find_shapes(network, num_frames).items()
        if path not in pretrained or network.adapter.is_trained(path)
    )
