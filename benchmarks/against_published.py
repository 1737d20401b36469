"""Compare the speed of tempme_jax with the published PyTorch code of TempMe, side by side.

    git clone https://github.com/LunarShen/TempMe
    python benchmarks/against_published.py TempMe --weights ViT-B-32.pt

WEIGHTS is OpenAI's file of the backbone, which the published code opens; the speed does not depend
on the numbers in it, so ours are drawn. Both run on the CPU, in float32, in one process and in
turns: a pair of calls each, and the median of the ratios counts. It needs PyTorch and what else the
checkout imports.

What is called of it: `tvr.models.modeling.VTRModel(args)`, with the arguments that its main.py
reads from the command line; `model.stage1_eval(ids, mask, video, video_mask)` to encode;
and for --train `model(ids, mask, video, video_mask, idx, step)` for the loss, its own AdamW, and
clipping of the gradients' norm to 1, as main.py does. The part of a video and of a text are timed
together, since `stage1_eval` computes both.

This script is written from the published main.py. It has not been run as it stands here: the
checkout needs weights that are not part of this project. Its own parts are tested.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# How the published scripts call main.py for a backbone and a number of frames; see its README.
SETTINGS = {
    ("ViT-B/32", 12): {"tome_r": 2, "merge_frame_num": "2-2-3", "merge_token_proportion": "30-10"},
    ("ViT-B/16", 12): {"tome_r": 10, "merge_frame_num": "2-2-3", "merge_token_proportion": "40-20"},
    ("ViT-B/32", 64): {"tome_r": 2, "merge_frame_num": "4-4-4", "merge_token_proportion": "30-10"},
}
WORDS = {12: 32, 64: 64}
SIZE = 224


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; a mistake ends the program with a line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkout", type=Path, help="the folder of the published code")
    parser.add_argument("--weights", type=Path, required=True, help="OpenAI's .pt file of CLIP")
    parser.add_argument("--backbone", default="ViT-B/32", choices=["ViT-B/32", "ViT-B/16"])
    parser.add_argument("--frames", type=int, default=12, choices=[12, 64])
    parser.add_argument("--batch", type=int, default=1, help="videos in a call")
    parser.add_argument("--pairs", type=int, default=15, help="number of pairs of calls")
    parser.add_argument("--threads", type=int, help="threads of PyTorch; its own choice by default")
    parser.add_argument("--train", action="store_true", help="compare training steps instead")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(words)
    if not (given.checkout / "tvr" / "models" / "modeling.py").is_file():
        parser.error(
            f"{given.checkout} is no checkout of the published code: it has no "
            "tvr/models/modeling.py; clone https://github.com/LunarShen/TempMe"
        )
    if not given.weights.is_file():
        parser.error(f"{given.weights} is not a file; --weights names OpenAI's .pt file of CLIP")
    if (given.backbone, given.frames) not in SETTINGS:
        parser.error(f"{given.backbone} with {given.frames} frames has no published settings")
    if min(given.batch, given.pairs) < 1:
        parser.error("--batch and --pairs must be 1 or more")
    if given.train and given.batch < 2:
        parser.error("--train needs --batch of 2 or more; the loss compares the pairs of a batch")
    return given


def make_published_arguments(given: argparse.Namespace) -> argparse.Namespace:
    """Return what main.py of the published code would read from its command line."""
    fixed = {
        "datatype": "msrvtt", "seed": 42, "device": "cpu", "world_size": 1, "local_rank": 0,
        "distributed": 0, "init_model": None, "lora_dim": 8, "tome_tracesource": False,
        "tome_propattn": True, "merge_layer": "8-9-10", "frame_pos": 1, "clip_lr": 6e-4,
        "weight_decay": 0.2, "warmup_proportion": 0.1, "video_framerate": 1,
    }  # fmt: skip
    chosen = {
        "base_encoder": given.backbone,
        "pretrained_path": str(given.weights),
        "max_frames": given.frames,
        "max_words": WORDS[given.frames],
        "batch_size": given.batch,
        "batch_size_val": given.batch,
    }
    return argparse.Namespace(**fixed, **chosen, **SETTINGS[given.backbone, given.frames])


def prepare_published(given: argparse.Namespace) -> Callable[[], Any]:
    """Return a function that encodes a batch, or makes a training step, with the published code."""
    sys.path.insert(0, str(given.checkout.resolve()))
    import torch
    from tvr.models.modeling import VTRModel  # pyright: ignore[reportMissingImports]

    if given.threads:
        torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    arguments = make_published_arguments(given)
    model = VTRModel(arguments).to("cpu").float()
    shape = (given.batch, given.frames)
    ids = torch.zeros((given.batch, arguments.max_words), dtype=torch.long)
    ids[:, 0], ids[:, 1:9], ids[:, 9] = 49406, 320, 49407
    mask = (ids > 0).long()
    video, video_mask = torch.randn(*shape, 3, SIZE, SIZE), torch.ones(shape, dtype=torch.long)
    if not given.train:
        model.eval()

        def encode() -> Any:
            with torch.no_grad():
                return model.stage1_eval(ids, mask, video, video_mask)

        return encode
    return prepare_published_step(model, arguments, (ids, mask, video, video_mask))


def prepare_published_step(model: Any, arguments: argparse.Namespace, batch: tuple) -> Callable:
    """Return a function that makes a training step as main.py does, without its anomaly checks."""
    import torch
    from tvr.models.optimization_adamw import AdamW  # pyright: ignore[reportMissingImports]

    for name, parameter in model.named_parameters():
        parameter.requires_grad_("TVPt" in name)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [{"params": trained, "lr": arguments.clip_lr}]
    optimizer = AdamW(groups, weight_decay=arguments.weight_decay)
    places = torch.arange(arguments.batch_size)
    model.train()

    def step() -> Any:
        loss = model(*batch, places, 1)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step


def prepare_ours(given: argparse.Namespace) -> Callable[[], Any]:
    """Return a function that does the same with tempme_jax."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from tempme_jax.bench import device
    from tempme_jax.building import create
    from tempme_jax.encoding import encode_pixels, encode_tokens

    model = create(given.backbone, method="tempme", num_frames=given.frames)
    if given.train:
        call = device.prepare_training(model, given.batch)[1]
        return lambda: jax.block_until_ready(call())
    network, params = model.folded
    pixels, frame_mask = map(jnp.asarray, device.draw_pixels(model, given.batch))
    ids = np.zeros((given.batch, WORDS[given.frames]), np.int32)
    ids[:, 0], ids[:, 1:9], ids[:, 9] = 49406, 320, 49407
    words = jnp.asarray(ids), jnp.asarray(ids > 0)

    def encode() -> Any:
        video = encode_pixels(network, params, pixels, frame_mask)
        return jax.block_until_ready((video, encode_tokens(network, params, *words)))

    return encode


