"""Files of a tokenizer beside the weights make CLIP's ids, or are refused by their name."""

import functools
import json
from typing import Any

import pytest
from random_weights import TOY, make_random_params, write_weights

from tempme_jax.networks.clip import Clip
from tempme_jax.text.bpe import END, START, read_packaged
from tempme_jax.weights.configs import read_configs
from tempme_jax.weights.errors import WeightsError
from tempme_jax.weights.files import load_weights
from tempme_jax.weights.sections import Description
from tempme_jax.weights.tokenizer_files import PARTS, read_tokenizer

VOCABULARY, MERGES = read_packaged()
PADDED = {"id": 0, "content": "!", "special": True}
NORMALIZERS = {
    "NFC": {"type": "NFC"},
    "Bert": {"type": "BertNormalizer", "lowercase": True, "strip_accents": True,
             "clean_text": True, "handle_chinese_chars": True},
}  # fmt: skip


def write_whole(**fields):
    """The content of a tokenizer.json as transformers writes it, with other fields."""
    model = {"type": "BPE", "dropout": None, "unk_token": END, "fuse_unk": False,
             "continuing_subword_prefix": "", "end_of_word_suffix": "</w>", "vocab": VOCABULARY,
             "merges": [" ".join(pair) for pair in MERGES]}  # fmt: skip
    ends = [{"id": 49406, "content": START}, {"id": 49407, "content": END}]
    model |= fields.pop("model", {})
    return {"version": "1.0", "model": model, "added_tokens": ends} | PARTS | fields


def write_token(text):
    return {"content": text, "lstrip": False, "normalized": True, "__type": "AddedToken"}


def check(whole):
    """Raise what is wrong with the content of a tokenizer.json."""
    found = Description()
    read_tokenizer(whole, found, "tokenizer.json")
    found.raise_problems()


@pytest.fixture
def read(tmp_path):
    """Read config files; raise what is wrong with them."""

    def read(name, content):
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_text(text, "utf-8")
        read_configs([tmp_path / name], "huggingface").raise_problems()

    return read


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"normalizer": NORMALIZERS["NFC"]}, "other ids than CLIP's tokenizer of \"A Man's"),
        ({"normalizer": None}, "its normalizer, pre_tokenizer, post_processor"),
        ({"normalizer": NORMALIZERS["Bert"]}, "other ids"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "other ids"),
        ({"post_processor": None}, r"from number 1 on: \[320, .*, not \[49406, "),
        (
            {"post_processor": PARTS["post_processor"] | {"sep": ["!", 0], "cls": ['"', 1]}},
            r"from number 1 on: \[1, ",
        ),
        ({"model": {"merges": MERGES[::-1]}}, "model.merges has merges that are not CLIP's 48894"),
        ({"model": {"merges": MERGES[:-1]}}, "there are 48893"),
        ({"model": {"type": "WordPiece"}}, "model.type='WordPiece'"),
        ({"model": {"dropout": 0.1}}, "model.dropout=0.1"),
        ({"model": {"end_of_word_suffix": ""}}, "other ids"),
        ({"added_tokens": [{"id": 5, "content": "cat"}]}, "added_tokens={'cat': 5}"),
        ({"added_tokens": [{"id": 49408, "content": END}]}, "added_tokens="),
        ({"model": None}, "vocabulary of unknown tokens"),
        ({"normalizer": {"type": "Mine"}}, "not readable as a tokenizer"),
    ],
)  # fmt: skip
def test_a_tokenizer_that_makes_other_ids_is_refused(fields, named):
    whole = fields if fields.get("model", 0) is None else write_whole(**fields)
    with pytest.raises(WeightsError, match=rf"tokenizer\.json.*{named}"):
        check(whole)


