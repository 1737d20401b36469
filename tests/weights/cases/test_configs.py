"""Every field of a config beside the weights is obeyed or refused, with its name in the error."""

import dataclasses
import json

import numpy as np
import pytest
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from random_weights import TOY, make_random_params, write_weights

from tempme_jax.fingerprint import describe_model
from tempme_jax.loading import load
from tempme_jax.networks.clip import Clip
from tempme_jax.search.header import list_differences
from tempme_jax.text.bpe import read_packaged
from tempme_jax.weights.configs import CONFIG_NAMES
from tempme_jax.weights.files import load_weights
from tempme_jax.weights.layouts import WeightsError

SMALL = dataclasses.replace(TOY, depth=1)
HALF = {"mean": [0.5] * 3, "std": [0.25] * 3}
OF_IMAGES = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}


@pytest.fixture(scope="module")
def params():
    return make_random_params(Clip(SMALL))


@pytest.fixture
def save(params, tmp_path):
    """Write weights and config files beside them; return the folder."""

    def save(layout, **configs):
        name = "model" if layout == "huggingface" else "open_clip_model"
        write_weights(tmp_path / f"{name}.safetensors", params, layout)
        for name, content in configs.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
        return tmp_path

    return save


def make_open_clip(vision=(), text=(), pixels=None, **model):
    cfg = {"vision_cfg": {"width": 64} | dict(vision), "text_cfg": {"heads": 1} | dict(text)}
    return {"model_cfg": cfg | model, "preprocess_cfg": pixels}


def make_transformers(vision=(), text=(), **whole):
    heads = {"num_attention_heads": 1}
    return {"vision_config": heads | dict(vision), "text_config": heads | dict(text)} | whole


def embed(folder):
    frames = np.random.default_rng(0).integers(0, 256, (1, 2, 32, 32, 3), dtype=np.uint8)
    model = load(folder, method="clip", num_frames=2)
    return model, frames, model.embed_video(frames)


@pytest.mark.parametrize(
    ("layout", "configs"),
    [
        ("openai", {"open_clip_config": make_open_clip(pixels=HALF, quick_gelu=True)}),
        ("openai", {"open_clip_config": {"preprocess_cfg": {"mean": 0.5, "std": 0.25}}}),
        ("huggingface", {"config": make_transformers(), "preprocessor_config": OF_IMAGES}),
        (
            "huggingface",
            {"config": make_transformers(), "processor_config": {"image_processor": OF_IMAGES}},
        ),
        ("openai", {"preprocessor_config": OF_IMAGES}),
    ],
)
def test_mean_and_deviation_are_used_and_kept(layout, configs, save, tmp_path):
    model, frames, vectors = embed(save(layout, **configs))
    expected = model.embed_pixels((frames.astype(np.float32) / 255 - 0.5) / np.float32(0.25))
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    model.save(tmp_path / "saved.safetensors")
    again = load_weights(tmp_path / "saved.safetensors").arch
    assert (again.mean, again.std) == ((0.5,) * 3, (0.25,) * 3)


def test_pixels_without_normalisation(save):
    configs = {"config": make_transformers(), "preprocessor_config": {"do_normalize": False}}
    arch = load_weights(save("huggingface", **configs)).arch
    assert (arch.mean, arch.std) == ((0.0,) * 3, (1.0,) * 3)


def test_vectors_of_other_pixels_are_another_models(save):
    described = []
    for pixels in (None, HALF):
        folder = save("openai", open_clip_config=make_open_clip(pixels=pixels))
        described.append(describe_model(load(folder, method="clip", num_frames=2)))
    differs = list_differences(*described)
    assert [text.split()[0] for text in differs] == ["mean", "std"]


