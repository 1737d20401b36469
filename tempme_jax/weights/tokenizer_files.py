"""Read the files of a tokenizer that transformers writes: each must make the ids that CLIP's does.

Vocabulary and merges are compared whole. How a tokenizer.json treats a text before and after them
can be written in many ways, so its ids of a few texts are compared.
"""

import functools
import json
import pathlib
from typing import Any

import tokenizers

from tempme_jax.text.bpe import END, START, VOCAB_SIZE, Tokenizer, read_packaged
from tempme_jax.weights.errors import WeightsError
from tempme_jax.weights.sections import Description, Section
from tempme_jax.weights.transformers_files import TOKENIZER_CLASSES

# By their ids. Files of CLIP name "!" or the end of a text as the token that fills rows up.
SPECIAL = {START: VOCAB_SIZE - 2, END: VOCAB_SIZE - 1, "!": 0}
# Fields of tokenizer_config.json that change no id of a text before its end. Where texts are cut is
# `max_words` here, and what fills rows up is not seen.
HARMLESS = {
    "_commit_hash", "backend", "cache_dir", "chat_template", "clean_up_tokenization_spaces",
    "errors", "init_inputs", "is_local", "legacy", "local_files_only", "max_length",
    "model_input_names", "model_max_length", "name_or_path", "pad_to_multiple_of", "padding",
    "processor_class", "return_tensors", "return_token_type_ids", "revision",
    "special_tokens_map_file", "stride", "tokenizer_file", "transformers_version", "truncation",
    "truncation_strategy", "use_fast", "verbose",
}  # fmt: skip
# Special tokens that are never seen, or that no text of CLIP has.
UNSEEN = ("pad_token", "unk_token")
NOT_CLIPS = ("cls_token", "sep_token", "mask_token")
# Fields of tokenizer.json, and of its model, whose effect on ids is tried out.
TRIED = {"normalizer", "pre_tokenizer", "post_processor"}
TRIED_OF_MODEL = {
    "unk_token", "fuse_unk", "byte_fallback", "continuing_subword_prefix", "end_of_word_suffix",
}  # fmt: skip
# What a tokenizer.json may leave out, as transformers writes it for CLIP.
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
PARTS: dict[str, Any] = {
    "normalizer": {
        "type": "Sequence",
        "normalizers": [
            {"type": "NFC"},
            {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
            {"type": "Lowercase"},
        ],
    },
    "pre_tokenizer": {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Removed", "invert": True},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
        ],
    },
    "post_processor": {
        "type": "RobertaProcessing",
        "sep": [END, VOCAB_SIZE - 1],
        "cls": [START, VOCAB_SIZE - 2],
        "trim_offsets": False,
        "add_prefix_space": False,
    },
}
MODEL = {"type": "BPE", "continuing_subword_prefix": "", "end_of_word_suffix": "</w>"}
PROBES = (
    "a photo of two cats",
    "A Man's DOG isn't  here,\n we'll see: it's 1,234.5 kg (or so)... they've #won @home",
    "Crème brûlée in ZÜRICH cafe\u0301; ЩИ да каша, 東京タワー 2024年 😀 <b>x_y</b> a-b",
)


def read_tokenizer_config(content: dict[str, Any], found: Description, file: str) -> None:
    """Note a problem if a tokenizer_config.json is not that of CLIP's tokenizer."""
    section = Section(f"{file}:", content, found)
    section.require("tokenizer_class", *TOKENIZER_CLASSES)
    section.require("auto_map")
    for name in ("do_lower_case", "add_bos_token", "add_eos_token"):
        section.require(name, True)
    for name in ("padding_side", "truncation_side"):
        section.require(name, "right")
    require_special_tokens(section)
    added = section.get("added_tokens_decoder", dict[str, dict[str, Any]], {})
    for number, token in added.items():
        check_added(section, "added_tokens_decoder", number, token.get("content"))
    section.refuse_others(HARMLESS)


def read_special_tokens(content: dict[str, Any], found: Description, file: str) -> None:
    """Note a problem if a special_tokens_map.json names other special tokens than CLIP's."""
    section = Section(f"{file}:", content, found)
    require_special_tokens(section)
    section.refuse_others(())


def require_special_tokens(section: Section) -> None:
    """Refuse special tokens that are not CLIP's, but for those that are never seen."""
    content, found = section.fields, section.description
    section.read |= {"bos_token", "eos_token", *UNSEEN}
    for name, own in (("bos_token", START), ("eos_token", END)):
        if name in content and get_text(content[name]) != own:
            found.refuse(section.join(name), content[name], repr(own))
    for name in NOT_CLIPS:
        section.require(name, *SPECIAL)
    for name in ("additional_special_tokens", "extra_special_tokens"):
        more = section.get(name, list[Any] | dict[str, Any], ())
        for token in more.values() if isinstance(more, dict) else more:
            if get_text(token) not in SPECIAL:
                found.refuse(section.join(name), token, "CLIP's tokens")


def read_added_tokens(content: dict[str, Any], found: Description, file: str) -> None:
    """Note a problem if an added_tokens.json adds tokens that CLIP does not have."""
    section = Section(f"{file}:", content, found)
    for token, number in content.items():
        check_added(section, repr(token), number, token)


