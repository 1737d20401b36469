"""What open_clip computes with its published layouts, small, we compute from the files it saves.

The golden values are those of open_clip 3.3.0 with torch 2.13.0, in float32 on a CPU.
"""

import dataclasses
import json

import numpy as np
import pytest
import safetensors.numpy
from golden import TOLERANCE, load_golden
from random_weights import TOY

from tempme_jax.loading import load
from tempme_jax.networks.clip import Clip
from tempme_jax.parameters import find_shapes
from tempme_jax.weights.errors import WeightsError
from tempme_jax.weights.sizes import infer_architecture

# Name of a file of golden values: heads, width inside the MLPs, activation, resize, patches.
LAYOUTS = {
    "vit_l_14_laion2b": (2, 128, "gelu", "crop", 4),
    "vit_h_14_378_quickgelu": (2, 80, "quick_gelu", "squash", 9),
    "vit_g_14": (2, 96, "gelu", "crop", 4),  # int(22 * 4.3637)
    "vit_bigg_14": (2, 128, "gelu", "crop", 4),  # int(26 * 4.9231)
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_both_towers_are_open_clips(name, tmp_path):
    golden = load_golden(f"open_clip_{name}")
    config = str(golden.values["config_json"])
    (tmp_path / "open_clip_config.json").write_text(config)
    arrays = {name: np.array(array) for name, array in golden.weights.items()}
    safetensors.numpy.save_file(arrays, tmp_path / "open_clip_model.safetensors")
    model = load(tmp_path, method="clip", num_frames=1)
    arch = model.arch
    shown = arch.heads, arch.get_mlp_width("video"), arch.activation, arch.resize, arch.patches
    assert shown == LAYOUTS[name]
    mean = json.loads(config)["preprocess_cfg"].get("mean")
    assert mean is None or arch.mean == tuple(mean)
    for ours, theirs in (
        (model.embed_pixels(golden.draw_videos("pixels", 1)), golden.values["images"]),
        (model.embed_tokens(golden.values["ids"]), golden.values["texts"]),
    ):
        theirs = theirs / np.linalg.norm(theirs, axis=-1, keepdims=True)
        np.testing.assert_allclose(ours, theirs, atol=TOLERANCE)


def test_heads_of_wide_towers_that_no_config_describes():
    def infer(width, **about):
        arch = dataclasses.replace(TOY, width=width, depth=1)
        shapes = find_shapes(Clip(arch), 1)
        nothing = {path: np.broadcast_to(np.float32(0), shape) for path, shape in shapes.items()}
        return infer_architecture(nothing, **about)

    assert (infer(1280).heads, infer(1280, head_width=64).heads) == (16, 20)
    with pytest.raises(WeightsError, match="1792 wide, and no published one .* number of heads"):
        infer(1792)
    assert infer(1792, heads=16).heads == 16