@pytest.mark.parametrize(
    ("vision", "text", "model", "named"),
    [
        ({"timm_model_name": "eva02"}, {}, {}, "vision_cfg.timm_model_name='eva02'"),
        ({"pool_type": "avg"}, {}, {}, "vision_cfg.pool_type='avg'"),
        ({"attentional_pool": True}, {}, {}, "attentional_pool=True"),
        ({"global_average_pool": True}, {}, {}, "global_average_pool=True"),
        ({"ls_init_value": 1e-4}, {}, {}, "ls_init_value=0.0001"),
        ({"no_ln_pre": True}, {}, {}, "no_ln_pre=True"),
        ({"pos_embed_type": "sin_cos_2d"}, {}, {}, "pos_embed_type='sin_cos_2d'"),
        ({"act_kwargs": {"approximate": "tanh"}}, {}, {}, "vision_cfg.act_kwargs="),
        ({"norm_kwargs": {"eps": 1e-6}}, {}, {}, "vision_cfg.norm_kwargs="),
        ({"final_ln_after_pool": True}, {}, {}, "final_ln_after_pool=True"),
        ({"layers": [3, 4, 6, 3]}, {}, {}, "layers is a list: of a ResNet"),
        ({"layers": 3}, {}, {}, "layers=3, but the arrays show 1"),
        ({"image_size": 224}, {}, {}, "image_size=224, but the arrays show 32"),
        ({"mlp_ratio": 4.3637}, {}, {}, "mlp_ratio=4.3637, but the arrays show 256 of 64"),
        ({"of_tomorrow": 3}, {}, {}, "of_tomorrow=3, which tempme_jax does not know"),
        ({}, {"hf_tokenizer_name": "xlm"}, {}, "text_cfg.hf_tokenizer_name='xlm'"),
        ({}, {"hf_model_name": "roberta"}, {}, "text_cfg.hf_model_name='roberta'"),
        ({}, {"tokenizer_kwargs": {"clean": "canonicalize"}}, {}, "tokenizer_kwargs="),
        ({}, {"pool_type": "last"}, {}, "pool_type='last'"),
        ({}, {"pool_type": "eos"}, {}, "eos_id=2"),
        ({}, {"no_causal_mask": True}, {}, "no_causal_mask=True"),
        ({}, {"embed_cls": True}, {}, "embed_cls=True"),
        ({}, {"proj_type": "mlp"}, {}, "proj_type='mlp'"),
        ({}, {"proj_type": None}, {}, "proj_type=None"),
        ({}, {"proj_bias": True}, {}, "proj_bias=True"),
        ({}, {"pool_type": None}, {}, "text_cfg.pool_type=None"),
        ({"pool_type": None}, {}, {}, "vision_cfg.pool_type=None"),
        ({}, {"heads": None}, {}, "text_cfg.heads=None"),
        ({}, {"heads": 0}, {}, "text_cfg.heads=0"),
        ({}, {"mlp_ratio": None}, {}, "text_cfg.mlp_ratio=None"),
        ({"head_width": None}, {}, {}, "vision_cfg.head_width=None"),
        ({"head_width": 0}, {}, {}, "vision_cfg.head_width=0"),
        ({"head_width": -64}, {}, {}, "vision_cfg.head_width=-64"),
        ({}, {"pool_type": "eos", "eos_id": None}, {}, "text_cfg.eos_id=None"),
        ({}, {"vocab_size": 64000}, {}, "vocab_size=64000, but the arrays show 50"),
        ({}, {"context_length": 64}, {}, "context_length=64, but the arrays show 12"),
        ({}, {}, {"multimodal_cfg": {"width": 64}}, "multimodal_cfg="),
        ({}, {}, {"vision_cfg": None}, "vision_cfg=None"),
        ({}, {}, {"quick_gelu": "no"}, "model_cfg.quick_gelu='no' must be true or false"),
        ({"width": "64"}, {}, {}, "vision_cfg.width='64' must be a whole number"),
    ],
)
def test_a_field_of_open_clip_is_refused_by_its_name(vision, text, model, named, save):
    folder = save("openai", open_clip_config=make_open_clip(vision, text, **model))
    with pytest.raises(WeightsError) as caught:
        load_weights(folder)
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("vision", "text"),
    [
        ({"patch_dropout": 0.5, "output_tokens": True, "ls_init_value": None}, {"pad_id": 1}),
        ({"mlp_ratio": 4.0, "pool_type": "tok", "qk_norm": False}, {"pool_type": "argmax"}),
        ({"image_size": [32, 32], "patch_size": 16}, {"pool_type": "eos", "eos_id": 49}),
        ({}, {"hf_tokenizer_name": "openai/clip-vit-large-patch14", "vocab_size": 50}),
    ],
)
def test_a_field_of_open_clip_that_changes_nothing_is_taken(vision, text, save):
    text = {"vocab_size": 50} | text
    load_weights(save("openai", open_clip_config=make_open_clip(vision, text)))


