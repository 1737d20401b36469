"""Models as they are published, small: loaded right, or refused by the name of what is another."""

import dataclasses
import json

import numpy as np
import pytest
import safetensors.numpy
from random_weights import TOY, make_random_params

from tempme_jax.loading import load
from tempme_jax.networks.clip import Clip
from tempme_jax.weights.configs import CONFIG_NAMES
from tempme_jax.weights.files import load_weights
from tempme_jax.weights.layouts import WeightsError, write_layout

SMALL = dataclasses.replace(TOY, depth=1)
# What PretrainedConfig of transformers 4 wrote into each section.
GENERIC = {
    "_name_or_path": "", "add_cross_attention": False, "attention_dropout": 0.0,
    "bad_words_ids": None, "bos_token_id": 0, "chunk_size_feed_forward": 0,
    "diversity_penalty": 0.0, "dropout": 0.0, "early_stopping": False,
    "encoder_no_repeat_ngram_size": 0, "id2label": {"0": "LABEL_0"}, "initializer_factor": 1.0,
    "initializer_range": 0.02, "is_decoder": False, "label2id": {"LABEL_0": 0},
    "length_penalty": 1.0, "max_length": 20, "num_beam_groups": 1, "num_beams": 1,
    "num_return_sequences": 1, "pad_token_id": 1, "projection_dim": 512, "pruned_heads": {},
    "repetition_penalty": 1.0, "return_dict": True, "temperature": 1.0, "tokenizer_class": None,
    "tie_word_embeddings": True, "top_k": 50, "top_p": 1.0, "torch_dtype": None,
    "transformers_version": "4.24.0", "typical_p": 1.0, "layer_norm_eps": 1e-05,
    "hidden_act": "gelu", "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1,
    "intermediate_size": 256,
}  # fmt: skip
PIXELS = {
    "crop_size": {"height": 32, "width": 32}, "do_center_crop": True, "do_convert_rgb": True,
    "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.5] * 3,
    "image_processor_type": "CLIPImageProcessor", "image_std": [0.5] * 3, "resample": 3,
    "rescale_factor": 1 / 255, "size": {"shortest_edge": 32}, "_valid_processor_keys": ["images"],
    "processor_class": "CLIPProcessor", "use_square_size": False,
}  # fmt: skip


def make_arrays(layout, **sizes):
    return write_layout(layout, make_random_params(Clip(dataclasses.replace(SMALL, **sizes))))


def make_open_clip(vision=(), text=(), pixels=None, **model):
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16} | dict(vision)
    text = {"context_length": 12, "vocab_size": 50, "width": 64, "heads": 1, "layers": 1} | dict(
        text
    )
    cfg = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text} | model
    return {"model_cfg": cfg, "preprocess_cfg": pixels or {}}


def make_transformers(vision=(), text=(), **whole):
    vision = GENERIC | {"model_type": "clip_vision_model", "patch_size": 16} | dict(vision)
    own = {"vocab_size": 50, "max_position_embeddings": 12, "eos_token_id": 2}
    text = GENERIC | own | {"model_type": "clip_text_model"} | dict(text)
    sections = {"vision_config": {"image_size": 32} | vision, "text_config": text}
    return {
        "architectures": ["CLIPModel"], "logit_scale_init_value": 2.6592, "model_type": "clip",
        "projection_dim": 16, "text_config_dict": None, "torch_dtype": "float32",
    } | sections | whole  # fmt: skip


@pytest.fixture
def save(tmp_path):
    """Write arrays and configs; return the folder."""

    def save(arrays, open_clip=None, transformers=None, pixels=None):
        safetensors.numpy.save_file(arrays, tmp_path / "model.safetensors")
        for name, content in zip(CONFIG_NAMES, (open_clip, transformers, pixels), strict=False):
            if content is not None:
                (tmp_path / name).write_text(json.dumps(content))
        return tmp_path

    return save


LARGE = {"width": 128, "heads": 2, "text_width": 128, "text_heads": 4}
SQUASHED = {"resize_mode": "squash", "interpolation": "bicubic", "mode": "RGB", "size": [32, 32]}


@pytest.mark.parametrize(
    ("sizes", "config"),
    [
        ({"activation": "quick_gelu"}, make_open_clip(quick_gelu=True)),
        (LARGE | {"image_size": 48}, make_open_clip({"width": 128, "image_size": 48},
                                                    {"width": 128, "heads": 4})),
        ({"image_size": 64}, make_open_clip({"image_size": 64})),
        ({"activation": "quick_gelu", "resize": "squash"},
         make_open_clip(pixels=SQUASHED, quick_gelu=True)),
        ({"context_length": 248}, make_open_clip(text={"context_length": 248})),
        ({"mlp_width": 315, "heads": 4}, make_open_clip({"mlp_ratio": 4.9231, "head_width": 16})),
        ({"embed_dim": 24}, make_open_clip(embed_dim=24, custom_text=True, init_logit_bias=-10)),
    ],
    ids=["quickgelu", "plus-240", "256", "DFN-378", "Long-CLIP", "bigG", "custom text"],
)  # fmt: skip
def test_models_of_open_clip_load(sizes, config, save):
    expected = dataclasses.replace(SMALL, **{"activation": "gelu"} | sizes)
    assert load_weights(save(make_arrays("openai", **sizes), config)).arch == expected


