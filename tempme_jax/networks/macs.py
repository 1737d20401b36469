"""Multiply-accumulates of the video tower for one video, with low-rank changes folded in.

They are counted from the schedule in two ways:

* `mac`: the matrix products that this package computes.
* `paper`: the count that gives the GFLOPs in the TempMe paper's tables, where one
  multiply-accumulate is one FLOP: matrix products, with learned tokens in the sequence through the
  MLP, plus 5 for every element of a layer norm, 1 for every one of a softmax, and 1 for every
  explicit multiplication (scaling of queries, QuickGELU). Bias and residual additions and the
  matching are not counted; class tokens are, in attention across clips, too.
"""

from tempme_jax.networks.network import Network
from tempme_jax.networks.tokens import Stage
from tempme_jax.reducers.schedule import make_schedule


def list_stages(network: Network, num_frames: int) -> tuple[Stage, ...]:
    """Return the counts of clips and tokens of every block of the video tower."""
    arch = network.arch
    return make_schedule(
        network.reducer,
        frames=num_frames,
        tokens=arch.tokens,
        depth=arch.depth,
        n_cls=arch.class_tokens,
    )


def count_macs(network: Network, num_frames: int) -> tuple[int, int]:
    """Count the multiply-accumulates of one video in the two ways: `mac` and `paper`."""
    arch, adapter, stages = network.arch, network.adapter, list_stages(network, num_frames)
    outside = num_frames * arch.patches * arch.width * 3 * arch.patch**2
    outside += adapter.count_pool_macs(num_frames, arch)
    mac, paper = (outside + n for n in network.count_outside_macs(stages[-1], num_frames))
    for layer, stage in enumerate(stages):
        both = adapter.count_block_macs(layer, stage, arch)
        mac += both + count_products(network, layer, stage)
        mac += count_temporal_products(arch.width, stage.temporal, stage.across)
        paper += both + count_paper_products(network, layer, stage)
        paper += count_temporal_products(arch.width, stage.temporal, stage.attention)
        paper += count_paper_elements(network, layer, stage)
    return mac, paper


def count_products(network: Network, layer: int, stage: Stage) -> int:
    """Count the matrix products of a block, as this package computes it."""
    d, s = network.arch.width, network.adapter.summary_tokens
    m = network.adapter.count_context_tokens("video", layer)
    tokens, seen = stage.clips * stage.attention, stage.attention + m + s
    of_clips = 4 * tokens * d * d + 2 * tokens * seen * d
    of_summary = 4 * s * d * d + 2 * s * (stage.clips * (stage.attention + m) + s) * d
    mlp = (stage.clips * stage.mlp + s) * 2 * d * network.arch.get_mlp_width("video")
    return (
        of_clips + of_summary + mlp + network.adapter.count_context_macs(layer, stage, network.arch)
    )


def count_temporal_products(d: int, t: int, n: int) -> int:
    """Count the matrix products of a block's attention of `n` tokens across `t` clips."""
    return 4 * t * n * d * d + 2 * n * t * t * d


def count_paper_products(network: Network, layer: int, stage: Stage) -> int:
    """Count the products of a block as the paper does: learned tokens go through the MLP, too."""
    d, s = network.arch.width, network.adapter.summary_tokens
    m = network.adapter.count_context_tokens("video", layer)
    in_clip, in_mlp = stage.attention + m, stage.mlp + m
    in_video = stage.clips * in_clip + s
    projected = 4 * in_video * d * d
    if network.adapter.published_keys_twice:
        projected += 2 * stage.clips * (in_clip + s) * d * d
    pairs = stage.clips * in_clip * (in_clip + s) + s * in_video
    mlp = (stage.clips * in_mlp + s) * 2 * d * network.arch.get_mlp_width("video")
    return projected + 2 * pairs * d + mlp


def count_paper_elements(network: Network, layer: int, stage: Stage) -> int:
    """Count the operations of a block that the paper adds to matrix products."""
    d, s = network.arch.width, network.adapter.summary_tokens
    m = network.adapter.count_context_tokens("video", layer)
    in_clip = stage.attention + m
    in_video, in_mlp = stage.clips * in_clip + s, stage.clips * (stage.mlp + m) + s
    across, t = stage.temporal * stage.attention, stage.temporal
    norms = 5 * (in_video + in_mlp + across) * d
    softmax = stage.clips * in_clip * (in_clip + s) + s * in_video + across * t
    multiplications = (in_video + across) * d + 2 * in_mlp * network.arch.get_mlp_width("video")
    return norms + network.arch.heads * softmax + multiplications