@pytest.mark.parametrize(
    ("pixels", "named"),
    [
        ({"resize_mode": "longest"}, "resize_mode='longest'"),
        ({"interpolation": "bilinear"}, "interpolation='bilinear'"),
        ({"size": 224}, "size=224"),
        ({"mode": "L"}, "mode='L'"),
        ({"mean": [0.5]}, "preprocess_cfg.mean=[0.5], but tempme_jax computes with three"),
        *(
            ({"std": [s, 1, 1]}, "preprocess_cfg.std=[")
            for s in (0, -0.5, 1e-30, 1e30, 58.4, float("nan"), float("inf"))
        ),
        (
            {"mean": 123.7},
            "preprocess_cfg.mean=123.7, but tempme_jax computes with three",
        ),
        ({"crop_pct": 0.9}, "preprocess_cfg.crop_pct=0.9"),
        ({"mean": [float("nan")] * 3}, "preprocess_cfg.mean=[nan, nan, nan]"),
    ],
)
def test_pixels_of_open_clip_that_cannot_be_made_are_refused(pixels, named, save):
    folder = save("openai", open_clip_config=make_open_clip(pixels=pixels))
    with pytest.raises(WeightsError) as caught:
        load_weights(folder)
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (make_transformers(model_type="metaclip_2"), "model_type='metaclip_2'"),
        (make_transformers({"layer_norm_eps": 1e-6}), "vision_config.layer_norm_eps=1e-06"),
        (make_transformers(text={"layer_norm_eps": 1e-6}), "text_config.layer_norm_eps=1e-06"),
        (make_transformers({"hidden_act": "gelu"}), "text_config.hidden_act='quick_gelu'"),
        (make_transformers(text={"hidden_act": "gelu"}), "text_config.hidden_act='gelu'"),
        (make_transformers(text={"eos_token_id": 1}), "text_config.eos_token_id=1"),
        (make_transformers(text={"eos_token_id": None}), "text_config.eos_token_id=None"),
        (make_transformers(text={"is_causal": False}), "text_config.is_causal=False"),
        (make_transformers(architectures=["SiglipModel"]), "architectures='SiglipModel'"),
        (make_transformers({"intermediate_size": 99}), "intermediate_size=99"),
        (make_transformers({"num_channels": 4}), "num_channels=4"),
        (make_transformers(text={"vocab_size": 30000}), "vocab_size=30000"),
        (make_transformers(text_config_dict={"layer_norm_eps": 1}), "layer_norm_eps=1"),
        (make_transformers(quantization_config={"bits": 8}), "quantization_config="),
        ({"vision_config": None}, "cannot divide width by heads: 64 by 12"),
        ({"vision_config": [1]}, "vision_config=[1] must be"),
        ({"model_type": "siglip"}, "model_type='siglip'"),
    ],
)
def test_a_field_of_transformers_is_refused_by_its_name(config, named, save):
    with pytest.raises(WeightsError) as caught:
        load_weights(save("huggingface", config=config))
    assert named in str(caught.value)


@pytest.mark.parametrize("end", [2, 49, 49407])
def test_the_end_of_a_text_that_is_its_largest_id_is_taken(end, save):
    config = make_transformers(text={"eos_token_id": end, "vocab_size": 50})
    load_weights(save("huggingface", config=config))


