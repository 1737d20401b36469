"""Models of UMT open from public files, embed, and open again from what they saved."""

import jax
import numpy as np
import pytest
import safetensors.numpy
import umt_weights
from umt_weights import TINY_UMT_QA

from tempme_jax.loading import load
from tempme_jax.weights.errors import WeightsError

# Two widths of 64, where one head is as wide as in every public file, and all of BERT's words.
SIZES = TINY_UMT_QA | {"heads": 1, "text_heads": 1, "vocab_size": 30522, "image_size": 224}


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "b16.safetensors"
    arrays = umt_weights.umt_state_dict(**SIZES)
    safetensors.numpy.save_file(arrays, file)
    return file


def assert_same_trees(tree, other):
    assert jax.tree.structure(tree) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


def test_a_model_opens_and_is_saved(pretrained, tmp_path):
    model = load(pretrained, method="full+joined", num_frames=2)
    assert (model.arch.backbone, model.arch.tokenizer) == ("umt", "bert")
    texts = model.embed_text(["A dog runs.", "a dog runs", "two cats"])
    np.testing.assert_array_equal(texts[0], texts[1])
    assert not np.allclose(texts[0], texts[2])
    model.save(tmp_path / "ours.safetensors")
    again = load(tmp_path / "ours.safetensors")
    assert (again.method, again.num_frames, again.arch) == ("full+joined", 2, model.arch)
    assert_same_trees(again.params, model.params)
    model.save(tmp_path / "theirs.safetensors", layout="umt_retrieval", backbone=True)
    plain = load(tmp_path / "theirs.safetensors", method="full", num_frames=2)
    assert_same_trees(plain.params, model.params)


def test_a_model_for_answers_opens_from_pretraining(pretrained, tmp_path):
    model = load(pretrained, method="full", num_frames=2, backbone="umt-qa")
    assert model.arch.backbone == "umt-qa" and model.arch.tokenizer == "bert"
    assert model.params.keys() == {"video", "text", "answer"}
    with pytest.raises(ValueError, match="'umt-qa' makes no vectors of videos"):
        model.embed_video(np.zeros((1, 2, 224, 224, 3), np.uint8))
    with pytest.raises(ValueError, match="'umt-qa' answers questions and makes no vectors of text"):
        model.embed_text("a cat")
    model.save(tmp_path / "ours.safetensors")
    assert_same_trees(load(tmp_path / "ours.safetensors").params, model.params)
    model.save(tmp_path / "theirs.safetensors", layout="umt_qa")
    assert_same_trees(load(tmp_path / "theirs.safetensors", method="full").params, model.params)


def test_an_unknown_backbone_is_refused(pretrained):
    with pytest.raises(ValueError, match="unknown backbone: 'umt_qa'.*did you mean 'umt-qa'"):
        load(pretrained, backbone="umt_qa")
    with pytest.raises(WeightsError, match="these are weights of UMT, not of CLIP"):
        load(pretrained, backbone="clip")
    with pytest.raises(WeightsError, match="these are weights of CLIP, not of UMT"):
        load("tiny-clip", backbone="umt")
