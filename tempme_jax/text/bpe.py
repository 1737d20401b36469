"""The tokenizer that turns text into the ids that CLIP's text tower was trained on.

This is the lower-cased byte-pair encoding of Radford et al., "Learning Transferable Visual Models
From Natural Language Supervision" (2021), with its published vocabulary. One thing differs from the
published tokenizer: a typed `<|endoftext|>` is ordinary text, so no caption can end itself early.
"""

import functools
import gzip
import hashlib
import html
import warnings
from collections.abc import Iterable, Sequence
from importlib import resources
from importlib.resources.abc import Traversable

import ftfy
import numpy as np
import tokenizers
from jaxtyping import Bool, Int32
from tokenizers import decoders, models, pre_tokenizers

START = "<|startoftext|>"
END = "<|endoftext|>"
PAD_ID = 0

_PACKAGED = resources.files("tempme_jax.text") / "vocabulary" / "bpe_simple_vocab_16e6.txt.gz"
_SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
# The file lists more merges than CLIP uses: 49,408 ids are 2 * 256 bytes, merges, START and END.
VOCAB_SIZE = 49_408
SMALLEST_VOCAB = 2 * 256 + 2
_WORD_END = "</w>"
# U+0345 is a mark whose upper case is a letter. CLIP's pattern ignores case and so drops U+0345.
_WORD = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}\x{345}]+"
_SHOWN_CHARACTERS = 200


class TextCutWarning(UserWarning):
    """Some texts were longer than `max_words` and lost their end."""


class VocabularyError(ValueError):
    """A vocabulary file is damaged."""


class Tokenizer:
    """CLIP's tokenizer.

    Args:
        max_words: length of a row of ids, with the start and the end token; longer texts are cut.
        context_length: number of positions of the text tower (77 for every published CLIP).
        vocab_size: number of ids. A smaller vocabulary, for small models, has the first merges of
            OpenAI's only, so rare words are spelt in more pieces.

    Raises:
        ValueError: if `max_words` is below 3 or above `context_length`, or the vocabulary has no
            room for all bytes.
        VocabularyError: if the packaged vocabulary is damaged.

    >>> ids, mask = Tokenizer(max_words=7)("a cat jumps")
    >>> ids.tolist(), int(mask.sum())
    ([[49406, 320, 2368, 18911, 49407, 0, 0]], 5)
    """

    def __init__(
        self, max_words: int = 32, context_length: int = 77, *, vocab_size: int = VOCAB_SIZE
    ):
        if not 3 <= max_words <= context_length:
            raise ValueError(
                f"max_words={max_words} must lie between 3 (start, one token, end) and "
                f"context_length={context_length}, the positions of the text tower."
            )
        self.max_words = max_words
        self.context_length = context_length
        if vocab_size < SMALLEST_VOCAB:
            raise ValueError(
                f"vocab_size={vocab_size} has no room for all bytes, the start and the end: these "
                f"alone are {SMALLEST_VOCAB} ids"
            )
        self._bpe = load_packaged_bpe(min(vocab_size, VOCAB_SIZE))
        self.start_id = self._bpe.token_to_id(START)
        self.end_id = self._bpe.token_to_id(END)

    def __call__(
        self, texts: str | Sequence[str]
    ) -> tuple[Int32[np.ndarray, "b n"], Bool[np.ndarray, "b n"]]:
        """Encode one text or a list of texts.

        Texts that do not fit are cut, with one `TextCutWarning` for the whole call.

        Returns:
            ids: int32 [b, max_words]; a row is start, tokens, end, then 0.
            mask: bool [b, max_words], True from the start token to the end token.

        Raises:
            TypeError: if `texts` is, or holds, something other than `str`.
        """
        texts = [clean(text) for text in _list_texts(texts)]
        # encode_batch would start threads, which do not survive a fork of the process.
        words = [self._bpe.encode(text, add_special_tokens=False).ids for text in texts]
        room = self.max_words - 2
        ids = np.full((len(texts), self.max_words), PAD_ID, np.int32)
        mask = np.zeros(ids.shape, bool)
        for row, text_ids in enumerate(words):
            kept = [self.start_id, *text_ids[:room], self.end_id]
            ids[row, : len(kept)] = kept
            mask[row, : len(kept)] = True
        cut = [text for text, text_ids in zip(texts, words, strict=True) if len(text_ids) > room]
        if cut:
            warnings.warn(self._describe_cut(cut, len(texts)), TextCutWarning, stacklevel=2)
        return ids, mask

    def decode(self, ids: Sequence[int] | Int32[np.ndarray, " n"]) -> str:
        """Return the text of one row of ids, in lower case, with one space between words.

        The start token, the end token and everything behind the end token are left out.

        Raises:
            ValueError: if `ids` is not one row of whole numbers, or one is not in the vocabulary.
        """
        row = np.asarray(ids)
        if row.ndim != 1 or (row.size and not np.issubdtype(row.dtype, np.integer)):
            raise ValueError(
                f"decode takes one row of whole numbers, not shape {row.shape} of {row.dtype}; "
                "for a batch, call it once for each row."
            )
        size = self._bpe.get_vocab_size()
        outside = row[(row < 0) | (row >= size)]
        if outside.size:
            raise ValueError(f"Token id {outside[0]} is not in the vocabulary: 0 to {size - 1}.")
        words = row.tolist()
        if self.end_id in words:
            words = words[: words.index(self.end_id)]
        return self._bpe.decode([word for word in words if word != self.start_id]).strip()

    def _describe_cut(self, cut: list[str], total: int) -> str:
        first = cut[0]
        encoding = self._bpe.encode(first, add_special_tokens=False)
        position = encoding.offsets[self.max_words - 2][0]
        lost = first[position:].strip()
        if len(lost) > _SHOWN_CHARACTERS:
            lost = lost[:_SHOWN_CHARACTERS] + "..."
        advice = f"Raise max_words (now {self.max_words}, at most {self.context_length})"
        if self.max_words == self.context_length:
            advice = f"max_words={self.max_words} is all the text tower can read: shorten the texts"
        return (
            f"{len(cut)} of {total} texts did not fit and were cut. The first: kept "
            f"{first[:position].strip()!r}, cut off {lost!r}. {advice}."
        )


