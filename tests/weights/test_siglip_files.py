"""SigLIP from the files of transformers: what is obeyed, what is refused, and what is kept."""

import dataclasses
import json

import numpy as np
import pytest
import safetensors.numpy
from siglip_files import (
    CONFIG,
    PIXELS,
    TEXT,
    TOKENIZER_CONFIG,
    VISION,
    draw_state_dict,
    make_tokenizer_json,
    write_siglip,
)

import tempme_jax
from tempme_jax.fingerprint import describe_model
from tempme_jax.text.base import VocabularyError
from tempme_jax.weights.adapter_files import WrongBaseError
from tempme_jax.weights.convert import convert_file
from tempme_jax.weights.files import load_weights
from tempme_jax.weights.layouts import WeightsError

PLAIN = dict(method="clip", num_frames=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_siglip(tmp_path_factory.mktemp("siglip"))


def test_files_say_sizes_pixels_and_words(folder):
    weights = load_weights(folder)
    arch = weights.arch
    assert arch == dataclasses.replace(
        tempme_jax.networks.architecture.SIGLIP2_B16, embed_dim=32, image_size=33, patch=8,
        width=32, depth=2, heads=2, mlp_width=80, text_width=24, text_depth=1, text_heads=2,
        text_mlp_width=60, vocab_size=64, context_length=12,
    )  # fmt: skip
    assert (arch.backbone, arch.tokenizer, arch.resize) == ("siglip2", "gemma", "squash_bilinear")
    assert len(weights.vocabulary) < 2000


def test_a_saved_model_needs_no_other_file(folder, tmp_path):
    """Neither the saved model nor what transformers' layout holds."""
    model = tempme_jax.load(folder, **PLAIN)
    vectors = model.embed_text(["A red cat", "щи"])
    for name, layout in (("own", "tempme_jax"), ("theirs", "siglip")):
        model.save(tmp_path / f"{name}.safetensors", layout=layout)
        again = tempme_jax.load(tmp_path / f"{name}.safetensors")
        assert again.arch.tokenizer == "gemma"
        assert describe_model(again) == describe_model(model)
    np.testing.assert_array_equal(again.embed_text(["A red cat", "щи"]), vectors)
    convert_file(folder / "model.safetensors", tmp_path / "new.safetensors", layout="tempme_jax")
    assert load_weights(tmp_path / "new.safetensors").vocabulary == model.vocabulary
    with pytest.raises(WeightsError, match="no place for SigLIP"):
        model.save(tmp_path / "other.safetensors", layout="openai")


def test_an_adapter_needs_the_words_that_it_was_made_with(folder, tmp_path):
    model = tempme_jax.load(folder, method="lora", num_frames=1)
    model.save_adapter(tmp_path / "adapter.safetensors")
    assert tempme_jax.load(folder, adapter=tmp_path / "adapter.safetensors").vocabulary
    content = make_tokenizer_json()
    vocab = content["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    write_siglip(tmp_path, tokenizer=content)
    with pytest.raises(WrongBaseError, match=r"another tokenizer\.json"):
        tempme_jax.load(tmp_path, adapter=tmp_path / "adapter.safetensors")


def test_all_positions_are_read(folder):
    assert tempme_jax.load(folder, **PLAIN).max_words == 12
    with pytest.raises(ValueError, match="max_words=8.*all of its 12 positions"):
        tempme_jax.load(folder, **PLAIN, max_words=8)


def test_random_weights_have_no_words():
    sizes = dict(width=32, depth=1, heads=2, text_depth=1, text_width=32, text_heads=2)
    model = tempme_jax.create(
        "SigLIP2-B/16", **PLAIN, **sizes, embed_dim=32, image_size=32, vocab_size=40
    )
    with pytest.raises(VocabularyError, match=r"tokenizer\.json lies with pretrained"):
        model.embed_text("a cat")


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"config": None}, r"no config\.json"),
        ({"config": CONFIG | {"model_type": "siglip2"}}, "NaFlex"),
        ({"config": CONFIG | {"architectures": ["SiglipVisionModel"]}}, "'SiglipVisionModel'"),
        ({"config": CONFIG | {"text_config": TEXT | {"layer_norm_eps": 1e-5}}}, "layer_norm_eps"),
        ({"config": CONFIG | {"text_config": TEXT | {"hidden_act": "gelu"}}}, "hidden_act='gelu'"),
        ({"config": CONFIG | {"text_config": TEXT | {"vocab_size": 99}}}, "vocab_size=99"),
        ({"config": CONFIG | {"vision_config": VISION | {"image_size": 32, "rope": 1}}}, "rope=1"),
        ({"config": CONFIG | {"vision_config": VISION | {"image_size": 48}}}, "36 patches of 8"),
        ({"config": CONFIG | {"vision_config": VISION | {"vision_use_head": False}}}, "use_head"),
        ({"preprocessor_config": PIXELS | {"resample": 0}}, "resample=0"),
        ({"preprocessor_config": PIXELS | {"do_center_crop": True}}, "do_center_crop"),
        ({"preprocessor_config": PIXELS | {"size": {"height": 32, "width": 32}}}, "_size=33"),
        ({"config": CONFIG | {"vision_config": VISION | {"num_attention_heads": None}}}, "by 12"),
        ({"tokenizer": None}, r"no tokenizer\.json beside it.*spiece\.model"),
        ({"tokenizer": make_tokenizer_json() | {"model": {"type": "WordPiece"}}}, "neither Gemma"),
        ({"tokenizer": make_tokenizer_json() | {"normalizer": {"type": "A"}}}, "cannot be used"),
        ({"tokenizer_config": TOKENIZER_CONFIG | {"pad_token": "<eos>"}}, "pad_token='<eos>'"),
        ({"special_tokens_map": {"eos_token": {"content": "<bos>"}}}, r"map\.json: eos_token"),
        ({"tokenizer_config": TOKENIZER_CONFIG | {"padding_side": "left"}}, "padding_side='left'"),
        ({"tokenizer_config": TOKENIZER_CONFIG | {"add_bos_token": True}}, "add_bos_token"),
        ({"tokenizer_config": TOKENIZER_CONFIG | {"tokenizer_class": "T5Tokenizer"}}, "T5Token"),
    ],
)
def test_what_is_not_computed_is_named(files, problem, tmp_path):
    with pytest.raises(WeightsError, match=problem):
        load_weights(write_siglip(tmp_path, **files))