@pytest.mark.parametrize(
    ("pixels", "named"),
    [
        ({"size": {"height": 32, "width": 48}}, "size=[32, 48]"),
        ({"size": {"longest_edge": 32}}, "size={'longest_edge': 32}"),
        ({"size": {"height": 40, "width": 40}}, "size=40, but the arrays show 32"),
        ({"offset": True}, "preprocessor_config.json: offset=True"),
        ({"crop_pct": 0.875}, "crop_pct=0.875"),
        ({"size": [32]}, "size=[32]"),
        ({"size_divisor": 32}, "size_divisor=32"),
        ({"image_std": [1e-30] * 3}, "preprocessor_config.json: image_std=[1e-30"),
        ({"size": {"shortest_edge": 40}}, "size=40"),
        ({"size": 40, "crop_size": 32}, "size=40"),
        ({"crop_size": [32, 48]}, "crop_size=[32, 48]"),
        ({"crop_size": {"height": 32}}, "crop_size="),
        ({"resample": 2}, "resample=2"),
        ({"do_center_crop": False}, "do_center_crop=False"),
        ({"do_resize": False}, "do_resize=False"),
        ({"do_rescale": False}, "do_rescale=False"),
        ({"do_pad": True}, "do_pad=True"),
        ({"rescale_factor": 1 / 127.5}, "rescale_factor=0.0078"),
        ({"image_processor_type": "SiglipImageProcessor"}, "'SiglipImageProcessor'"),
        ({"image_mean": "none"}, "image_mean='none' must be a number"),
    ],
)
def test_pixels_of_transformers_that_cannot_be_made_are_refused(pixels, named, save):
    folder = save("huggingface", config=make_transformers(), preprocessor_config=pixels)
    with pytest.raises(WeightsError) as caught:
        load_weights(folder)
    assert named in str(caught.value)


def test_sizes_in_every_form_are_taken(save):
    for size in (32, {"shortest_edge": 32}):
        for crop in (32, [32, 32], {"height": 32, "width": 32}):
            pixels = {"size": size, "crop_size": crop, "resample": 3, "rescale_factor": 1 / 255}
            save("huggingface", config=make_transformers(), preprocessor_config=pixels)
            load_weights(save("huggingface"))


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("tokenizer_config", {"tokenizer_class": "BertTokenizer"}, "'BertTokenizer'"),
        ("tokenizer_config", {"do_lower_case": False}, "do_lower_case=False"),
        ("tokenizer", {"model": {"vocab": {"a": 0}}}, "vocabulary of 1 tokens"),
        ("tokenizer", {"model": {"vocab": [["a", -1.5]]}}, "vocabulary of 1 tokens"),
        ("vocab", {"a": 0, "b": 1}, "vocabulary of 2 tokens"),
    ],
)
def test_another_tokenizer_is_refused(name, content, named, save):
    with pytest.raises(WeightsError, match=f"{name}.json.*{named}"):
        load_weights(save("huggingface", config=make_transformers(), **{name: content}))


def test_clips_own_tokenizer_is_taken(save):
    vocabulary = read_packaged()[0]
    files = {"vocab": vocabulary, "tokenizer": {"model": {"vocab": vocabulary}}}
    named = {"tokenizer_class": "CLIPTokenizerFast", "do_lower_case": True}
    load_weights(save("huggingface", **files, tokenizer_config=named))


@pytest.mark.parametrize("reach", [True, False])
def test_the_pixels_of_a_repository_are_looked_up(
    reach, params, tmp_path, within_reach, monkeypatch, caplog
):
    hub = tmp_path / "hub" / "models--someone--clip"
    snapshot = hub / "snapshots" / "0"
    write_weights(snapshot / "model.safetensors", params, "huggingface")
    (snapshot / "config.json").write_text(json.dumps(make_transformers()))
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text("0")
    asked = []

    def download(repository, name):
        asked.append(name)
        if not reach:
            raise LocalEntryNotFoundError("no network")
        if name != "preprocessor_config.json":
            raise EntryNotFoundError("no such file")
        (tmp_path / name).write_text(json.dumps(OF_IMAGES))
        return tmp_path / name

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    (hub / ".no_exist" / "0").mkdir(parents=True)
    (hub / ".no_exist" / "0" / "open_clip_model.safetensors").touch()
    arch = load_weights("someone/clip").arch
    assert (arch.mean == (0.5,) * 3) == reach
    # Out of reach, the hub is not asked again.
    assert asked == [n for n in CONFIG_NAMES if n != "config.json"][: None if reach else 1]
    assert ("cannot be looked up now" in caplog.text) != reach