@pytest.mark.parametrize(
    ("sizes", "config"),
    [
        ({}, make_transformers()),
        (LARGE, make_transformers(
            {"hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 512},
            {"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 512})),
        ({"embed_dim": 24}, make_transformers(projection_dim=24)),
        ({"context_length": 248}, make_transformers(text={"max_position_embeddings": 248})),
    ],
    ids=["LAION", "TinyCLIP", "another projection_dim", "Long-CLIP"],
)  # fmt: skip
def test_models_of_transformers_load(sizes, config, save, caplog):
    folder = save(make_arrays("huggingface", **sizes), None, config, PIXELS)
    own = {"activation": "gelu", "mean": (0.5,) * 3, "std": (0.5,) * 3}
    assert load_weights(folder).arch == dataclasses.replace(SMALL, **own | sizes)
    assert not caplog.text


def take(arrays, start, **more):
    """The arrays whose names begin so, and some of others, which hold nothing."""
    nothing = np.zeros((4, 4), np.float32)
    return {n: a for n, a in arrays.items() if n.startswith(start)} | dict.fromkeys(
        (name.replace("__", ".") for name in more), nothing
    )


OPENAI, HF = make_arrays("openai"), make_arrays("huggingface")
WITHOUT_NORM = {name: a for name, a in OPENAI.items() if "ln_pre" not in name}
CLIPA = make_open_clip(
    {"no_ln_pre": True, "pool_type": "avg"},
    {"hf_tokenizer_name": "bert-base-uncased", "pool_type": "last", "no_causal_mask": True},
)
XLM = make_open_clip(text={"hf_model_name": "xlm", "hf_tokenizer_name": "xlm-roberta-base"})
MOBILE = make_open_clip({"timm_model_name": "vit_base_mci_224"})


@pytest.mark.parametrize(
    ("arrays", "configs", "named"),
    [
        (WITHOUT_NORM, [CLIPA], "no_ln_pre=True"),
        (OPENAI, [CLIPA], "hf_tokenizer_name='bert-base-uncased'"),
        (HF, [XLM, make_transformers()], "hf_tokenizer_name='xlm-roberta-base'"),
        (take(OPENAI, "visual.", text__transformer__embeddings__x=1), [XLM], "text tower of tra"),
        (take(OPENAI, "ln_final", visual__trunk__a=1), [MOBILE], "model_name='vit_base_mci_224'"),
        (OPENAI | {"positional_embedding_res": OPENAI["positional_embedding"]}, [], "Long-CLIP"),
        (take(HF, "vision", text_model__roberta__x=1), [None, make_transformers(
            model_type="altclip")], "model_type='altclip'"),
        (take(HF, "vision", text_model__encoder__layer__0__x=1), [None, make_transformers(
            model_type="chinese_clip")], "model_type='chinese_clip'"),
        (take(HF, "vision"), [None, {"model_type": "clip_vision_model"}], "only the vision tower"),
        (take(HF, "vision_model.embeddings", vision_model__head__probe=1), [None, {
            "model_type": "siglip"}], "SigLIP"),
        (take(OPENAI, "", text__cls_emb=1), [make_open_clip(multimodal_cfg={"width": 64})], "CoCa"),
        (HF, [None, make_transformers(model_type="metaclip_2")], "model_type='metaclip_2'"),
        (HF, [None, make_transformers(auto_map={"AutoModel": "x"})], "auto_map="),
        (HF, [None, make_transformers(architectures=["SiglipModel"])], "architectures='Siglip"),
        (HF, [None, make_transformers(tokenizer_class="BertTokenizer")], "tokenizer_class='Bert"),
        (HF, [None, make_transformers({"pruned_heads": {"0": [1]}})], "vision_config.pruned"),
        (HF, [None, make_transformers({"rope_theta": 1e4})], "vision_config.rope_theta=10000.0"),
        (HF, [None, make_transformers(use_qk_norm=True)], "config.json: use_qk_norm=True"),
        (HF, [None, make_transformers({"hidden_act": "gelu_new"})], "hidden_act='gelu_new'"),
        (OPENAI, [make_open_clip() | {"tokenizer": "xlm"}], "json: tokenizer='xlm'"),
        (OPENAI, [{"tokenizer": "xlm"}], "open_clip_config.json: tokenizer='xlm'"),
        (HF, [None, None, PIXELS | {"do_rescale": False}], "do_rescale=False"),
        (HF, [None, None, PIXELS | {"image_mean": [123.7] * 3}], "image_mean=[123.7, 123.7"),
        (HF, [make_open_clip({"head_width": 32}), make_transformers()], "head_width=32, but 1"),
    ],
)  # fmt: skip
def test_other_models_are_refused_by_name(arrays, configs, named, save):
    with pytest.raises(WeightsError) as caught:
        load_weights(save(arrays, *configs))
    assert named in str(caught.value)


def test_a_config_of_a_program_around_open_clip_does_not_count(save):
    wrapper = {"architectures": ["Fashion"], "auto_map": {"AutoModel": "x"}, "model_type": "own"}
    assert load_weights(save(OPENAI, make_open_clip(), wrapper)).arch.activation == "gelu"
    with pytest.raises(WeightsError, match="model_type='own'"):
        load_weights(save(HF, make_open_clip(), wrapper))


def test_what_two_configs_say_differently_is_logged(save, caplog):
    folder = save(HF, make_open_clip(quick_gelu=True), make_transformers())
    assert load_weights(folder).arch.activation == "gelu"
    assert "open_clip_config.json: activation is quick_gelu, which does not count" in caplog.text


def test_a_tower_that_is_too_shallow_for_a_method_is_told(save):
    arrays = make_arrays("openai")
    custom = {
        n if n.startswith(("visual.", "logit")) else f"text.{n}": a for n, a in arrays.items()
    }
    folder = save(custom, make_open_clip({}, custom_text=True))
    with pytest.raises(ValueError, match="tower of 1 blocks is too shallow to join clips"):
        load(folder, num_frames=4)
    options = {"layers": [0], "groups": [2]}
    assert load(folder, num_frames=4, method_options=options).reducer.layers == (0,)
