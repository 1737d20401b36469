"""Every method, and every two that combine: shapes, what trains, and one training step."""

import dataclasses

import chex
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from random_weights import make_random_tree

from tempme_jax import methods
from tempme_jax.adapters.lora import LoRA
from tempme_jax.building import create
from tempme_jax.loading import load
from tempme_jax.losses import compute_contrastive_loss, compute_similarity
from tempme_jax.methods import METHODS
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.clip import Clip
from tempme_jax.parameters import find_shapes, initialise, join, list_pretrained_paths, split
from tempme_jax.reducers.base import Reducer
from tempme_jax.reducers.schedule import make_schedule
from tempme_jax.training.flags import parse_flags

TOY = Architecture(
    embed_dim=8, image_size=32, patch=8, width=16, depth=3, heads=2,
    text_width=12, text_depth=1, text_heads=2, vocab_size=30, context_length=16,
)  # fmt: skip
SHALLOW = dataclasses.replace(TOY, depth=2)
FRAMES = 4
WORDS = 6
# Smaller than the paper's, wherever a method has such an option.
OPTIONS = {
    "rank": 2, "count": 2, "width": 4, "heads": 2, "generic": 1, "text": 2, "top": 3, "r": 1,
    "factor": 3, "calibration": 3,
}  # fmt: skip
LEARN = [name for name, row in METHODS.items() if row[1] == Reducer()]
# The variants F of VoP reduce alike.
REDUCE = [name for name in METHODS if name not in (*LEARN, "vop-fp", "vop-fc")]
PAIRS = [f"{first}+{second}" for first in LEARN for second in REDUCE]
# What cannot combine says why.
CANNOT = {
    **dict.fromkeys([f"rap+{name}" for name in REDUCE], "the grid of 16 patches"),
    **dict.fromkeys(["vop-p+testa", "vop-c+testa"], "not known which ones"),
    **dict.fromkeys(
        [f"dgl-transformer+{name}" for name in ("tempme", "testa", "vop-f", "joined")],
        "prompts for each of 4 frames",
    ),
}
CANNOT.pop("rap+diffrate-search")  # which keeps the grid, and marks what is gone
# Other forms of the rows, with the options that make them.
FORMS = {
    "lora everywhere": ("tempme", {"targets": ("qkv", "out", "fc", "proj")}),
    "parallel bottleneck": ("adapter", {"parallel": True}),
    "at once": ("tempme", {"layers": (0,), "groups": (4,)}),
    "in part": ("tempme", {"layers": (0, 1), "groups": (2, 1)}),
    "without positions": ("tempme", {"clip_positions": False}),
    "temporal modelling": ("tempme", {"r": 0, "keep_cross": 1.0, "keep_intra": 1.0}),
    "token reduction": (
        "tempme",
        {"layers": (1, 2), "groups": (1, 1), "clip_positions": False, "round_kept": True},
    ),
    "light": ("rap+tome", {"asa": False}),
    "not fused": ("evit", {"fuse": False}),
    "tied behind": ("mv-adapter", {"tie": "out"}),
}  # fmt: skip


def build(method, options=None, arch=TOY):
    names = {
        field.name for part in methods.split_method(method) for field in dataclasses.fields(part)
    }
    options = {k: v for k, v in OPTIONS.items() if k in names} | (options or {})
    return Clip(arch, *methods.build(method, arch, FRAMES, options, max_words=WORDS))


def make_random_inputs(batch=2):
    rng = np.random.default_rng(0)
    side = TOY.image_size
    pixels = jnp.asarray(rng.standard_normal((batch, FRAMES, side, side, 3), dtype=np.float32))
    ids = jnp.asarray(rng.integers(1, 28, (batch, WORDS)), jnp.int32).at[:, 4].set(29)
    return pixels, ids


@pytest.mark.parametrize("name", [*METHODS, *(p for p in PAIRS if p not in CANNOT), *FORMS])
def test_shapes_follow_the_schedule(name):
    network = build(*FORMS.get(name, (name,)))
    steps = make_schedule(network.reducer, frames=FRAMES, tokens=1 + TOY.patches, depth=TOY.depth)
    pixels, ids = make_random_inputs()
    (features, tokens), variables = jax.eval_shape(
        lambda: network.init_with_output(
            jax.random.key(0), pixels, trace=True, method="encode_video"
        )
    )
    last = steps[-1]
    chex.assert_shape(features, (2, TOY.embed_dim))
    chex.assert_shape(tokens.x, (2, last.clips, last.out, TOY.width))
    chex.assert_shape(tokens.size, (2, last.clips, last.out))
    chex.assert_shape(tokens.source, (2, FRAMES * TOY.patches))
    assert tokens.n_cls == last.n_cls
    assert features.dtype == jnp.float32
    paths = flax.traverse_util.flatten_dict(variables["params"]).keys()
    assert {path for path in list_pretrained_paths(TOY) if path[0] == "video"} <= paths