def check_added(section: Section, field: str, number: Any, token: Any) -> None:
    """Refuse a token that is added to the vocabulary, unless it is one of CLIP's special ones."""
    if not isinstance(token, str) or str(number) != str(SPECIAL.get(token)):
        section.description.refuse(section.join(field), {str(token): number}, "CLIP's tokens")


def get_text(token: Any) -> str | None:
    """Return the text of a special token, which is written alone or with its switches; or None."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None


def read_vocabulary(content: Any, found: Description, file: str) -> None:
    """Note a problem if a vocabulary, token -> id, is not CLIP's."""
    special = {START: VOCAB_SIZE - 2, END: VOCAB_SIZE - 1}  # some list them elsewhere
    if not isinstance(content, dict) or special | content != load_packaged()[0]:
        count = len(content) if isinstance(content, dict | list) else "unknown"
        found.problems.append(
            f"{file} has a vocabulary of {count} tokens that is not CLIP's {VOCAB_SIZE}"
        )


def read_merges_file(file: pathlib.Path) -> list[str]:
    """Return the merges in a merges.txt, without the line of its version.

    Raises:
        WeightsError: if it is not text.
    """
    try:
        lines = file.read_text("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise WeightsError(f"{file} is not UTF-8 text (at byte {error.start})") from error
    return [line for line in lines[lines[0].startswith("#") :] if line.strip()]


def read_merges(content: Any, found: Description, file: str) -> None:
    """Note a problem if a list of merges is not CLIP's.

    A merge is a pair, or both parts in one text. What follows CLIP's last one is never used.
    """
    own = load_packaged()[1]
    merges = content if isinstance(content, list) else []
    parts = (one.split() if isinstance(one, str) else one for one in merges[: len(own)])
    pairs = [tuple(one) if isinstance(one, list | tuple) else one for one in parts]
    if pairs != own:
        same = next((i for i, (a, b) in enumerate(zip(pairs, own, strict=False)) if a != b), None)
        where = f"merge {same + 1} is another" if same is not None else f"there are {len(merges)}"
        found.problems.append(f"{file} has merges that are not CLIP's {len(own)}: {where}")


def read_tokenizer(content: dict[str, Any], found: Description, file: str) -> None:
    """Note a problem if a tokenizer.json makes other ids than CLIP's tokenizer.

    Raises:
        ValueError: if a field has another type; it names the field.
    """
    before = len(found.problems)
    whole = Section(f"{file}:", content, found)
    model = Section(f"{file}: model", whole.get("model", dict), found)
    read_vocabulary(model.fields.get("vocab"), found, file)
    model.require("type", "BPE")
    model.require("dropout", 0)
    model.require("ignore_merges", False)
    if "merges" in model.fields:
        read_merges(model.fields["merges"], found, f"{file}: model.merges")
    for token in whole.get("added_tokens", list[dict[str, Any]], []):
        check_added(whole, "added_tokens", token.get("id"), token.get("content"))
    for name in ("truncation", "padding"):
        side = whole.enter(name)
        side.require("direction", "Right")
    whole.refuse_others({*TRIED, "version", "decoder"})
    model.refuse_others({*TRIED_OF_MODEL, "vocab", "merges"})
    if len(found.problems) == before:
        parts = {name: content.get(name, own) for name, own in PARTS.items()}
        compare_ids(parts | {"model": complete(model.fields)}, found, file)


def complete(model: Any) -> dict[str, Any]:
    """Return the model of a tokenizer.json with CLIP's vocabulary and merges."""
    vocabulary, merges = load_packaged()
    return MODEL | dict(model) | {"vocab": vocabulary, "merges": merges}


def compare_ids(content: dict[str, Any], found: Description, file: str) -> None:
    """Note a problem if a tokenizer with CLIP's vocabulary makes other ids of some texts."""
    parts = "its normalizer, pre_tokenizer, post_processor or model's suffixes differ"
    try:
        theirs = tokenizers.Tokenizer.from_str(json.dumps({"version": "1.0", **content}))
    except Exception as error:  # tokenizers raises nothing narrower
        raise WeightsError(f"{file} is not readable as a tokenizer: {error}") from error
    for text in PROBES:
        ids, own = theirs.encode(text).ids, encode(text)
        if ids != own:
            at = next((i for i, (a, b) in enumerate(zip(ids, own, strict=False)) if a != b),
                      min(len(ids), len(own)))  # fmt: skip
            found.problems.append(
                f"{file} makes other ids than CLIP's tokenizer of {text[:40]!r}"
                f" (from number {at + 1} on: {ids[at : at + 3]}, not {own[at : at + 3]}); {parts}"
            )
            return


def encode(text: str) -> list[int]:
    """Return CLIP's ids of a text, with the start and the end."""
    ids, mask = Tokenizer(max_words=77)(text)
    return ids[0][mask[0]].tolist()


@functools.cache
def load_packaged() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return CLIP's tokens and their ids, and its merges in order."""
    return read_packaged()
