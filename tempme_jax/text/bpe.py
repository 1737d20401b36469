"""The tokenizer that turns text into the ids that CLIP's text tower was trained on.

This is the lower-cased byte-pair encoding of Radford et al., "Learning Transferable Visual Models
From Natural Language Supervision" (2021), with its published vocabulary. One thing differs from the
published tokenizer: a typed `<|endoftext|>` is ordinary text, so no caption can end itself early.
"""

import functools
import gzip
import html
from importlib import resources
from importlib.resources.abc import Traversable

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from tempme_jax.text.base import BaseTokenizer, check_digest

START = "<|startoftext|>"
END = "<|endoftext|>"

_PACKAGED = resources.files("tempme_jax.text") / "vocabulary" / "bpe_simple_vocab_16e6.txt.gz"
_SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
# The file lists more merges than CLIP uses: 49,408 ids are 2 * 256 bytes, merges, START and END.
VOCAB_SIZE = 49_408
SMALLEST_VOCAB = 2 * 256 + 2
_WORD_END = "</w>"
# U+0345 is a mark whose upper case is a letter. CLIP's pattern ignores case and so drops U+0345.
_WORD = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}\x{345}]+"


class Tokenizer(BaseTokenizer):
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

    shortest = ("start", "one token", "end")

    def __init__(
        self, max_words: int = 32, context_length: int = 77, *, vocab_size: int = VOCAB_SIZE
    ):
        if vocab_size < SMALLEST_VOCAB:
            raise ValueError(
                f"vocab_size={vocab_size} has no room for all bytes, the start and the end: these "
                f"alone are {SMALLEST_VOCAB} ids"
            )
        bpe = load_packaged_bpe(min(vocab_size, VOCAB_SIZE))
        super().__init__(bpe, max_words, context_length, start=[START], end=[END])
        self.start_id, self.end_id = self._start[0], self._end[0]

    def clean(self, text: str) -> str:
        """Return the text as the encoder takes it; see `clean`."""
        return clean(text)

    def choose_words(self, ids: list[int]) -> list[int]:
        """Return the ids before the end token, without the start token."""
        if self.end_id in ids:
            ids = ids[: ids.index(self.end_id)]
        return [number for number in ids if number != self.start_id]


def clean(text: str) -> str:
    """Repair wrongly decoded text, resolve HTML entities, join white space, lower the case.

    >>> clean("Fish &amp; \\n CHIPS")
    'fish & chips'
    """
    # Of plain ASCII, nothing is to be repaired.
    if not (text.isascii() and text.isprintable() and "&" not in text):
        import ftfy  # which takes long

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
    check_digest(path, data, _SHA256)
    # The first line names the version of the format.
    lines = gzip.decompress(data).decode("utf-8").split("\n")[1:]
    lines = lines[: vocab_size - SMALLEST_VOCAB]
    merges = [(left, right) for left, _, right in (line.partition(" ") for line in lines)]
    tokens = [*_list_byte_tokens(), *map("".join, merges), START, END]
    return dict(zip(tokens, range(len(tokens)), strict=True)), merges


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
