"""Tokenizers that lie with the weights: the ids that transformers makes by the same file."""

import base64
import json
import zlib

import numpy as np
import pytest
from siglip_files import TOKENIZER_CONFIG, make_tokenizer_json

from tempme_jax.text.base import VocabularyError
from tempme_jax.text.from_json import hash_vocabulary, name_tokenizer, pack
from tempme_jax.text.tokenizers import make_tokenizer
from tempme_jax.text.warning import TextCutWarning

TEXTS = ("A red CAT.", "", "Щи, é  ΑΣ", "<eos> red", "x" * 30)
GEMMA = pack(make_tokenizer_json())


def make_unigram():
    """Return a tokenizer.json of SigLIP's kind."""
    pieces = ["<pad>", "</s>", "<unk>", "▁", *"acdert", "▁red", "▁cat", "s"]
    space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    return {
        "version": "1.0", "added_tokens": [], "pre_tokenizer": space, "decoder": space,
        "model": {"type": "Unigram", "unk_id": 2, "byte_fallback": False,
                  "vocab": [[piece, -float(i)] for i, piece in enumerate(pieces)]},
    }  # fmt: skip


def encode(name="gemma", vocabulary=GEMMA, texts=TEXTS, vocab_size=64):
    return make_tokenizer(name, 12, 12, vocab_size, vocabulary)(list(texts))


def test_texts_are_lowered_ended_and_filled_up():
    ids, mask = encode(texts=TEXTS[:4])
    assert ids.tolist() == [
        [5, 39, 42, 34, 1, 0, 0, 0, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [32, 33, 35, 4, 31, 4, 4, 3, 1, 0, 0, 0],
        [1, 39, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ]
    assert mask.sum(axis=1).tolist() == [5, 1, 9, 3]
    tokenizer = make_tokenizer("gemma", 12, 12, 64, GEMMA)
    assert tokenizer.decode(ids[0]) == "a red cat."
    with pytest.warns(TextCutWarning, match="1 of 1 texts"):
        assert encode(texts=TEXTS[4:])[0][0, -2:].tolist() == [28, 1]


@pytest.mark.torch
def test_as_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    (tmp_path / "tokenizer.json").write_text(json.dumps(make_tokenizer_json()))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG))
    theirs = transformers.Siglip2Tokenizer.from_pretrained(tmp_path)
    given = dict(padding="max_length", max_length=12, truncation=True)
    with pytest.warns(TextCutWarning):
        ids, _ = encode()
    np.testing.assert_array_equal(ids, theirs(list(TEXTS), **given).input_ids)


def test_siglips_texts_lose_their_punctuation():
    content = make_unigram()
    assert name_tokenizer(content) == "siglip"
    ids, mask = encode("siglip", pack(content), ["  A Red,\n CATS!"])
    assert ids.tolist() == [[3, 4, 10, 11, 12, 1, 1, 1, 1, 1, 1, 1]]
    assert mask.sum() == 6


@pytest.mark.parametrize(
    ("vocabulary", "vocab_size", "problem"),
    [
        ("", 64, "has no tokenizer"),
        ("no base64", 64, "cannot be used"),
        (pack({"model": 3}), 64, "cannot be used"),
        (GEMMA, 20, "20 ids"),
        (GEMMA, 256_000, "do not belong together"),
    ],
)
def test_what_cannot_be_used_is_told(vocabulary, vocab_size, problem):
    with pytest.raises(VocabularyError, match=problem):
        encode(vocabulary=vocabulary, vocab_size=vocab_size)


def test_the_hash_does_not_depend_on_how_it_is_packed():
    content = zlib.decompress(base64.b64decode(GEMMA))
    other = base64.b64encode(zlib.compress(content, 1)).decode()
    assert other != GEMMA and hash_vocabulary(other) == hash_vocabulary(GEMMA)


def test_a_tokenizer_of_another_kind_is_refused():
    with pytest.raises(VocabularyError, match="has no </s>"):
        encode("siglip")


def test_a_token_above_the_models_ids_is_named():
    content = make_tokenizer_json()
    most = len(content["model"]["vocab"])
    content["added_tokens"].append(content["added_tokens"][0] | {"id": most, "content": "<image>"})
    with pytest.raises(ValueError, match=f"'<image>', whose id {most}"):
        encode(vocabulary=pack(content), texts=["red <image>"], vocab_size=most)
