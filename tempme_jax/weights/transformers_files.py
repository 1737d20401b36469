"""Read the files that transformers writes beside the weights of a CLIP, field by field."""

import functools
import os
from typing import Any

from tempme_jax.networks.architecture import ACTIVATIONS
from tempme_jax.text.bpe import VOCAB_SIZE
from tempme_jax.weights.sections import (
    Description,
    Section,
    add_square,
    compare_square,
    read_colours,
)

CONFIG = "config.json"
# Classes of whole models; those of one tower have other arrays.
CLASSES = ("CLIPModel",)
TOKENIZER_CLASSES = ("CLIPTokenizer", "CLIPTokenizerFast", "")
PROCESSORS = ("CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPImageProcessorPil",
              "CLIPFeatureExtractor", "CLIPProcessor")  # fmt: skip
SIDES = {"height", "width"}
# By the number that Pillow gives it.
BICUBIC = (3, "bicubic")
# Fields of config.json, and of its sections, that leave no trace in the vectors of trained weights:
# they begin or regularise training, name things, choose dtypes or outputs, or generate text.
HARMLESS = {
    "_attn_implementation", "_attn_implementation_autoset", "_commit_hash", "_name_or_path",
    "attention_dropout", "attn_implementation", "bad_words_ids", "begin_suppress_tokens",
    "bos_token_id", "chunk_size_feed_forward", "decoder_start_token_id", "diversity_penalty",
    "dropout", "dtype", "early_stopping", "exponential_decay_length_penalty", "finetuning_task",
    "forced_bos_token_id", "forced_eos_token_id", "gradient_checkpointing", "id2label",
    "initializer_factor", "initializer_range", "label2id", "length_penalty",
    "logit_scale_init_value", "max_length", "min_length", "no_repeat_ngram_size",
    "num_beam_groups", "num_beams", "num_labels", "num_return_sequences", "output_attentions",
    "output_hidden_states", "output_past", "output_scores", "pad_token_id", "prefix",
    "problem_type", "projection_dim", "remove_invalid_values", "repetition_penalty", "return_dict",
    "return_dict_in_generate", "sep_token_id", "suppress_tokens", "task_specific_params",
    "temperature", "tie_encoder_decoder", "tie_word_embeddings", "top_k", "top_p", "torch_dtype",
    "torchscript", "transformers_version", "typical_p", "use_bfloat16", "use_cache",
}  # fmt: skip
# The same of preprocessor_config.json: frames are RGB arrays here, and become those of JAX.
HARMLESS_PIXELS = {
    "_processor_class", "_valid_processor_keys", "data_format", "device", "disable_grouping",
    "input_data_format", "processor_class", "return_tensors", "transformers_version",
}  # fmt: skip
# In configs of old, a text ends at the largest id, whatever the config says its id is.
FORMER_END = 2


def read_config(content: dict[str, Any], activation: str | None = None) -> Description:
    """Read the content of a config.json of transformers' CLIP; what it leaves out is ViT-B/32's.

    An `activation` that the user gave replaces the config's.

    Raises:
        ValueError: if a field has another type; it names the field.
    """
    found = Description(source=CONFIG)
    whole = Section(f"{CONFIG}:", content, found)
    whole.require("model_type", "clip")
    whole.require("tokenizer_class", *TOKENIZER_CLASSES)
    for name in ("auto_map", "quantization_config", "adapter_type"):
        whole.require(name)
    for name in whole.get("architectures", list[str], []):
        if name not in CLASSES:
            found.refuse(whole.join("architectures"), name, " or ".join(CLASSES))
    whole.compare("projection_dim", "embed_dim")
    vision = read_part(whole, "vision_config", "clip_vision_model")
    text = read_part(whole, "text_config", "clip_text_model")
    found.heads = get_or_default(vision, "num_attention_heads", int)
    found.text_heads = get_or_default(text, "num_attention_heads", int)
    acts = [get_or_default(part, "hidden_act", str) for part in (vision, text)]
    if activation is None:
        note_activation(found, vision, text, *acts)
    for section, prefix in ((vision, ""), (text, "text_")):
        section.require("layer_norm_eps", 1e-5)
        section.compare("hidden_size", prefix + "width")
        section.compare("num_hidden_layers", prefix + "depth")
        section.compare("intermediate_size", "mlp_text" if prefix else "mlp_video")
    compare_square(vision, "image_size", "image_size")
    compare_square(vision, "patch_size", "patch")
    vision.require("num_channels", 3)
    text.compare("vocab_size", "vocab_size")
    text.compare("max_position_embeddings", "context_length")
    last = text.get("vocab_size", int, VOCAB_SIZE) - 1
    text.require("eos_token_id", last, VOCAB_SIZE - 1, FORMER_END)
    if text.fields.get("eos_token_id", last) is None:
        found.refuse(text.join("eos_token_id"), None, last)
    text.require("is_causal", True)
    for section in (whole, vision, text):
        section.refuse_others(HARMLESS)
    return found