def clean(text: str) -> str:
    """Repair wrongly decoded text, resolve HTML entities, join white space, lower the case.

    >>> clean("Fish &amp; \\n CHIPS")
    'fish & chips'
    """
    # Twice, because captions taken from web pages are often escaped twice (&amp;amp;).
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()


def read_packaged(
    path: Traversable = _PACKAGED, vocab_size: int = VOCAB_SIZE
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Read OpenAI's vocabulary file, or its first ids, as `(token -> id, merges in order)`.

    Raises:
        VocabularyError: if the file is not, byte for byte, the published one.
    """
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != _SHA256:
        raise VocabularyError(
            f"{path} is damaged: its sha256 is {found}, it must be {_SHA256}. "
            "Install tempme-jax again."
        )
    # The first line names the version of the format.
    lines = gzip.decompress(data).decode("utf-8").split("\n")[1:]
    pairs = (line.split() for line in lines[: vocab_size - SMALLEST_VOCAB])
    merges = [(left, right) for left, right in pairs]
    tokens = [*_list_byte_tokens(), *(left + right for left, right in merges), START, END]
    return {token: number for number, token in enumerate(tokens)}, merges


@functools.cache
def load_packaged_bpe(vocab_size: int = VOCAB_SIZE) -> tokenizers.Tokenizer:
    """Return the encoder of cleaned text by the packaged vocabulary, built once a process."""
    vocabulary, merges = read_packaged(vocab_size=vocab_size)
    bpe = tokenizers.Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix=_WORD_END)
    )
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(_WORD), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace(_WORD_END, " ")])
    return bpe


def _list_byte_tokens() -> list[str]:
    # By code point, the printable bytes come first: the order in which CLIP numbers them.
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    return [*letters, *(letter + _WORD_END for letter in letters)]


def _list_texts(texts: str | Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        return [texts]
    if isinstance(texts, bytes) or not isinstance(texts, Iterable):
        raise TypeError(f"texts must be a str or a sequence of str, not {_describe(texts)}.")
    texts = list(texts)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"texts[{number}] must be a str, not {_describe(text)}.")
    return texts


def _describe(value: object) -> str:
    return f"{type(value).__name__} {value!r:.80}"
