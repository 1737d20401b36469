"""Read the files that transformers writes beside the weights of a SigLIP, field by field."""

from collections.abc import Mapping
from typing import Any

from tempme_jax.networks.architecture import HALF
from tempme_jax.text.from_json import name_tokenizer, pack
from tempme_jax.weights.sections import (
    Description,
    Section,
    add_square,
    compare_square,
    read_colours,
)
from tempme_jax.weights.tokenizer_files import get_text
from tempme_jax.weights.transformers_files import (
    CONFIG,
    HARMLESS,
    HARMLESS_PIXELS,
    SIDES,
    note_activation,
)

PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
SPECIAL_TOKENS = "special_tokens_map.json"
# What transformers takes where a config leaves it out, of both towers and of pixels.
HEADS, ACTIVATION, IMAGE_SIZE = 12, "gelu_pytorch_tanh", 224
PROCESSORS = ("SiglipImageProcessor", "SiglipImageProcessorFast", "SiglipImageProcessorPil")
# Values of `Architecture.resize` by the names and numbers that Pillow gives filters.
FILTERS = {3: "squash", "bicubic": "squash", 2: "squash_bilinear", "bilinear": "squash_bilinear"}
# The classes of transformers that make the ids of each tokenizer here; those that only run what a
# tokenizer.json says make any.
TOKENIZER_CLASSES = {
    "gemma": ("GemmaTokenizer", "GemmaTokenizerFast", "Siglip2Tokenizer", "Siglip2TokenizerFast"),
    "siglip": ("SiglipTokenizer", "SiglipTokenizerFast", "T5Tokenizer", "T5TokenizerFast"),
}
# Their tokens that are seen: the padding, too, is read.
SEEN = {
    "gemma": {"pad_token": "<pad>", "eos_token": "<eos>"},
    "siglip": {"pad_token": "</s>", "eos_token": "</s>"},
}
ANY_TOKENIZER = ("TokenizersBackend", "PreTrainedTokenizerFast", "PreTrainedTokenizer", "")


def is_of_siglip(contents: Mapping[str, Any]) -> bool:
    """Return whether the config.json is that of a SigLIP of transformers, of whatever kind."""
    return str(contents.get(CONFIG, {}).get("model_type", "")).startswith("siglip")


def read_siglip(contents: Mapping[str, Any], activation: str | None = None) -> Description:
    """Read the files beside a SigLIP: the architecture, the pixels, the tokenizer.

    Args:
        contents: the contents of the config files by their names.
        activation: activation of the MLPs, in place of what the config says.

    Raises:
        ValueError: if a field has another type; it names the field.
    """
    if CONFIG not in contents:
        problem = (
            f"there is no {CONFIG} beside it, which says the heads, the activation and the size of "
            "frames of a SigLIP: its arrays do not show them; get it from the same repository"
        )
        return Description(problems=[problem])
    found = read_config(contents[CONFIG], activation)
    if PROCESSOR in contents:
        whole = Section(f"{PROCESSOR}:", contents[PROCESSOR], found)
        if (pixels := whole.get("image_processor", dict)) is not None:
            found.add(read_pixels(pixels, PROCESSOR))
        whole.refuse_others({"processor_class"})
    if PREPROCESSOR in contents:
        found.add(read_pixels(contents[PREPROCESSOR], PREPROCESSOR))
    read_words(contents, found)
    return found


