"""A tiny SigLIP 2 as transformers writes it: weights drawn from their names, and files beside.

Every array is drawn from its own generator, seeded with the CRC-32 of its name, so the same values
come back anywhere NumPy runs.
"""

import json

import numpy as np
import safetensors.numpy
from umt_weights import normal

WORDS = 64
# One pixel of each side is beside the last whole patch.
VISION = dict(
    hidden_size=32, intermediate_size=80, num_hidden_layers=2, num_attention_heads=2,
    image_size=33, patch_size=8,
)  # fmt: skip
TEXT = dict(
    hidden_size=24, intermediate_size=60, num_hidden_layers=1, num_attention_heads=2,
    vocab_size=WORDS, max_position_embeddings=12, projection_size=32,
)  # fmt: skip
CONFIG = {
    "architectures": ["SiglipModel"],
    "initializer_factor": 1.0,
    "model_type": "siglip",
    "text_config": TEXT | {"model_type": "siglip_text_model"},
    "vision_config": VISION | {"model_type": "siglip_vision_model"},
    "torch_dtype": "float32",
    "transformers_version": "4.49.0",
}
PIXELS = {
    "do_convert_rgb": None, "do_normalize": True, "do_rescale": True, "do_resize": True,
    "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "image_processor_type": "SiglipImageProcessor",
    "processor_class": "SiglipProcessor", "resample": 2, "rescale_factor": 1 / 255,
    "size": {"height": 33, "width": 33},
}  # fmt: skip
TOKENIZER_CONFIG = {
    "add_bos_token": False, "add_eos_token": True, "do_lower_case": True, "padding_side": "right",
    "tokenizer_class": "GemmaTokenizer", "pad_token": "<pad>", "model_max_length": 64,
}  # fmt: skip
SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>")


def make_tokenizer_json() -> dict:
    """Return a tokenizer.json of Gemma's kind: letters, and the words that merge to pieces."""
    letters = [*"▁abcdefghijklmnopqrstuvwxyzéщи.,!"]
    merges = [["r", "e"], ["re", "d"], ["▁", "red"], ["c", "a"], ["ca", "t"], ["▁", "cat"]]
    pieces = [*SPECIAL, *letters, *("".join(pair) for pair in merges)]
    special = [
        {"id": i, "content": token, "special": True, "normalized": False, "single_word": False,
         "lstrip": False, "rstrip": False}
        for i, token in enumerate(SPECIAL)
    ]  # fmt: skip
    end = {"SpecialToken": {"id": "<eos>", "type_id": 0}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": {"type": "Split", "pattern": {"String": " "},
                          "behavior": "MergedWithPrevious", "invert": False},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, end],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, end,
                     {"Sequence": {"id": "B", "type_id": 0}}, end],
            "special_tokens": {"<eos>": {"id": "<eos>", "ids": [1], "tokens": ["<eos>"]}},
        },
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
        ]},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": False,
            "ignore_merges": False, "vocab": {piece: i for i, piece in enumerate(pieces)},
            "merges": merges,
        },
    }  # fmt: skip


def draw_state_dict() -> dict[str, np.ndarray]:
    """Return the weights under the names of transformers."""
    weights: dict[str, np.ndarray] = {}

    def draw(name, *shape, scale=0.1, offset=0.0):
        weights[name] = np.float32(offset) + normal(name, shape, scale)

    def draw_linear(name, out, inside):
        draw(f"{name}.weight", out, inside, scale=inside**-0.5)
        draw(f"{name}.bias", out)

    def draw_norm(name, width):
        draw(f"{name}.weight", width, offset=1.0)
        draw(f"{name}.bias", width)

    def draw_mlp(name, width, inside):
        draw_linear(f"{name}.fc1", inside, width)
        draw_linear(f"{name}.fc2", width, inside)

    for tower, sizes in (("vision", VISION), ("text", TEXT)):
        width, inside = sizes["hidden_size"], sizes["intermediate_size"]
        for i in range(sizes["num_hidden_layers"]):
            layer = f"{tower}_model.encoder.layers.{i}"
            for part in ("q", "k", "v", "out"):
                draw_linear(f"{layer}.self_attn.{part}_proj", width, width)
            draw_norm(f"{layer}.layer_norm1", width)
            draw_norm(f"{layer}.layer_norm2", width)
            draw_mlp(f"{layer}.mlp", width, inside)
    width, patch = VISION["hidden_size"], VISION["patch_size"]
    patches = (VISION["image_size"] // patch) ** 2
    vision, head = "vision_model.embeddings", "vision_model.head"
    draw(f"{vision}.patch_embedding.weight", width, 3, patch, patch, scale=0.05)
    draw(f"{vision}.patch_embedding.bias", width)
    draw(f"{vision}.position_embedding.weight", patches, width)
    draw_norm("vision_model.post_layernorm", width)
    draw(f"{head}.probe", 1, 1, width, scale=1.0)
    draw(f"{head}.attention.in_proj_weight", 3 * width, width, scale=width**-0.5)
    draw(f"{head}.attention.in_proj_bias", 3 * width)
    draw_linear(f"{head}.attention.out_proj", width, width)
    draw_norm(f"{head}.layernorm", width)
    draw_mlp(f"{head}.mlp", width, VISION["intermediate_size"])
    text, width = "text_model", TEXT["hidden_size"]
    draw(f"{text}.embeddings.token_embedding.weight", WORDS, width, scale=1.0)
    draw(f"{text}.embeddings.position_embedding.weight", TEXT["max_position_embeddings"], width)
    draw_norm(f"{text}.final_layer_norm", width)
    draw_linear(f"{text}.head", TEXT["projection_size"], width)
    draw("logit_scale", 1, offset=4.7)
    draw("logit_bias", 1, offset=-16.0)
    return weights


def write_siglip(folder, **contents):
    """Write the files of a tiny SigLIP 2 to a folder, and return it.

    `contents` replace files by their names without .json; None leaves a file out.
    """
    files = {
        "config": CONFIG, "preprocessor_config": PIXELS, "tokenizer_config": TOKENIZER_CONFIG,
        "tokenizer": make_tokenizer_json(),
    }  # fmt: skip
    for name, content in (files | contents).items():
        if content is not None:
            (folder / f"{name}.json").write_text(json.dumps(content))
    safetensors.numpy.save_file(draw_state_dict(), folder / "model.safetensors")
    return folder


def draw_inputs() -> tuple[np.ndarray, np.ndarray]:
    """Return normalised pixels of 3 pictures and ids of 3 texts with padding."""
    pixels = normal("siglip pixels", (3, 33, 33, 3), 1.0)
    ids = np.random.default_rng(0).integers(4, WORDS, (3, 12))
    for row, end in enumerate((3, 8, 11)):
        ids[row, end:] = 0
        ids[row, end] = 1
    return pixels, ids
