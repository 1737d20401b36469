"""What a method costs: parameters that train, multiply-accumulates, tokens left.

Multiply-accumulates are of the video tower, for one video, with low-rank changes folded in. They
are counted from the schedule in two ways (specification section 0.2):

* `mac`: the matrix products that this package computes.
* `paper`: what reproduces the GFLOPs of the TempMe paper, which calls one multiply-accumulate one
  FLOP: matrix products, with learned tokens in the sequence through the MLP, plus 5 for every
  element of a layer norm, 1 for every one of a softmax, and 1 for every explicit multiplication
  (scaling of queries, QuickGELU). Bias and residual additions and the matching are not counted.
"""

import dataclasses
import math

from tempme_jax.clip import Clip
from tempme_jax.parameters import pretrained_paths, shapes
from tempme_jax.schedule import Step, schedule

MLP_RATIO = 4


@dataclasses.dataclass(frozen=True)
class Cost:
    """The costs of one model.

    Attributes:
        trainable: count of the parameters that train, in both towers.
        mac, paper: 1e9 multiply-accumulates of one video, counted in the two ways.
        tokens: all tokens at the output, over all clips, learned ones included.
        steps: clips and tokens of every block.
    """

    trainable: int
    mac: float
    paper: float
    tokens: int
    steps: tuple[Step, ...]


def count(clip: Clip, num_frames: int) -> Cost:
    """The costs of a model on videos of `num_frames` frames."""
    steps = steps_of(clip, num_frames)
    mac, paper = multiply_accumulates(clip, num_frames)
    return Cost(
        trainable=count_trainable(clip, num_frames),
        mac=mac / 1e9,
        paper=paper / 1e9,
        tokens=steps[-1].clips * (steps[-1].mlp + clip.adapter.context_tokens),
        steps=steps,
    )


def steps_of(clip: Clip, num_frames: int) -> tuple[Step, ...]:
    """Clips and tokens of every block of a model's video tower."""
    arch = clip.arch
    return schedule(clip.reducer, frames=num_frames, tokens=1 + arch.patches, depth=arch.depth)


def multiply_accumulates(clip: Clip, num_frames: int) -> tuple[int, int]:
    """Of one video, counted in the two ways: `mac` and `paper`."""
    arch, steps = clip.arch, steps_of(clip, num_frames)
    outside = num_frames * arch.width * (3 * arch.patch**2 * arch.patches + arch.embed_dim)
    mac = outside + sum(products(clip, step) for step in steps)
    paper = outside + paper_outside(clip, num_frames)
    paper += sum(paper_products(clip, step) + paper_elements(clip, step) for step in steps)
    return mac, paper


def count_trainable(clip: Clip, num_frames: int) -> int:
    """How many parameters train."""
    pretrained = pretrained_paths(clip.arch)
    return sum(
        math.prod(shape)
        for path, shape in shapes(clip, num_frames).items()
        if path not in pretrained or clip.adapter.tunes(path)
    )


def products(clip: Clip, step: Step) -> int:
    """Multiply-accumulates of the matrix products of a block, as this package computes it."""
    d, m = clip.arch.width, clip.adapter.context_tokens
    a = step.attention
    attention = 4 * a * d * d + 2 * a * (a + m) * d
    mlp = step.mlp * (2 * MLP_RATIO * d * d + clip.adapter.macs_per_token(d))
    # The learned tokens are the same for all clips, which share their keys and values.
    return step.clips * (attention + mlp) + 3 * m * d * d


def paper_products(clip: Clip, step: Step) -> int:
    """The same as the paper counts: learned tokens are in the sequence, and through the MLP."""
    d, m = clip.arch.width, clip.adapter.context_tokens
    a = step.attention + m
    attention = 4 * a * d * d + 2 * a * a * d
    mlp = (step.mlp + m) * 2 * MLP_RATIO * d * d + step.mlp * clip.adapter.macs_per_token(d)
    return step.clips * (attention + mlp)


def paper_elements(clip: Clip, step: Step) -> int:
    """What the paper counts of a block beside matrix products."""
    d, m = clip.arch.width, clip.adapter.context_tokens
    a, tokens = step.attention + m, step.mlp + m
    norms = 5 * (a + tokens) * d
    softmax = clip.arch.heads * a * a
    multiplications = a * d + 2 * MLP_RATIO * tokens * d
    return step.clips * (norms + softmax + multiplications)


def paper_outside(clip: Clip, num_frames: int) -> int:
    """What the paper counts outside the blocks beside matrix products: the two layer norms."""
    return 5 * num_frames * clip.arch.width * (1 + clip.arch.patches + 1)
