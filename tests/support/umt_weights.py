"""Weights and inputs of a small UMT, drawn from their names, in the layouts of public checkpoints.

Every array is drawn from its own generator, seeded with the CRC-32 of its name, so the same values
come back anywhere NumPy runs. Names and layouts are those of the public checkpoint of pre-training
(`b16_25m.pth`, inside its key `model`), with what fine-tuning has no use for.
"""

import dataclasses
import re
import zlib

import numpy as np

from tempme_jax.networks.architecture import ARCHITECTURES

TINY_UMT = dict(
    image_size=64,
    patch=16,
    width=64,
    layers=4,
    heads=2,
    embed_dim=32,
    text_width=48,
    text_layers=4,
    text_heads=3,
    fusion_layer=2,
    vocab_size=100,
    positions=40,
    clip_decoders=2,
    clip_width=24,
)
# Answers are decoded from the states of the text encoder by what was its cross-attention to the
# vision encoder: the two must be of one width.
TINY_UMT_QA = dict(TINY_UMT, text_width=64, text_heads=4)
PAD, UNK, CLS, SEP, MASK, FIRST_WORD = 0, 1, 2, 3, 4, 5  # ids of the tiny vocabulary


def normal(name: str, shape, scale: float) -> np.ndarray:
    """float32 N(0, scale^2) array that depends on its name and shape alone."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    return generator.standard_normal(shape, dtype=np.float32) * np.float32(scale)


def umt_state_dict(
    image_size,
    patch,
    width,
    layers,
    heads,
    embed_dim,
    text_width,
    text_layers,
    text_heads,
    fusion_layer,
    vocab_size,
    positions,
    clip_decoders,
    clip_width,
):
    """The arrays of a pre-training checkpoint (a UMT with masked-language-model head)."""
    weights = {}

    def draw(name, shape, scale, offset=0.0):
        weights[name] = np.float32(offset) + normal(name, shape, scale)

    def layer_norm(name, size):
        draw(f"{name}.weight", (size,), 0.1, offset=1.0)
        draw(f"{name}.bias", (size,), 0.1)

    def linear(name, out, size, scale=None, bias=0.1):
        draw(f"{name}.weight", (out, size), size**-0.5 if scale is None else scale)
        draw(f"{name}.bias", (out,), bias)

    # Vision encoder. Position tables are computed, not stored.
    vision = "vision_encoder.encoder"
    draw(f"{vision}.patch_embed.proj.weight", (width, 3, 1, patch, patch), 0.04)
    draw(f"{vision}.patch_embed.proj.bias", (width,), 0.1)
    for i in range(layers):
        block = f"{vision}.blocks.{i}"
        small = width**-0.5 * (2 * layers) ** -0.5
        layer_norm(f"{block}.norm1", width)
        draw(f"{block}.attn.q_bias", (width,), 0.2)
        draw(f"{block}.attn.v_bias", (width,), 0.2)
        draw(f"{block}.attn.qkv.weight", (3 * width, width), 1.5 * width**-0.5)
        linear(f"{block}.attn.proj", width, width, small, 0.02)
        layer_norm(f"{block}.norm2", width)
        linear(f"{block}.mlp.fc1", 4 * width, width, bias=0.05)
        linear(f"{block}.mlp.fc2", width, 4 * width, small, 0.02)
    layer_norm(f"{vision}.norm", width)
    layer_norm("vision_encoder.pool_norm", width)
    for i in range(clip_decoders):  # of no use after pre-training
        linear(f"vision_encoder.clip_decoder.{i}.head", clip_width, width)
        layer_norm(f"vision_encoder.clip_decoder.{i}.norm", clip_width)
    draw("clip_teacher.conv1.weight", (width, 3, 1, patch, patch), 0.02)  # of no use either
    draw("clip_teacher.class_embedding", (width,), 0.1)

    # Text encoder: BERT, with cross-attention in the layers from `fusion_layer` on.
    bert = "text_encoder.bert"
    weights[f"{bert}.embeddings.position_ids"] = np.arange(positions, dtype=np.int64)[None]
    draw(f"{bert}.embeddings.word_embeddings.weight", (vocab_size, text_width), 0.3)
    draw(f"{bert}.embeddings.position_embeddings.weight", (positions, text_width), 0.1)
    draw(f"{bert}.embeddings.token_type_embeddings.weight", (2, text_width), 0.1)
    layer_norm(f"{bert}.embeddings.LayerNorm", text_width)
    for i in range(text_layers):
        layer = f"{bert}.encoder.layer.{i}"
        kinds = [("attention", text_width)]
        kinds += [("crossattention", width)] if i >= fusion_layer else []
        for kind, seen in kinds:
            linear(f"{layer}.{kind}.self.query", text_width, text_width)
            linear(f"{layer}.{kind}.self.key", text_width, seen)
            linear(f"{layer}.{kind}.self.value", text_width, seen)
            linear(f"{layer}.{kind}.output.dense", text_width, text_width, bias=0.02)
            layer_norm(f"{layer}.{kind}.output.LayerNorm", text_width)
        linear(f"{layer}.intermediate.dense", 4 * text_width, text_width, bias=0.05)
        linear(f"{layer}.output.dense", text_width, 4 * text_width, text_width**-0.5, 0.02)
        layer_norm(f"{layer}.output.LayerNorm", text_width)
    head = "text_encoder.cls.predictions"
    linear(f"{head}.transform.dense", text_width, text_width)
    layer_norm(f"{head}.transform.LayerNorm", text_width)
    draw(f"{head}.bias", (vocab_size,), 0.1)
    weights[f"{head}.decoder.weight"] = weights[f"{bert}.embeddings.word_embeddings.weight"]
    weights[f"{head}.decoder.bias"] = weights[f"{head}.bias"]

    linear("vision_proj", embed_dim, width)
    linear("text_proj", embed_dim, text_width)
    linear("itm_head", 2, text_width)
    weights["temp"] = np.asarray(0.07, np.float32)
    return weights


def clip_positions(arch, num_frames, merge):
    """TempMe's learned positions, named as for CLIP: [1, clips in, 1, d] for every joining block.

    merge: (0-based block, clips merged into one) for every block that joins clips.
    """
    weights, clips = {}, num_frames
    for i, group in merge:
        name = f"vision_encoder.encoder.blocks.{i}.TVPt_Video_Positional_embedding"
        weights[name] = normal(name, (1, clips, 1, arch["width"]), 0.1)
        clips //= group
    return weights


def video(tag, batch, num_frames, image_size=64):
    """float32 [batch, frames, 3, H, W], already normalised; neighbouring frames are alike."""
    frames = normal(f"video.{tag}", (batch, num_frames, 3, image_size, image_size), 1.0)
    for f in range(1, num_frames):
        frames[:, f] = 0.8 * frames[:, f - 1] + 0.6 * frames[:, f]
    return frames


def texts(batch, length, vocab_size=100, seed=7):
    """int64 [batch, length] ids and mask: CLS, at least two words, padding. There is no SEP."""
    generator = np.random.Generator(np.random.PCG64(seed))
    ids, mask = np.zeros((2, batch, length), np.int64)
    for i in range(batch):
        words = int(generator.integers(2, length))
        ids[i, 0] = CLS
        ids[i, 1 : 1 + words] = generator.integers(FIRST_WORD, vocab_size, words)
        mask[i, : 1 + words] = 1
    return ids, mask


def answers(count, length=5, vocab_size=100, seed=11):
    """int64 [count, length] ids and mask: CLS, 1 to 3 words, SEP, padding.

    Answer 1 begins with the word that answer 0 begins with.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    ids, mask = np.zeros((2, count, length), np.int64)
    for i in range(count):
        words = int(generator.integers(1, length - 1))
        ids[i, 0] = CLS
        ids[i, 1 : 1 + words] = generator.integers(FIRST_WORD, vocab_size, words)
        ids[i, 1 + words] = SEP
        mask[i, : 2 + words] = 1
    ids[1, 1] = ids[0, 1]
    return ids, mask