def note_activation(
    found: Description, vision: Section, text: Section, of_vision: str, of_text: str
) -> None:
    """Note the activation of both towers; refuse one that is not computed here, or two of them."""
    found.activation = of_vision
    if of_vision not in ACTIVATIONS:
        found.refuse(vision.join("hidden_act"), of_vision, " or ".join(ACTIVATIONS))
    elif of_text != of_vision:
        found.refuse(text.join("hidden_act"), of_text, repr(of_vision))


def get_or_default(part: Section, field: str, kind: type) -> Any:
    """Return a field of a tower's section, or what transformers takes where it is left out."""
    value = part.get(field, kind)
    return read_defaults()[part.name.split()[-1]][field] if value is None else value


@functools.cache
def read_defaults() -> dict[str, dict[str, Any]]:
    """Return the config of transformers' CLIP when nothing is given, by section."""
    # Else transformers complains on import that there is no PyTorch, which nothing here needs.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from transformers import CLIPConfig  # takes seconds to import

    return CLIPConfig().to_dict()


def read_part(whole: Section, name: str, kind: str) -> Section:
    """Return the section of a tower; the fields of its former name go first."""
    former = whole.get(f"{name}_dict", dict, {})
    part = Section(whole.join(name), whole.get(name, dict, {}) | former, whole.description)
    part.require("model_type", kind, "clip")
    part.get("architectures", list[str])
    return part


def read_preprocessor(content: dict[str, Any], file: str) -> Description:
    """Read the content of a preprocessor_config.json, or what processor_config.json holds of it.

    Raises:
        ValueError: if a field has another type; it names the field.
    """
    found = Description(source=file)
    section = Section(f"{file}:", content, found)
    for name in ("image_processor_type", "feature_extractor_type"):
        section.require(name, *PROCESSORS)
    for name in ("do_resize", "do_rescale"):
        section.require(name, True)
    section.require("resample", *BICUBIC)
    section.require("rescale_factor", 1 / 255)
    section.require("default_to_square", False)
    section.require("do_convert_rgb", True, False)  # frames are RGB
    if section.get("do_normalize", bool, True):
        found.mean = read_colours(section, "image_mean", "mean")
        found.std = read_colours(section, "image_std", "std")
    else:
        section.read |= {"image_mean", "image_std"}
        found.mean, found.std = (0.0,) * 3, (1.0,) * 3
    found.resize = read_resize(section)
    section.refuse_others(HARMLESS_PIXELS)
    return found


def read_resize(section: Section) -> str:
    """Return how pictures become squares; their sizes must be the model's.

    A size of the shortest edge leaves a crop to be made; height and width leave nothing to crop.
    """
    size = section.get("size", int | list[int] | dict[str, int])
    crop = section.get("crop_size", int | list[int] | dict[str, int])
    is_squashed = isinstance(size, list) or (isinstance(size, dict) and set(size) == SIDES)
    if isinstance(size, dict) and not is_squashed:
        if set(size) == {"shortest_edge"}:
            size = size["shortest_edge"]
        else:
            section.description.refuse(section.join("size"), size, "a shortest edge, or squares")
            size = None
    for name, given in (("size", size), ("crop_size", crop)):
        sides = list(given.values()) if isinstance(given, dict) else given
        if isinstance(given, dict) and set(given) != SIDES:
            section.description.refuse(section.join(name), given, "squares")
        else:
            add_square(section, name, sides, "image_size")
    section.require("do_center_crop", True, *((False,) if is_squashed else ()))
    return "squash" if is_squashed else "crop"
