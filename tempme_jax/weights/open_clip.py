"""Read open_clip_config.json, field by field.

The fields are those of open_clip's CLIPVisionCfg, CLIPTextCfg and PreprocessCfg.
"""

from typing import Any

from tempme_jax.weights.sections import Description, Section, compare_square, read_colours

# Name of the file.
OPEN_CLIP = "open_clip_config.json"
# They begin the training, or are switches of PyTorch: nothing of it is left in trained weights.
HARMLESS = {
    "init_logit_scale", "init_logit_bias", "nonscalar_logit_scale", "cast_dtype", "output_dict",
    "custom_text", "patch_dropout", "timm_drop", "timm_drop_path", "timm_model_pretrained",
    "hf_model_pretrained", "attn_pooler_queries", "attn_pooler_heads", "output_tokens", "timm_pool",
    "timm_proj", "timm_proj_bias", "hf_proj_type", "hf_pooler_type", "pad_id", "correct_cls_mask",
}  # fmt: skip
# Where these are null, open_clip takes no default: it stops, or computes something else.
NEVER_NULL = (
    "layers", "width", "head_width", "heads", "mlp_ratio", "patch_size", "image_size", "vocab_size",
    "context_length", "pool_type", "pos_embed_type", "proj_type",
)  # fmt: skip
# Values of `Architecture.resize` by open_clip's names.
RESIZE_MODES = {"shortest": "crop", "squash": "squash"}
# Tokenizers by name that are CLIP's own.
CLIP_TOKENIZERS = tuple(
    f"openai/clip-vit-{name}"
    for name in ("base-patch32", "base-patch16", "large-patch14", "large-patch14-336")
)


def read_open_clip(content: dict[str, Any]) -> Description:
    """Read the content of an open_clip_config.json.

    Raises:
        ValueError: if a field has another type; it names the field.
    """
    found = Description(source=OPEN_CLIP)
    whole = Section(f"{OPEN_CLIP}:", content, found)
    model = whole.enter("model_cfg")
    for section in (whole, model):  # open_clip stops at these, too
        for name in ("model_cfg", "vision_cfg", "text_cfg"):
            if section.fields.get(name, 0) is None:
                found.refuse(section.join(name), None, "the fields of that section")
    if model.fields:
        found.activation = "quick_gelu" if model.get("quick_gelu", bool, False) else "gelu"
    model.compare("embed_dim", "embed_dim")
    for name in ("multimodal_cfg", "audio_cfg"):
        model.require(name)
    read_vision(model.enter("vision_cfg"))
    read_text(model.enter("text_cfg"))
    model.refuse_others(HARMLESS)
    if whole.fields.get("preprocess_cfg") is not None:
        read_preprocessing(whole.enter("preprocess_cfg"))
    whole.refuse_others({"preprocess_cfg"})
    return found


def read_vision(vision: Section) -> None:
    """Read the section of the image tower."""
    found = vision.description
    vision.require("timm_model_name")
    if isinstance(vision.get("layers", int | list), list):
        found.problems.append(f"{vision.join('layers')} is a list: of a ResNet, not of a ViT")
    else:
        vision.compare("layers", "depth")
    vision.compare("width", "width")
    compare_square(vision, "patch_size", "patch")
    compare_square(vision, "image_size", "image_size")
    # open_clip's default, also of wide towers, whose heads are wider where nothing is said.
    default = 64 if "width" in vision.fields else None
    found.head_width = get_positive(vision, "head_width", default)
    compare_mlp(vision, "video")
    vision.require("pos_embed_type", "learnable")
    vision.require("pool_type", "tok")
    refuse_variants(vision)


def read_text(text: Section) -> None:
    """Read the section of the text tower; it has 8 heads unless it says otherwise."""
    found = text.description
    text.require("hf_model_name")
    text.require("hf_tokenizer_name", "", *CLIP_TOKENIZERS)
    text.require("tokenizer_mode", "", "lower")
    text.require("tokenizer_kwargs", {})
    text.compare("layers", "text_depth")
    text.compare("width", "text_width")
    text.compare("vocab_size", "vocab_size")
    text.compare("context_length", "context_length")
    if text.fields:
        found.text_heads = get_positive(text, "heads", 8)
    compare_mlp(text, "text")
    pooling = text.get("pool_type", str, "argmax")
    if pooling == "eos":  # the first id of this number, where "argmax" takes the largest
        text.require("eos_id", text.get("vocab_size", int, 49408) - 1, default=2)
        if text.fields.get("eos_id", 2) is None:
            found.refuse(text.join("eos_id"), None, "the largest id")
    else:
        text.get("eos_id", int)
        text.require("pool_type", "argmax")
    text.require("proj_type", "linear", default="linear")
    text.require("proj_bias", False)
    for name in ("embed_cls", "no_causal_mask", "ln_post_emb"):
        text.require(name, False)
    text.require("text_mask", "first")
    refuse_variants(text)


def refuse_variants(tower: Section) -> None:
    """Refuse what changes the blocks of a tower, and all fields that are not known."""
    for name in ("attentional_pool", "final_ln_after_pool", "no_ln_pre", "global_average_pool"):
        tower.require(name, False)
    for name in NEVER_NULL:
        if tower.fields.get(name, 0) is None:
            tower.description.refuse(
                tower.join(name), None, "a value; without the field, its default"
            )
    tower.require("ls_init_value")
    tower.require("act_kwargs", {}, {"approximate": "none"})
    tower.require("norm_kwargs", {}, {"eps": 1e-5})
    tower.require("block_type", "default")
    tower.refuse_others(HARMLESS)


def get_positive(section: Section, field: str, default: int | None = None) -> int | None:
    """Return a whole number above 0, or the default; refuse any other."""
    value = section.get(field, int, default)
    if value is None or value > 0:
        return value
    section.description.refuse(section.join(field), value, "whole numbers above 0")
    return default


def compare_mlp(section: Section, tower: str) -> None:
    """Note the width inside the MLPs, which is given by its ratio to the width of a token."""
    ratio = section.get("mlp_ratio", float)
    if ratio is not None:
        section.description.mlp_ratios.append((tower, section.join("mlp_ratio"), ratio))


def read_preprocessing(section: Section) -> None:
    """Read how pictures become pixels."""
    found = section.description
    found.mean = read_colours(section, "mean", "mean")
    found.std = read_colours(section, "std", "std")
    compare_square(section, "size", "image_size")
    section.require("mode", "RGB")
    resize = section.get("resize_mode", str, "shortest")
    section.require("resize_mode", *RESIZE_MODES)
    found.resize = RESIZE_MODES.get(resize)
    section.require("interpolation", "bicubic", "random")  # at random only in training
    section.refuse_others({"fill_color"})  # of borders, which neither way leaves