def strip_to_retrieval(weights):
    """The arrays of a checkpoint that was fine-tuned for retrieval, by those of pre-training."""
    useless = ("vision_encoder.clip_decoder.", "clip_teacher.", "text_encoder.cls.")
    return {
        name.replace("text_encoder.bert.", "text_encoder."): array
        for name, array in weights.items()
        if not name.startswith(useless)
    }


def turn_into_answers(weights, fusion_layer):
    """The arrays of a checkpoint that was fine-tuned for answers, as such training starts."""
    heads = ("vision_encoder.pool_norm.", "vision_proj.", "text_proj.", "itm_head.", "temp")
    found = {
        name: array
        for name, array in strip_to_retrieval(weights).items()
        if not name.startswith(heads)
    }
    for name, array in weights.items():
        decoder = name.replace("text_encoder.", "text_decoder.")
        layer = re.match(r"(text_decoder\.bert\.encoder\.layer\.)(\d+)(.*)", decoder)
        if layer is not None and int(layer[2]) >= fusion_layer:
            found[f"{layer[1]}{int(layer[2]) - fusion_layer}{layer[3]}"] = array
        elif layer is None and name.startswith("text_encoder."):
            found[decoder] = array
    return found


def make_architecture(sizes, **changes):
    """The architecture of weights of these sizes, with changes to it, such as the backbone."""
    fields = {
        "image_size": sizes["image_size"], "patch": sizes["patch"], "width": sizes["width"],
        "depth": sizes["layers"], "heads": sizes["heads"], "embed_dim": sizes["embed_dim"],
        "text_width": sizes["text_width"], "text_depth": sizes["text_layers"],
        "text_heads": sizes["text_heads"], "first_cross": sizes["fusion_layer"],
        "vocab_size": sizes["vocab_size"], "context_length": sizes["positions"],
        "tokenizer": "unknown",
    }  # fmt: skip
    return dataclasses.replace(ARCHITECTURES["UMT-B/16"], **fields | changes)