def compare(
    ours: Callable[[], Any], theirs: Callable[[], Any], pairs: int
) -> dict[str, float | int]:
    """Call both in turns, and return the median seconds of each and of their ratio.

    The first pair, which compiles, does not count. Who comes first alternates.
    """
    taken: dict[str, list[float]] = {"ours": [], "theirs": []}
    for turn in range(pairs + 1):
        order = [("ours", ours), ("theirs", theirs)]
        for name, call in order if turn % 2 else reversed(order):
            started = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - started)
    counted = {name: values[1:] for name, values in taken.items()}
    ratios = [b / a for a, b in zip(counted["ours"], counted["theirs"], strict=True)]
    return {
        "our_seconds": statistics.median(counted["ours"]),
        "published_seconds": statistics.median(counted["theirs"]),
        "ratio": statistics.median(ratios),
        "pairs": pairs,
    }


def main(words: list[str] | None = None) -> None:
    """Compare, and print the figures."""
    given = parse_arguments(words)
    found = compare(prepare_ours(given), prepare_published(given), given.pairs)
    if given.json:
        print(json.dumps(found, indent=1))
        return
    what = "A training step" if given.train else "Encoding"
    print(
        f"{what}, {given.backbone}, {given.frames} frames, batch {given.batch}: tempme_jax "
        f"{found['our_seconds']:.3f} s, published code {found['published_seconds']:.3f} s; "
        f"tempme_jax is {found['ratio']:.2f} times as fast (median of {found['pairs']} pairs)"
    )


if __name__ == "__main__":
    main()
