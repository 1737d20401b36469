"""Text to the token ids that CLIP's text tower was trained on.

This is the lower-cased byte-pair encoding of Radford et al., "Learning Transferable Visual Models
From Natural Language Supervision" (2021), over the vocabulary published with it. One thing differs
from the published tokenizer: a typed `<|endoftext|>` is text like any other, so that no caption or
query can end itself early.
"""

import functools
import gzip
import hashlib
import html
import json
import os
import warnings
from collections.abc import Iterable, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

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
# U+0345 is a mark whose upper case is a letter. CLIP's pattern ignores case, so it takes U+0345 for
# neither and leaves it out.
_WORD = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}\x{345}]+"
_SHOWN_CHARACTERS = 200


class TextCutWarning(UserWarning):
    """Some of the texts were longer than `max_words` and lost their end."""


class VocabularyError(ValueError):
    """A vocabulary file is damaged or is not one of CLIP's kind."""


class Tokenizer:
    """CLIP's tokenizer: `Tokenizer()(["a cat jumps"])` gives `(ids, mask)`.

    Args:
        max_words: length of a row of ids, with the start and the end token; longer texts are cut.
        context_length: number of positions of the text tower (77 for every published CLIP).
        vocab_size: number of ids; fewer than OpenAI CLIP's are its first merges, so that rarer
            words are spelt in more pieces. For small models.
        bpe: an encoder made by `build_bpe`; None for the vocabulary of OpenAI CLIP.

    Raises:
        ValueError: `max_words` is below 3 or above `context_length`, or the vocabulary has no room
            for all bytes.
        VocabularyError: the packaged vocabulary is damaged.
    """

    def __init__(
        self,
        max_words: int = 32,
        context_length: int = 77,
        *,
        vocab_size: int = VOCAB_SIZE,
        bpe: tokenizers.Tokenizer | None = None,
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
        self._bpe = packaged_bpe(min(vocab_size, VOCAB_SIZE)) if bpe is None else bpe
        self.start_id = self._bpe.token_to_id(START)
        self.end_id = self._bpe.token_to_id(END)

    @classmethod
    def from_files(
        cls,
        vocab_json: str | os.PathLike,
        merges_txt: str | os.PathLike,
        max_words: int = 32,
        context_length: int = 77,
    ) -> "Tokenizer":
        """Makes a tokenizer from the `vocab.json` and `merges.txt` of a Hugging Face CLIP folder.

        Padding is 0, as with the packaged vocabulary, whatever the folder's own settings say.

        Raises:
            FileNotFoundError: one of the files is missing.
            VocabularyError: the files do not hold a CLIP vocabulary.
            ValueError: `max_words` is below 3 or above `context_length`.
        """
        return cls(max_words, context_length, bpe=build_bpe(*read_files(vocab_json, merges_txt)))

    def __call__(
        self, texts: str | Sequence[str]
    ) -> tuple[Int32[np.ndarray, "b n"], Bool[np.ndarray, "b n"]]:
        """Encodes one text or a list of texts; n is `max_words`.

        Texts that do not fit are cut, and one `TextCutWarning` for the whole call says so.

        Returns:
            ids: int32, a row is start, tokens, end, then 0.
            mask: bool, True from the start token to the end token.

        Raises:
            TypeError: `texts` is, or holds, something else than `str`.
        """
        texts = [clean(text) for text in _as_list(texts)]
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
            warnings.warn(self._cut_message(cut, len(texts)), TextCutWarning, stacklevel=2)
        return ids, mask

    def decode(self, ids: Sequence[int] | Int32[np.ndarray, " n"]) -> str:
        """Gives the text of one row of ids: lower case, one space after every word.

        The start token, the end token and all that follows the end token are left out.

        Raises:
            ValueError: `ids` is not one row of whole numbers, or one is not in the vocabulary.
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

    def _cut_message(self, cut: list[str], total: int) -> str:
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
    """Repairs wrongly decoded text, resolves HTML entities, joins white space, lowers the case."""
    # Twice, because captions taken from web pages are often escaped twice (&amp;amp;).
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()


def read_packaged(
    path: Traversable = _PACKAGED, vocab_size: int = VOCAB_SIZE
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Reads OpenAI's vocabulary file, or its first ids: `(token -> id, merges in order)`.

    Raises:
        VocabularyError: the file is not, byte for byte, the published one.
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
    merges = [_pair(line) for line in lines[: vocab_size - SMALLEST_VOCAB]]
    tokens = [*_byte_tokens(), *(left + right for left, right in merges), START, END]
    return {token: number for number, token in enumerate(tokens)}, merges


def read_files(
    vocab_json: str | os.PathLike, merges_txt: str | os.PathLike
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Reads the two vocabulary files of a Hugging Face folder: `(token -> id, merges in order)`.

    Raises:
        FileNotFoundError: one of the files is missing.
        VocabularyError: the files do not hold a CLIP vocabulary.
    """
    try:
        vocabulary = json.loads(Path(vocab_json).read_text("utf-8"))
        lines = Path(merges_txt).read_text("utf-8").split("\n")
        merges = [_pair(line) for line in lines if line.strip() and not line.startswith("#version")]
    except ValueError as error:
        raise VocabularyError(f"Cannot read {vocab_json} and {merges_txt}: {error}") from error
    needed = {*_byte_tokens(), START, END}
    needed.update(token for left, right in merges for token in (left, right, left + right))
    if missing := needed.difference(vocabulary):
        raise VocabularyError(
            f"{vocab_json} is not a CLIP vocabulary that goes with {merges_txt}: it lacks "
            f"{len(missing)} of the tokens, such as {min(missing)!r}."
        )
    return vocabulary, merges


def build_bpe(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> tokenizers.Tokenizer:
    """Makes the encoder of cleaned text from `(token -> id, merges in order)`."""
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


@functools.cache
def packaged_bpe(vocab_size: int = VOCAB_SIZE) -> tokenizers.Tokenizer:
    """The encoder of the packaged vocabulary, built once for each process."""
    return build_bpe(*read_packaged(vocab_size=vocab_size))


def _byte_tokens() -> list[str]:
    # By code point, the printable bytes come first: the order in which CLIP numbers them.
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    return [*letters, *(letter + _WORD_END for letter in letters)]


def _pair(line: str) -> tuple[str, str]:
    parts = line.split()
    if len(parts) != 2:
        raise VocabularyError(f"A merge is two tokens with a space between them, not {line!r}.")
    return parts[0], parts[1]


def _as_list(texts: str | Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        return [texts]
    if isinstance(texts, bytes) or not isinstance(texts, Iterable):
        raise TypeError(f"texts must be a str or a sequence of str, not {_named(texts)}.")
    texts = list(texts)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"texts[{number}] must be a str, not {_named(text)}.")
    return texts


def _named(value: object) -> str:
    return f"{type(value).__name__} {value!r:.80}"