@pytest.mark.parametrize("pair", CANNOT)
def test_what_cannot_combine_says_why(pair):
    with pytest.raises(ValueError, match=CANNOT[pair]):
        build(pair)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("tempme+tome", "'tempme' already reduces tokens; before the"),
        ("lora+prompt", "'prompt' does not reduce tokens; after the"),
        ("lora+tom", "unknown method: 'tom' .did you mean 'tome'"),
    ],
)
def test_what_is_no_pair(pair, message):
    with pytest.raises(ValueError, match=message):
        methods.split_method(pair)


@pytest.mark.parametrize("pair", PAIRS)
def test_the_halves_of_a_pair_share_no_option(pair):
    """Options of both are given in one dictionary, so a name must belong to one of them."""
    adapter, reducer = methods.split_method(pair)
    names = [{field.name for field in dataclasses.fields(half)} for half in (adapter, reducer)]
    assert set.intersection(*names) == set()


@pytest.mark.parametrize("method", METHODS)
def test_the_halves_of_a_method_share_no_option(method):
    adapter, reducer = METHODS[method]
    assert not vars(adapter).keys() & vars(reducer).keys()


# ml_collections reads the config file by a deprecated function.
@pytest.mark.filterwarnings("ignore:the load_module")
def test_plevu_and_tempme_through_config_save_and_load(tmp_path):
    """Both have numbers of blocks among their options, and each keeps its own."""
    flags = ["--config=configs/moving_shapes.py:plevu+tempme"]
    flags += ["--config.model.options.temporal_layers=1", "--config.model.options.layers=(1,)"]
    options = parse_flags(flags).model.options
    assert (options["temporal_layers"], options["layers"]) == (1, (1,))
    given = {"count": 2, "temporal_layers": 1, "layers": (1,), "groups": (2,), "r": 1}
    model = create(
        TOY, method="plevu+tempme", num_frames=FRAMES, max_words=WORDS, method_options=given
    )
    model.save(tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert again.network == model.network
    assert again.network.adapter.temporal_layers == 1
    assert again.network.reducer.layers == (1,)


def test_options_of_plevu_under_their_former_name(tmp_path):
    """Files of version 0.1 call the number of blocks over the frames `layers`."""
    given = {"count": 2, "temporal_layers": 1}
    model = create(TOY, method="plevu", num_frames=FRAMES, max_words=WORDS, method_options=given)
    model.save(tmp_path / "new.safetensors")
    with safetensors.safe_open(tmp_path / "new.safetensors", "numpy") as file:
        arrays, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    former = {k: v.replace('"temporal_layers"', '"layers"') for k, v in metadata.items()}
    assert former != metadata
    safetensors.numpy.save_file(arrays, tmp_path / "old.safetensors", former)
    assert load(tmp_path / "old.safetensors").network == model.network
    longer = load(tmp_path / "old.safetensors", max_words=WORDS + 1)
    assert longer.network.adapter == model.network.adapter


def compute_loss(network, trainable, frozen, pixels, ids):
    params = join(trainable, frozen)
    video, text = network.apply({"params": params}, pixels, None, ids, None)
    loss = compute_contrastive_loss(
        compute_similarity(text, video, jnp.exp(params["logit_scale"] / 10))
    )
    return loss + network.reducer.compute_penalty(params, network.arch, FRAMES)


# What no gradient reaches: DGL projects prompts behind the end of the text, where no word looks;
# RAP's ASA changes patches, which nobody reads behind the last block.
DEAD = {
    "dgl": {"shared/postfix_proj/kernel", "shared/postfix_proj/bias"},
    "rap": {
        f"video/block_{SHALLOW.depth - 1}/asa/{layer}/{array}"
        for layer in ("down", "query", "key", "value", "offset", "up")
        for array in ("kernel", "bias")
    },
}


# What they do differs from block to block.
DEEP = ("tempme", "mv-adapter")
# What they do vop and vop-fc do, too.
PARTS_OF_VOP = ("vop-p", "vop-c", "vop-f", "vop-fp")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in PARTS_OF_VOP else [])
        for name in METHODS
        if name != "clip"
    ],
)
def test_one_training_step(name):
    """The loss is finite, and a gradient reaches what trains: all of it, and nothing else."""
    network = build(name, arch=TOY if name in DEEP else SHALLOW)
    trainable, frozen = split(network, make_random_tree(network, FRAMES))
    step = jax.jit(
        jax.value_and_grad(lambda t, f: compute_loss(network, t, f, *make_random_inputs()))
    )
    loss, slopes = step(trainable, frozen)
    moved = jax.tree.map(lambda p, g: p - 1e-3 * g, trainable, slopes)
    assert np.isfinite(loss)
    assert np.isfinite(step(moved, frozen)[0])
    gradients = {"/".join(p): g for p, g in flax.traverse_util.flatten_dict(slopes).items()}
    assert all(np.isfinite(g).all() for g in gradients.values())
    untouched = {path for path, g in gradients.items() if not np.abs(g).max() > 0}
    assert untouched == DEAD.get(name, set())


