"""SigLIP's network: the outputs of transformers on the same weights, and laws."""

import dataclasses

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from repository import ROOT
from siglip_files import CONFIG, TEXT, VISION, draw_inputs, draw_state_dict

from tempme_jax import methods
from tempme_jax.losses import compute_sigmoid_loss, compute_similarity
from tempme_jax.networks.architecture import ARCHITECTURES
from tempme_jax.networks.backbones import make_network
from tempme_jax.networks.macs import count_macs
from tempme_jax.networks.siglip import AttentionPool
from tempme_jax.parameters import find_shapes, initialise_tree
from tempme_jax.vectors import normalize
from tempme_jax.weights.layouts import list_backbone_paths, read_layout, write_layout

GOLDEN = np.load(ROOT / "tests/fixtures/reference/siglip.npz")
ARCH = dataclasses.replace(
    ARCHITECTURES["SigLIP2-B/16"], embed_dim=32, image_size=33, patch=8, width=32, depth=2, heads=2,
    mlp_width=80, text_width=24, text_depth=1, text_heads=2, text_mlp_width=60, vocab_size=64,
    context_length=12,
)  # fmt: skip
MERGED = {"r": 1, "layers": (0, 1), "groups": (2, 2), "keep_cross": 0.6, "keep_intra": 0.9}
REFUSED = {
    "plevu": "positions", "vop-c": "contextual", "vop-fc": "contextual", "dgl": "class tokens",
    "dgl-transformer": "class tokens", "mv-adapter": "class tokens", "rap": "class tokens",
    "evit": "class token", "diffrate-search": "class token",
}  # fmt: skip
# One of each kind; the others are slow together.
QUICK = {*REFUSED, "lora", "vop-fp", "joined", "adapter+tempme"}
PIXELS, IDS = draw_inputs()


@pytest.fixture(scope="module", autouse=True)
def exact():
    with jax.default_matmul_precision("highest"):
        yield


@pytest.fixture(scope="module")
def params():
    layout, flat = read_layout(draw_state_dict())
    assert layout == "siglip"
    return {"params": flax.traverse_util.unflatten_dict(flat)}


def make(method="clip", options=None, frames=4, arch=ARCH):
    return make_network(arch, *methods.build(method, arch, frames, options or {}, max_words=12))


def encode(network, params, pixels, mask=None):
    call = jax.jit(lambda *given: network.apply(*given, method="encode_video")[0])
    return np.asarray(call(params, pixels, mask))


def assert_close(ours, golden):
    assert np.shape(ours) == golden.shape
    np.testing.assert_allclose(ours, golden, atol=1e-5 * np.abs(golden).max(), rtol=0)


@pytest.fixture(scope="module")
def single(params):
    """The vector of each picture."""
    return encode(make(frames=1), params, PIXELS[:, None])


@pytest.fixture(scope="module")
def text(params):
    network = make(frames=1)
    return np.asarray(jax.jit(lambda *a: network.apply(*a, method="encode_text"))(params, IDS))


def test_as_transformers(params, single, text):
    assert_close(single, np.asarray(normalize(jnp.asarray(GOLDEN["image"]))))
    assert_close(text, GOLDEN["text"])
    scale = make().compute_scale(params["params"])
    similarity = compute_similarity(jnp.asarray(text), jnp.asarray(single), scale)
    logits = similarity + make().get_bias(params["params"])
    assert_close(logits, GOLDEN["logits"])
    assert_close(compute_sigmoid_loss(logits, jnp.eye(3, dtype=bool)), GOLDEN["loss"])


