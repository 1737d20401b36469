"""The one schedule: the published traces, and clear errors for settings that cannot be."""

import math

import pytest

from tempme_jax import methods
from tempme_jax.networks.architecture import ARCHITECTURES, Architecture
from tempme_jax.networks.clip import Clip
from tempme_jax.networks.macs import count_macs
from tempme_jax.parameters import find_shapes
from tempme_jax.reducers.base import Reducer
from tempme_jax.reducers.schedule import make_schedule
from tempme_jax.reducers.tempme import TempMe, choose_groups
from tempme_jax.reducers.tome import ToMe

B32, B16 = Architecture(), Architecture(patch=16)


def list_counts(arch, frames, method="tempme", **options):
    _, reducer = methods.build(method, arch, frames, options)
    stages = make_schedule(reducer, frames=frames, tokens=1 + arch.patches, depth=arch.depth)
    return [(s.clips, s.attention, s.mlp) for s in stages]


def test_published_trace_of_b32():
    """The traces of docs/methods/tempme.md, and those of the published code."""
    assert list_counts(B32, 12) == [
        (12, 50, 48), (12, 48, 46), (12, 46, 44), (12, 44, 42), (12, 42, 40), (12, 40, 38),
        (12, 38, 36), (12, 36, 34), (6, 48, 44), (3, 62, 56), (1, 118, 107), (1, 107, 97),
    ]  # fmt: skip


def test_published_trace_of_b16_and_of_64_frames():
    assert list_counts(B16, 12)[7:] == [(12, 127, 117), (6, 141, 113), (3, 136, 109), (1, 197, 158),
                                  (1, 158, 127)]  # fmt: skip
    assert list_counts(B32, 64)[8:] == [(16, 96, 87), (4, 244, 220), (1, 616, 555), (1, 555, 500)]


def test_published_trace_of_token_reduction_only():
    options = {"layers": (8, 9, 10), "groups": (1, 1, 1), "round_kept": True}
    assert list_counts(B32, 12, **options)[8:] == [
        (12, 24, 22),
        (12, 15, 14),
        (12, 10, 9),
        (12, 9, 8),
    ]


def test_nothing_changes_without_reducer_and_tome_is_constant():
    assert list_counts(B32, 12, "lora") == [(12, 50, 50)] * 12
    assert list_counts(B32, 12, "tome")[-1] == (12, 28, 26)
    assert list_counts(B16, 12, "tome")[-1] == (12, 87, 77)


def test_the_paper_s_settings_are_found():
    for arch, r, cross, intra in ((B32, 2, 0.7, 0.9), (B16, 10, 0.6, 0.8)):
        for frames, groups in ((12, (2, 2, 3)), (8, (2, 2, 2)), (64, (4, 4, 4))):
            _, reducer = methods.build("tempme", arch, frames)
            assert reducer == TempMe(
                r=r, layers=(8, 9, 10), groups=groups, keep_cross=cross, keep_intra=intra
            )


@pytest.mark.parametrize(
    ("name", "r", "layers", "keep_intra", "parameters"),
    [
        ("ViT-B/32-256", 3, (8, 9, 10), 0.9, 151_288_833),
        ("ViT-L/14", 6, (16, 18, 20), 0.89, 427_616_513),
        ("ViT-L/14-336", 14, (16, 18, 20), 0.89, 427_944_193),
        ("ViT-H/14", 5, (21, 24, 26), 0.92, 986_109_441),
        ("ViT-g/14", 4, (26, 30, 33), 0.94, 1_366_678_273),
        ("ViT-bigG/14", 3, (32, 36, 40), 0.95, 2_539_567_105),
    ],
)
def test_deeper_towers_spread_the_paper_s_settings(name, r, layers, keep_intra, parameters):
    """They save about as much as B/32 and B/16, of sizes that open_clip has, too."""
    arch = ARCHITECTURES[name]
    adapter, reducer = methods.build("tempme", arch, 12)
    assert (reducer.r, reducer.layers, reducer.keep_intra) == (r, layers, keep_intra)
    macs = [count_macs(Clip(arch, adapter, each), 12)[0] for each in (reducer, Reducer())]
    assert 0.56 < macs[0] / macs[1] < 0.64
    for other in ("tome", "testa"):
        methods.build(other, arch, 12)
    assert count_parameters(arch) == parameters


def count_parameters(arch):
    """By the sizes alone."""

    def count_tower(width, depth, mlp, outside):
        block = 4 * width * (width + 1) + 2 * width * mlp + mlp + width + 4 * width
        return depth * block + outside + 2 * width + width * arch.embed_dim

    video = (3 * arch.patch**2 + arch.tokens + 1 + 2) * arch.width
    text = (arch.vocab_size + arch.context_length) * arch.text_width
    return (
        count_tower(arch.width, arch.depth, arch.get_mlp_width("video"), video)
        + count_tower(arch.text_width, arch.text_depth, arch.get_mlp_width("text"), text)
        + 1
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name.startswith("ViT")])
def test_the_sizes_give_these_parameters(name):
    arch = ARCHITECTURES[name]
    shapes = find_shapes(Clip(arch), 1).values()
    assert sum(map(math.prod, shapes)) == count_parameters(arch)


def test_groups_of_other_numbers_of_frames():
    assert choose_groups(16, 3) == (2, 2, 4)
    assert choose_groups(24, 3) == (2, 3, 4)
    assert (
        list_counts(B32, 7)[-1][0] == list_counts(B32, 2)[-1][0] == list_counts(B32, 1)[-1][0] == 1
    )


@pytest.mark.parametrize(
    ("frames", "options", "message"),
    [
        (12, {"groups": (5, 2, 1)}, "block 8 joins clips in groups of 5.* the 12 clips"),
        (12, {"groups": (2, 2, 2, 2)}, r"block 9 joins .* of 2.* the 3 clips"),
        (12, {"layers": (9, 8, 10)}, r"layers=\(9, 8, 10\) must be .* ascending"),
        (12, {"layers": (8, 9, 12)}, r"layers=\(8, 9, 12\) must lie in 0\.\.11"),
        (12, {"layers": (8, 9), "groups": (2, 2, 3)}, "of one length"),
        (12, {"groups": (0, 2, 3)}, "one of groups=0 must be a whole number of 1 or more"),
        (12, {"keep_cross": 0}, r"keep_cross=0.0 must be in \(0, 1\]"),
        (12, {"keep_intra": 1.2}, r"keep_intra=1.2 must be in \(0, 1\]"),
        (12, {"r": 20}, r"r=20 is too large for block 1: 30 tokens .* at most 14"),
        (12, {"r": -1}, r"r=-1"),
        (0, {}, "num_frames=0"),
    ],
)
def test_impossible_settings_name_layer_and_numbers(frames, options, message):
    with pytest.raises(ValueError, match=message):
        methods.build("tempme", B32, frames, options)


def test_reducers_are_values():
    assert TempMe(groups=[2, 3], layers=[1, 2]) == TempMe(groups=(2, 3), layers=(1, 2))
    assert hash(ToMe(2)) == hash(ToMe(2))