def test_arrays_of_one_tower_or_of_other_words(tmp_path):
    arrays = draw_state_dict()
    vision = {name: a for name, a in arrays.items() if name.startswith("vision_model.")}
    short = arrays | {"text_model.embeddings.token_embedding.weight": np.ones((30, 24), "f4")}
    wide = arrays | {"vision_model.head.probe": np.ones((1, 2, 16), "f4")}
    text = {name: size for name, size in TEXT.items() if name != "vocab_size"}
    folder = write_siglip(tmp_path, config=CONFIG | {"text_config": text})
    for given, problem in ((vision, "alone"), (short, "43 tokens.*30 ids"), (wide, "misshapen")):
        safetensors.numpy.save_file(given, folder / "model.safetensors")
        with pytest.raises(WeightsError, match=problem):
            load_weights(folder)


def test_pixels_that_nothing_says_are_those_of_siglip_2(tmp_path, caplog):
    arch = load_weights(write_siglip(tmp_path, preprocessor_config=None)).arch
    assert (arch.resize, arch.mean, arch.std) == ("squash_bilinear", (0.5,) * 3, (0.5,) * 3)
    assert "no preprocessor_config.json" in caplog.text


def test_pixels_of_siglip_1_and_of_transformers_5(tmp_path):
    """Bicubic is the default; processor_config.json holds what preprocessor_config.json did."""
    pixels = {key: value for key, value in PIXELS.items() if key != "resample"}
    pixels |= {"image_mean": [0.4] * 3}
    processor = {"processor_class": "SiglipProcessor", "image_processor": pixels}
    folder = write_siglip(tmp_path, preprocessor_config=None)
    (folder / "processor_config.json").write_text(json.dumps(processor))
    arch = load_weights(folder).arch
    assert (arch.resize, arch.mean, arch.std) == ("squash", (0.4,) * 3, (0.5,) * 3)
