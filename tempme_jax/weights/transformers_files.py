"""Read the files that transformers writes beside the weights of a CLIP, field by field."""

import functools
import os
from typing import Any

from tempme_jax.checks import require_one_of
from tempme_jax.networks.architecture import ACTIVATIONS, MEAN, STD
from tempme_jax.text.bpe import VOCAB_SIZE
from tempme_jax.weights.open_clip import compare_square
from tempme_jax.weights.sections import Description, Section, read_colours

PROCESSORS = ("CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPImageProcessorPil",
              "CLIPFeatureExtractor", "CLIPProcessor")  # fmt: skip
# By the number that Pillow gives it.
BICUBIC = (3, "bicubic")
# In configs of old, a text ends at the largest id, whatever the config says its id is.
FORMER_END = 2


def read_config(content: dict[str, Any], activation: str | None = None) -> Description:
    """Read the content of a config.json of transformers' CLIP; what it leaves out is ViT-B/32's.

    CLIP reads no other fields than these, so others change nothing. An `activation` that the user
    gave replaces the config's.

    Raises:
        ValueError: if a field has another type; it names the field.
    """
    found = Description(source="config.json")
    whole = Section("", content, found)
    whole.require("model_type", "clip")
    for name in ("auto_map", "quantization_config", "adapter_type"):
        whole.require(name)
    for name in whole.get("architectures", list[str], []):
        if not name.startswith("CLIP"):
            found.refuse("architectures", name, "the classes of CLIP")
    whole.compare("projection_dim", "embed_dim")
    vision = read_part(whole, "vision_config", "clip_vision_model")
    text = read_part(whole, "text_config", "clip_text_model")
    found.heads = get_or_default(vision, "num_attention_heads", int)
    found.text_heads = get_or_default(text, "num_attention_heads", int)
    if activation is None:
        act = get_or_default(vision, "hidden_act", str)
        found.activation = require_one_of(act, ACTIVATIONS, "activation")
        if (other := get_or_default(text, "hidden_act", str)) != act:
            found.refuse("text_config.hidden_act", other, repr(act))
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
        found.refuse("text_config.eos_token_id", None, last)
    text.require("is_causal", True)
    return found


def get_or_default(part: Section, field: str, kind: type) -> Any:
    """Return a field of a tower's section, or what transformers takes where it is left out."""
    value = part.get(field, kind)
    return read_defaults()[part.name][field] if value is None else value


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
    part = Section(name, whole.get(name, dict, {}) | former, whole.description)
    part.require("model_type", kind, "clip")
    return part


def read_preprocessor(content: dict[str, Any], found: Description, file: str) -> None:
    """Read the content of a preprocessor_config.json into a description.

    Raises:
        ValueError: if a field has another type; it names the field.
    """
    section = Section(f"{file}:", content, found)
    for name in ("image_processor_type", "feature_extractor_type"):
        section.require(name, *PROCESSORS)
    section.get("processor_class", str)
    for name in ("do_resize", "do_center_crop", "do_rescale"):
        section.require(name, True)
    section.require("resample", *BICUBIC)
    section.require("rescale_factor", 1 / 255)
    section.require("default_to_square", False)
    section.require("do_convert_rgb", True, False)  # frames are RGB
    if section.get("do_normalize", bool, True):
        found.mean = read_colours(section, "image_mean", MEAN)
        found.std = read_colours(section, "image_std", STD)
    else:
        found.mean, found.std = (0.0,) * 3, (1.0,) * 3
    compare_size(section)
    for field, value in content.items():
        if field.startswith("do_") and field not in section.read and value not in (None, False):
            found.refuse(section.join(field), value, False)


def compare_size(section: Section) -> None:
    """Note the sizes that pictures are resized and cropped to, which must be the model's."""
    size = section.get("size", int | list[int] | dict[str, int])
    if isinstance(size, dict) and set(size) != {"shortest_edge"}:
        section.description.refuse(section.join("size"), size, "a size of the shortest edge")
    elif isinstance(size, list):
        section.description.refuse(section.join("size"), size, "a size of the shortest edge")
    elif size is not None:
        side = size["shortest_edge"] if isinstance(size, dict) else size
        check_side(section, "size", side)
    crop = section.get("crop_size", int | list[int] | dict[str, int])
    if isinstance(crop, dict):
        crop = [crop.get("height", 0), crop.get("width", 0)]
    if crop is None:
        return
    sides = crop if isinstance(crop, list) else [crop]
    if len(set(sides)) != 1 or 0 in sides:
        section.description.refuse(section.join("crop_size"), crop, "squares")
    else:
        check_side(section, "crop_size", sides[0])


def check_side(section: Section, field: str, side: int) -> None:
    """Note a side of pictures, beside what the config says of it."""
    known = section.description.sizes.get("image_size")
    if known is not None and known[1] != side:
        section.description.refuse(section.join(field), side, f"{known[0]}={known[1]}")
    section.description.sizes["image_size"] = section.join(field), side
