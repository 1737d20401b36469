"""A SigLIP in ONNX: its vectors, also where clips without class tokens join, and its tokenizer."""

import numpy as np
import pytest
from siglip_files import write_siglip

import tempme_jax

pytest.importorskip("onnxruntime")


@pytest.mark.slow
def test_an_exported_siglip_embeds_as_the_model(tmp_path):
    from tempme_jax.export.saving import export_onnx

    options = {"r": 1, "layers": (0, 1), "groups": (2, 2)}
    folder = write_siglip(tmp_path)
    model = tempme_jax.load(folder, method="tempme", num_frames=4, method_options=options)
    export_onnx(model, tmp_path / "out.onnx")
    opened = tempme_jax.load(tmp_path / "out.onnx")
    texts = ["A red cat", "щи"]
    np.testing.assert_allclose(opened.embed_text(texts), model.embed_text(texts), atol=1e-5)
    frames = np.random.default_rng(0).integers(0, 256, (2, 4, 40, 60, 3), np.uint8)
    np.testing.assert_allclose(opened.embed_video(frames), model.embed_video(frames), atol=1e-5)