@pytest.mark.torch
def test_as_transformers_computes_now(single, text):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    ids = {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
    config = transformers.SiglipConfig(vision_config=VISION, text_config=TEXT | ids)
    network = transformers.SiglipModel(config).eval()
    network.load_state_dict({name: torch.tensor(a) for name, a in draw_state_dict().items()})
    with torch.no_grad():
        found = network(
            pixel_values=torch.tensor(PIXELS.transpose(0, 3, 1, 2)),
            input_ids=torch.tensor(IDS), return_loss=True,
        )  # fmt: skip
    assert_close(single, found.image_embeds.numpy())
    assert_close(text, found.text_model_output.pooler_output.numpy())
    assert_close(GOLDEN["loss"], found.loss.numpy())
    default = transformers.SiglipConfig().to_dict()
    for tower in ("vision_config", "text_config"):  # see `weights.siglip_files`
        assert default[tower]["num_attention_heads"] == 12
        assert default[tower]["hidden_act"] == "gelu_pytorch_tanh"
    assert default["vision_config"]["image_size"] == 224
    assert CONFIG.keys() - default.keys() == {"torch_dtype"}


def test_arrays_go_back_as_they_came(params):
    flat = flax.traverse_util.flatten_dict(params["params"])
    assert flat.keys() == list_backbone_paths(ARCH) == find_shapes(make(), 1).keys()
    back, given = write_layout("siglip", flat), draw_state_dict()
    assert back.keys() == given.keys()
    for name, array in given.items():
        np.testing.assert_array_equal(back[name], array, name)


def test_several_frames_are_their_mean(params, single):
    """Also with TempMe that merges nothing; and what masked frames hold changes nothing."""
    mean = single.mean(axis=0)
    video = PIXELS[None]
    np.testing.assert_allclose(encode(make(frames=3), params, video)[0], mean, atol=1e-6)
    nothing = {"r": 0, "layers": (0, 1), "groups": (1, 1), "keep_cross": 1, "keep_intra": 1}
    network = make("full+tempme", nothing | {"clip_positions": False}, frames=3)
    np.testing.assert_allclose(encode(network, params, video)[0], mean, atol=1e-6)
    mask = np.array([[True, True, False]])
    for pixels in (video, np.where(mask[..., None, None, None], video, 7)):
        found = encode(make(frames=3), params, pixels, mask)
        np.testing.assert_allclose(found[0], single[:2].mean(axis=0), atol=1e-6)


def test_frames_have_vectors_until_clips_join(params, single):
    network = make("tome", {"r": 0}, frames=3)
    assert not network.find_frame_problem(3)
    plain = make(frames=3)
    call = jax.jit(lambda *a: plain.apply(*a, method="encode_video_frames"))
    found = call(params, PIXELS[None], None)
    np.testing.assert_allclose(found.frames[0], single, atol=1e-6)
    assert "merges frames" in make("full+tempme", MERGED).find_frame_problem(4)


def test_a_token_counts_as_often_as_its_size():
    pool, x = AttentionPool(2, "gelu", 20), jax.random.normal(jax.random.key(1), (1, 1, 4, 8))
    size = jnp.array([[[2.0, 1, 1, 0]]])

    @jax.jit
    def run(x, twice):
        out, params = pool.init_with_output(jax.random.key(0), x, size)
        return out, pool.apply(params, twice, jnp.ones((1, 1, 4)))

    np.testing.assert_allclose(*run(x, x[:, :, np.array([0, 0, 1, 2])]), atol=1e-6)


def test_short_rows_are_filled_up_with_the_padding(params, text):
    network = make()
    short = jax.jit(lambda *a: network.apply(*a, method="encode_text"))(params, IDS[:1, :5])
    np.testing.assert_allclose(short, text[:1], atol=1e-6)
    np.testing.assert_array_equal(network.mark_words(IDS), IDS != 0)


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in [*methods.METHODS, "prompt+tome", "adapter+tempme"]
    ],
)
def test_every_method_works_or_says_why_not(name):
    def run():
        options = {"layers": (1, 2)} if "tempme" in name else {}
        network = make(name, options, arch=dataclasses.replace(ARCH, depth=3))
        given = jnp.zeros((2, 4, 33, 33, 3)), None, jnp.zeros((2, 8), jnp.int32), None
        return network.init_with_output(jax.random.key(0), *given)[0]

    if name in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[name]):
            jax.eval_shape(run)
        return
    vectors, words = jax.eval_shape(run)
    assert vectors.shape == words.shape == (2, 32)


@pytest.mark.parametrize(
    ("name", "parameters", "tokens"),
    [
        ("SigLIP2-B/16", 375_187_970, 196),
        pytest.param("SigLIP2-B/32-256", 376_856_066, 64, marks=pytest.mark.slow),
        pytest.param("SigLIP2-L/16-256", 881_526_786, 256, marks=pytest.mark.slow),
        pytest.param("SigLIP2-So400m/14-384", 1_136_008_498, 729, marks=pytest.mark.slow),
    ],
)
def test_published_sizes(name, parameters, tokens):
    """By the numbers of parameters that transformers counts."""
    arch = ARCHITECTURES[name]
    shapes = find_shapes(make_network(arch), 1)
    assert sum(map(np.prod, shapes.values())) == parameters
    assert arch.tokens == tokens


def test_counts_are_those_of_the_matrix_products():
    """One frame, by hand: patches, 2 blocks, and the pooling."""
    d, n, inside = 32, 16, 80
    block = 4 * n * d * d + 2 * n * n * d + 2 * n * d * inside
    pooling = d * d + 2 * n * d * d + 2 * n * d + d * d + 2 * d * inside
    mac, paper = count_macs(make(frames=1), 1)
    assert mac == n * d * 3 * 8 * 8 + 2 * block + pooling < paper
    assert count_macs(make("full+tempme", MERGED), 4)[0] < count_macs(make(), 4)[0]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"tokenizer": "clip"}, "tokenizer='clip'"),
        ({"backbone": "siglip"}, "'siglip' reads padding"),
        ({"embed_dim": 16}, "embed_dim=16"),
    ],
)
def test_other_sizes_and_words_are_refused(change, problem):
    arch = dataclasses.replace(ARCH, **change)
    with pytest.raises(ValueError, match=problem):
        jax.eval_shape(lambda: initialise_tree(make_network(arch), 1, jax.random.key(0)))
