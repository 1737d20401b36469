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

from tempme_jax.networks.clip import Clip
from tempme_jax.networks.schedule import Step, schedule
from tempme_jax.parameters import pretrained_paths, shapes

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
        tokens=tokens_left(clip, steps),
        steps=steps,
    )


def tokens_left(clip: Clip, steps: tuple[Step, ...]) -> int:
    """All tokens at the output, over all clips, learned ones included."""
    adapter, last = clip.adapter, steps[-1]
    context = adapter.context_tokens("video", len(steps) - 1)
    return last.clips * (last.out + context) + adapter.summary_tokens


def steps_of(clip: Clip, num_frames: int) -> tuple[Step, ...]:
    """Clips and tokens of every block of a model's video tower."""
    arch = clip.arch
    return schedule(clip.reducer, frames=num_frames, tokens=1 + arch.patches, depth=arch.depth)


def multiply_accumulates(clip: Clip, num_frames: int) -> tuple[int, int]:
    """Of one video, counted in the two ways: `mac` and `paper`."""
    arch, adapter, steps = clip.arch, clip.adapter, steps_of(clip, num_frames)
    read = 1 if adapter.summary_tokens else steps[-1].clips * steps[-1].n_cls
    outside = num_frames * arch.patches * arch.width * 3 * arch.patch**2
    outside += adapter.pool_macs(num_frames, arch)
    mac = outside + read * arch.width * arch.embed_dim
    paper = outside + paper_outside(clip, num_frames)
    for layer, step in enumerate(steps):
        both = adapter.block_macs(layer, step, arch) + temporal_products(clip, step)
        mac += both + products(clip, layer, step)
        paper += both + paper_products(clip, layer, step) + paper_elements(clip, layer, step)
    return mac, paper


def count_trainable(clip: Clip, num_frames: int) -> int:
    """How many parameters train."""
    pretrained = pretrained_paths(clip.arch)
    return sum(
        math.prod(shape)
        for path, shape in shapes(clip, num_frames).items()
        if path not in pretrained or clip.adapter.tunes(path)
    )


def products(clip: Clip, layer: int, step: Step) -> int:
    """Multiply-accumulates of the matrix products of a block, as this package computes it."""
    d, s = clip.arch.width, clip.adapter.summary_tokens
    m = clip.adapter.context_tokens("video", layer)
    tokens, seen = step.clips * step.attention, step.attention + m + s
    of_clips = 4 * tokens * d * d + 2 * tokens * seen * d
    of_summary = 4 * s * d * d + 2 * s * (step.clips * (step.attention + m) + s) * d
    mlp = (step.clips * step.mlp + s) * 2 * MLP_RATIO * d * d
    return of_clips + of_summary + mlp + clip.adapter.context_macs(layer, step, clip.arch)


def temporal_products(clip: Clip, step: Step) -> int:
    """The same of the attention across clips, which each token of a clip has by itself."""
    d, t, n = clip.arch.width, step.temporal, step.attention
    return 4 * t * n * d * d + 2 * n * t * t * d


def paper_products(clip: Clip, layer: int, step: Step) -> int:
    """The same as the paper counts: learned tokens are in the sequence, and through the MLP."""
    d, s = clip.arch.width, clip.adapter.summary_tokens
    m = clip.adapter.context_tokens("video", layer)
    in_clip, in_mlp = step.attention + m, step.mlp + m
    in_video = step.clips * in_clip + s
    projected = 4 * in_video * d * d
    if clip.adapter.published_keys_twice:
        projected += 2 * step.clips * (in_clip + s) * d * d
    pairs = step.clips * in_clip * (in_clip + s) + s * in_video
    return projected + 2 * pairs * d + (step.clips * in_mlp + s) * 2 * MLP_RATIO * d * d


def paper_elements(clip: Clip, layer: int, step: Step) -> int:
    """What the paper counts of a block beside matrix products."""
    d, s = clip.arch.width, clip.adapter.summary_tokens
    m = clip.adapter.context_tokens("video", layer)
    in_clip = step.attention + m
    in_video, in_mlp = step.clips * in_clip + s, step.clips * (step.mlp + m) + s
    across, t = step.temporal * step.attention, step.temporal
    norms = 5 * (in_video + in_mlp + across) * d
    softmax = step.clips * in_clip * (in_clip + s) + s * in_video + across * t
    multiplications = (in_video + across) * d + 2 * MLP_RATIO * in_mlp * d
    return norms + clip.arch.heads * softmax + multiplications


def paper_outside(clip: Clip, num_frames: int) -> int:
    """What the paper counts outside the blocks beside patches: two layer norms, the projection."""
    width = clip.arch.width
    read = 1 if clip.adapter.summary_tokens else num_frames
    return 5 * num_frames * width * (1 + clip.arch.patches + 1) + read * width * clip.arch.embed_dim