def test_other_ways_to_write_clips_tokenizer_are_taken():
    ends = [{"SpecialToken": {"id": token, "type_id": 0}} for token in (START, END)]
    around = [ends[0], {"Sequence": {"id": "A", "type_id": 0}}, ends[1]]
    special = {t: {"id": t, "ids": [VOCABULARY[t]], "tokens": [t]} for t in (START, END)}
    template = {"type": "TemplateProcessing", "single": around, "pair": around,
                "special_tokens": special}  # fmt: skip
    cut = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    added = [PADDED, {"id": 49407, "content": END}]
    pairs = {"merges": MERGES}
    check(write_whole(post_processor=template, truncation=cut, model=pairs, added_tokens=added))


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("tokenizer_config.json", {"bos_token": "[CLS]"}, r"bos_token='\[CLS\]'"),
        ("tokenizer_config.json", {"eos_token": {"content": "!"}}, "eos_token={'content': '!'}"),
        ("tokenizer_config.json", {"eos_token": None}, "eos_token=None"),
        ("tokenizer_config.json", {"add_bos_token": False}, "add_bos_token=False"),
        ("tokenizer_config.json", {"add_eos_token": False}, "add_eos_token=False"),
        ("tokenizer_config.json", {"padding_side": "left"}, "padding_side='left'"),
        ("tokenizer_config.json", {"additional_special_tokens": ["<a>"]}, "tokens='<a>'"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"3": {"content": "b"}}}, "{'b': '3'}"),
        ("tokenizer_config.json", {"cls_token": "[CLS]"}, r"cls_token='\[CLS\]'"),
        ("tokenizer_config.json", {"strip_accents": True}, "strip_accents=True, which"),
        ("special_tokens_map.json", {"eos_token": "!"}, "eos_token='!'"),
        ("special_tokens_map.json", {"boi_token": "!"}, "boi_token='!'"),
        ("tokenizer.json", {"model": {"vocab": VOCABULARY, "lower": 1}}, "model.lower=1"),
        ("tokenizer.json", {"truncation": {"direction": "Left"}}, "direction='Left'"),
        ("added_tokens.json", {"<foo>": 3}, "{'<foo>': 3}"),
        ("merges.txt", "#version: 0.2\na b\n", "merges that are not CLIP's"),
        ("merges.txt", "", "there are 0"),
        ("tokenizer_config.json", {"bos_token": 5}, "bos_token=5"),
        ("tokenizer_config.json", {"extra_special_tokens": 5}, "extra_special_tokens=5"),
        ("tokenizer_config.json", {"extra_special_tokens": [[5]]}, r"extra_special_tokens=\[5\]"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"3": {"content": [1]}}}, "added_to"),
        ("tokenizer.json", {"model": {"vocab": VOCABULARY, "merges": [5, [[]]]}}, "merge 1 is"),
        ("tokenizer.json", {"added_tokens": [{"id": 1}]}, "added_tokens="),
    ],
)
def test_other_special_tokens_and_merges_are_refused(name, content, named, read):
    with pytest.raises(WeightsError, match=f"{name}.*{named}"):
        read(name, content)


def test_merges_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "merges.txt").write_bytes(b"\xff\xfe#\0")
    with pytest.raises(WeightsError, match="merges.txt is not UTF-8"):
        read_configs([tmp_path / "merges.txt"], "huggingface")


@pytest.mark.parametrize(
    "config",
    [
        {"bos_token": write_token(START), "eos_token": write_token(END), "pad_token": END,
         "model_max_length": 77, "do_lower_case": True, "tokenizer_class": "CLIPTokenizer"},
        {"bos_token": START, "eos_token": END, "pad_token": "!", "unk_token": END,
         "additional_special_tokens": [], "add_prefix_space": False, "errors": "replace",
         "added_tokens_decoder": {"0": {"content": "!"}, "49406": {"content": START},
                                  "49407": {"content": END}}},
    ],
)  # fmt: skip
def test_the_files_of_published_models_are_taken(config, read):
    merges = "\n".join(map(" ".join, MERGES))
    read("tokenizer_config.json", config)
    read("special_tokens_map.json", {n: t for n, t in config.items() if n.endswith("_token")})
    read("added_tokens.json", {})
    for start, end in (("#version: 0.2\n", "\n"), ("#version\r\n", "\r\n"), ("", "\nmore merges")):
        read("merges.txt", start + merges + end)


@functools.cache
def build_with_transformers(pad):
    from transformers import CLIPTokenizer

    pairs: Any = MERGES  # which its annotation leaves out
    return CLIPTokenizer(vocab=VOCABULARY, merges=pairs, pad_token=pad)


@pytest.mark.parametrize("pad", [END, "!"])
def test_a_tokenizer_saved_by_transformers_is_taken(pad, tmp_path):
    build_with_transformers(pad).save_pretrained(tmp_path)
    assert (tmp_path / "tokenizer.json").exists()
    write_weights(tmp_path / "model.safetensors", make_random_params(Clip(TOY)), "openai")
    load_weights(tmp_path)
