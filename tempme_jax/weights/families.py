"""Name the models that are not computed here, by the arrays and configs that they have."""

import re
from collections.abc import Iterable, Set

from tempme_jax.weights.errors import WeightsError, shorten

# A pattern for the name of an array that only these models have, and what they are called. The
# first that matches counts.
PATTERNS = (
    (r"\blora_([AB]|embedding|up|down)|\bia3_|modules_to_save|^base_model\.model\.|\.hada_w",
     "a PEFT adapter and no whole model, to be merged into its base by PEFT's merge_and_unload"),
    (r"^Qformer\.|^query_tokens$|qformer\.", "BLIP-2"),
    (r"^vision_encoder\.encoder\.", "a part of UMT, or a relative such as InternVideo or VindLU"),
    (r"^visual_encoder\.|text_decoder\.bert|text_encoder\.bert|itm_head", "BLIP"),
    (r"^vision_model\.(head\.|embeddings\.patch_embedding\.bias)", "a part of SigLIP"),
    (r"trunk\.attn_pool",
     "SigLIP as timm has it, while transformers' is read, as google/siglip2-base-patch16-224"),
    (r"image_encoder\.model\.|text_encoder\.embedding_layer", "MobileCLIP"),
    (r"_image_encoder\.|_text_encoder\.", "TinyCLIP"),
    (r"text_decoder\.|visual\.attn_pool\.|text\.cls_emb|(^|\.)cls_emb$", "CoCa"),
    (r"visual\.layer\d\b", "CLIP with a ResNet"),
    (r"visual\.trunk\.", "CLIP with an image tower of timm, such as EVA or ConvNeXt"),
    (r"visual\.(blocks\.\d+|patch_embed|rope|cls_token)\b", "EVA-CLIP or another ViT of timm"),
    (r"text\.transformer\.(embeddings|encoder|shared)\b", "CLIP with a text tower of transformers"),
    (r"text_model\.(roberta|transformation|encoder\.layer)\.", "AltCLIP or Chinese-CLIP"),
    (r"^bert\.|text_model\.embeddings\.word_embeddings", "Chinese-CLIP"),
    (r"^vision_model\.(encoder\.stages|encoder\.blocks|embeddings\.convolution)", "ALIGN"),
    (r"^mit\.|prompts_generator|message_fc", "X-CLIP"),
    (r"positional_embedding_res$", "Long-CLIP"),
    (r"\.ls_[12]\.gamma|\.lambda[12]$", "CLIP with scaled layers (ls_init_value)"),
    (r"modality_(trunks|preprocessors)", "ImageBind"),
    (r"^vision_encoder\.|temporal_embed|^text_encoder\.", "InternVideo, VindLU or a part of UMT"),
    (r"^(patch_embed\.|blocks\.0\.|cls_token$)", "a ViT of timm, without a text tower"),
    (r"\.(absmax|quant_map|qweight|SCB|scales|quant_state\.)", "quantised weights"),
)  # fmt: skip
# The parts of CLIP4Clip that compare the frames of a video with a text.
CLIP4CLIP = {
    "transformerClip": "seqTransf",
    "lstm_visual": "seqLSTM",
    "frame_position_embeddings": "positions of frames",
    "cross": "tightTransf",
    "similarity_dense": "tightTransf",
}


def name_family(names: Iterable[str]) -> str:
    """Return what kind of model arrays of these names belong to; empty if it is not known."""
    before = re.compile(r"^((module|_orig_mod|model|net|network)\.)+")
    names = sorted({before.sub("", name) for name in names})
    for pattern, family in PATTERNS:
        found = next((name for name in names if re.search(pattern, name)), None)
        if found is not None:
            return f"{family} ({found!r:.99})"
    vision = any(name.startswith("vision_model.") for name in names)
    if vision != any(name.startswith("text_model.") for name in names):
        return f"only the {'vision' if vision else 'text'} tower of a CLIP of transformers"
    return ""


def explain_names(names: Iterable[str], extra: Set[str]) -> None:
    """Raise a WeightsError that names the model, if the arrays are those of a known one.

    `extra` are the names that the layout has no place for.
    """
    family = name_family(names)
    if family:
        raise WeightsError(
            f"this is {family}; tempme_jax computes CLIP with a ViT, as OpenAI, open_clip and "
            "transformers have it, SigLIP as transformers has it, and UMT"
        )
    parts = name_parts_of_clip4clip(extra)
    if parts:
        kinds = " and ".join(sorted({CLIP4CLIP[part] for part in parts}))
        options = " ".join(f"--leave-out {part}" for part in parts)
        raise WeightsError(
            f"this CLIP4Clip compares frames by {kinds} ({shorten(extra, 4)}), which tempme_jax "
            f"does not compute; `tempme convert ... {options}` leaves that out and keeps the mean "
            "over frames, which gives other scores"
        )


def name_parts_of_clip4clip(names: Iterable[str]) -> list[str]:
    """List the first parts of the names that CLIP4Clip adds to CLIP, such as "transformerClip"."""
    return sorted({name.split(".")[0] for name in names} & CLIP4CLIP.keys())