def read_config(content: dict[str, Any], activation: str | None) -> Description:
    """Read the content of a config.json; what it leaves out is what transformers takes."""
    found = Description(source=CONFIG)
    whole = Section(f"{CONFIG}:", content, found)
    if whole.fields.get("model_type") == "siglip2":
        found.problems.append(
            f"{CONFIG}: model_type='siglip2' is a SigLIP 2 for pictures of any shape (NaFlex), "
            "which tempme_jax does not compute; take one of fixed resolution, such as "
            "google/siglip2-base-patch16-224"
        )
        return found
    whole.require("model_type", "siglip")
    for name in ("auto_map", "quantization_config", "adapter_type"):
        whole.require(name)
    for name in whole.get("architectures", list[str], []):
        if name != "SiglipModel":
            found.refuse(whole.join("architectures"), name, "'SiglipModel'")
    vision, text = (whole.enter(f"{tower}_config") for tower in ("vision", "text"))
    acts = []
    for section, prefix in ((vision, ""), (text, "text_")):
        section.require("model_type", f"siglip_{prefix and 'text' or 'vision'}_model", "siglip")
        section.require("layer_norm_eps", 1e-6)
        section.compare("hidden_size", prefix + "width")
        section.compare("num_hidden_layers", prefix + "depth")
        section.compare("intermediate_size", "mlp_text" if prefix else "mlp_video")
        setattr(found, prefix + "heads", section.get("num_attention_heads", int, HEADS))
        acts.append(section.get("hidden_act", str, ACTIVATION))
    if activation is None:
        note_activation(found, vision, text, *acts)
    if vision.fields.get("image_size") is None:
        found.sizes.append(("image_size", vision.join("image_size"), IMAGE_SIZE))
    compare_square(vision, "image_size", "image_size")
    compare_square(vision, "patch_size", "patch")
    vision.require("num_channels", 3)
    vision.require("vision_use_head", True)
    text.compare("vocab_size", "vocab_size")
    text.compare("max_position_embeddings", "context_length")
    text.compare("projection_size", "embed_dim")
    for section in (whole, vision, text):
        section.refuse_others(HARMLESS | {"eos_token_id"})
    return found


def read_pixels(content: dict[str, Any], file: str) -> Description:
    """Read how pictures become pixels: both sides are resized, whatever their shape."""
    found = Description(source=file)
    section = Section(f"{file}:", content, found)
    for name in ("image_processor_type", "feature_extractor_type"):
        section.require(name, *PROCESSORS)
    for name in ("do_resize", "do_rescale"):
        section.require(name, True)
    section.require("rescale_factor", 1 / 255)
    section.require("default_to_square", False, True)  # of a size of one number
    section.require("do_convert_rgb", True, False)  # frames are RGB
    section.require("do_center_crop", False)
    section.get("crop_size", int | list[int] | dict[str, int])
    resample = section.get("resample", int | str, 3)
    section.require("resample", *FILTERS)
    found.resize = FILTERS.get(resample)
    normal = section.get("do_normalize", bool, True)
    found.mean, found.std = (HALF, HALF) if normal else ((0.0,) * 3, (1.0,) * 3)
    for name, field in (("mean", "image_mean"), ("std", "image_std")):
        if normal and section.fields.get(field) is not None:
            setattr(found, name, read_colours(section, field, name))
        section.read.add(field)
    size = section.get("size", list[int] | dict[str, int], {"height": 224, "width": 224})
    if isinstance(size, dict) and set(size) != SIDES:
        found.refuse(section.join("size"), size, "height and width")
    else:
        sides = list(size.values()) if isinstance(size, dict) else size
        add_square(section, "size", sides, "image_size")
    section.refuse_others(HARMLESS_PIXELS)
    return found


def read_words(contents: Mapping[str, Any], found: Description) -> None:
    """Read how texts become ids: by a tokenizer.json, which is kept as it is."""
    if TOKENIZER not in contents:
        found.problems.append(
            f"there is no {TOKENIZER} beside it, by which a SigLIP's texts become ids (a "
            "spiece.model alone is not read); get it from the same repository, or write one with "
            "the library tokenizers"
        )
        return
    name = name_tokenizer(contents[TOKENIZER])
    if not name:
        found.problems.append(
            f"{TOKENIZER} is neither Gemma's, as SigLIP 2 has it (BPE, <pad> 0 and <eos> 1), nor "
            "that of SigLIP (Unigram, </s> 1)"
        )
        return
    found.tokenizer, found.vocabulary = name, pack(contents[TOKENIZER])
    section = Section(f"{TOKENIZER_CONFIG}:", contents.get(TOKENIZER_CONFIG), found)
    section.require("tokenizer_class", *TOKENIZER_CLASSES[name], *ANY_TOKENIZER)
    section.require("auto_map")
    section.require("add_bos_token", False)
    for switch in ("add_eos_token", "do_lower_case"):
        section.require(switch, True)
    for side in ("padding_side", "truncation_side"):
        section.require(side, "right")
    special = Section(f"{SPECIAL_TOKENS}:", contents.get(SPECIAL_TOKENS), found)
    for each in (section, special):
        for field, token in SEEN[name].items():
            given = each.fields.get(field)
            if given is not None and get_text(given) != token:
                found.refuse(each.join(field), given, repr(token))