def test_what_trains_of_clip_itself():
    """All but the embeddings in full fine-tuning, the biases in MV-Adapter, else nothing."""
    pretrained = list_pretrained_paths(TOY)
    for name in METHODS:
        network = build(name)
        trains = {"/".join(path) for path in pretrained if network.adapter.is_trained(path)}
        frozen = {"/".join(path) for path in pretrained} - trains
        if name == "full":
            assert frozen == {
                "video/patches/kernel",
                "video/class_embedding",
                "video/position_embedding",
                "video/ln_pre/scale",
                "video/ln_pre/bias",
                "text/token_embedding",
                "text/position_embedding",
            }
        elif name == "mv-adapter":
            assert trains
            assert all(path.endswith("/bias") for path in trains)
        else:
            assert trains == set()


def test_split_and_join():
    network = build("tempme")
    params = make_random_tree(network, FRAMES)
    trainable, frozen = split(network, params)
    chex.assert_trees_all_equal(join(trainable, frozen), params)
    names = {path[-1] for path in flax.traverse_util.flatten_dict(trainable)}
    assert names == {"clip_position", "lora_a", "lora_b"}


# Of MV-Adapter and RAP see test_mv_adapter.py and test_rap.py.
@pytest.mark.parametrize("name", ["lora everywhere", "parallel bottleneck"])
def test_a_fresh_adapter_is_the_backbone(name):
    method, options = FORMS.get(name, (name, {}))
    network = build(method, options)
    same_reducer = "without positions" if method == "tempme" else "clip"
    plain = Clip(TOY, build("clip").adapter, build(*FORMS.get(same_reducer, ("clip",))).reducer)
    backbone = make_random_tree(plain, FRAMES)
    fresh = initialise(
        network, FRAMES, find_shapes(network, FRAMES).keys() - list_pretrained_paths(TOY), seed=1
    )
    params = flax.traverse_util.unflatten_dict(flax.traverse_util.flatten_dict(backbone) | fresh)
    pixels, ids = make_random_inputs()
    ours = jax.jit(network.apply)({"params": params}, pixels, None, ids, None)
    theirs = jax.jit(plain.apply)({"params": backbone}, pixels, None, ids, None)
    chex.assert_trees_all_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_folded_is_unfolded():
    network = build(*FORMS["lora everywhere"])
    params = make_random_tree(network, FRAMES)
    folded_adapter, folded_params = network.adapter.fold(params)
    folded = network.copy(adapter=folded_adapter)
    assert (
        find_shapes(folded, FRAMES).keys() == flax.traverse_util.flatten_dict(folded_params).keys()
    )
    pixels, ids = make_random_inputs()
    ours = jax.jit(folded.apply)({"params": folded_params}, pixels, None, ids, None)
    theirs = jax.jit(network.apply)({"params": params}, pixels, None, ids, None)
    chex.assert_trees_all_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_what_is_used_in_two_roles_stays_unfolded():
    """TESTA's attention over frames is the block's, with a LoRA of its own."""
    network = build("testa")
    params = make_random_tree(network, FRAMES)
    adapter, same = network.adapter.fold(params)
    assert adapter == network.adapter
    assert same is params


def test_lora_by_hand():
    """x W + b + (x A) B, with numbers that one can follow."""
    dense = LoRA(rank=1, targets=("qkv",)).linear(2, "qkv", None)
    params = {
        "kernel": jnp.eye(2),
        "bias": jnp.array([0.5, 0.0]),
        "lora_a": jnp.array([[1.0], [2.0]]),
        "lora_b": jnp.array([[10.0, 100.0]]),
    }
    out = dense.apply({"params": params}, jnp.array([[1.0, 1.0]]))
    np.testing.assert_array_equal(out, [[1 + 0.5 + 30, 1 + 300]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: methods.build("tempmee", TOY, 4),
            "unknown method: 'tempmee'.*did you mean 'tempme'",
        ),
        (
            lambda: methods.build("tempme", TOY, 4, {"rnk": 4}),
            "unknown option of method 'tempme': 'rnk'.*'rank'.*there are: clip_positions, groups",
        ),
        (lambda: LoRA(rank=0), "rank=0 must be a whole number of 1 or more"),
        (lambda: LoRA(targets=("qvk",)), r"\['qvk'\]; choose from qkv, out, fc, proj"),
        (
            lambda: Architecture(activation="relu"),
            "unknown activation: 'relu' .* there are: gelu, gelu_pytorch_tanh, quick_gelu",
        ),
        (lambda: Architecture(width=100, heads=3), "cannot divide width by heads: 100 by 3"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_options_reach_adapter_and_reducer():
    adapter, reducer = methods.build("tempme", TOY, 4, {"rank": 3, "r": 0, "groups": (2, 2)})
    assert adapter == LoRA(rank=3)
    assert (reducer.r, reducer.groups, reducer.layers) == (0, (2, 2), (0, 1))
