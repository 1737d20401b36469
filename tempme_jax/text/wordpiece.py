"""The tokenizer that turns text into the ids that BERT's text tower was trained on.

These are the word pieces of Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers
for Language Understanding" (2019), with the published vocabulary of bert-base-uncased. UMT uses
them in its own way: captions are cleaned of their punctuation, and no [SEP] stands behind them.
"""

import functools
import gzip
import re
import zlib
from collections.abc import Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING

import numpy as np
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from tempme_jax.text.base import (
    PAD_ID,
    BaseTokenizer,
    VocabularyError,
    check_digest,
    list_texts,
    pad_rows,
)

if TYPE_CHECKING:  # it takes long to import
    from jaxtyping import Bool, Int32

START, END, UNKNOWN = "[CLS]", "[SEP]", "[UNK]"

_PACKAGED = resources.files("tempme_jax.text") / "vocabulary" / "bert_base_uncased.txt.gz"
# Of the text itself, vocab.txt, which is the same wherever it is found.
_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
VOCAB_SIZE = 30_522
# The last of the letters that others can follow, ##q, has the id 4160.
SMALLEST_VOCAB = 4161
_LONGEST_WORD = 100  # in characters; longer ones become [UNK]
# What UMT's pre-training did to every caption and question, in this order.
_CLEANING = (
    (re.compile(r"[,.'!?\"()*#:;~]"), ""),
    (re.compile(r"[-/]"), " "),
    (re.compile(r"<person>"), "person"),
    (re.compile(r"\s{2,}"), " "),
    (re.compile(r"\n+\Z"), ""),
    (re.compile(r"^ +| +\Z"), ""),
)


class WordPieceTokenizer(BaseTokenizer):
    """BERT's tokenizer for lower-cased text, as UMT uses it.

    Args:
        max_words: length of a row of ids, with the start token; longer texts are cut.
        context_length: number of positions of the text tower.
        vocab_size: number of ids. A smaller vocabulary, for small models, has the first ids only,
            so rare words are spelt in more pieces.

    Raises:
        ValueError: if `max_words` is below 2 or above `context_length`, or the vocabulary has no
            room for all letters.
        VocabularyError: if the packaged vocabulary is damaged.

    >>> ids, mask = WordPieceTokenizer(max_words=7)("A cat jumps.")
    >>> ids.tolist(), int(mask.sum())
    ([[101, 1037, 4937, 14523, 0, 0, 0]], 4)
    """

    shortest = ("start", "one token")

    def __init__(
        self, max_words: int = 32, context_length: int = 512, *, vocab_size: int = VOCAB_SIZE
    ):
        if vocab_size < SMALLEST_VOCAB:
            raise ValueError(
                f"vocab_size={vocab_size} has no room for all letters: they need {SMALLEST_VOCAB} "
                "ids of BERT's vocabulary"
            )
        encoder = load_packaged_word_pieces(min(vocab_size, VOCAB_SIZE))
        super().__init__(encoder, max_words, context_length, start=[START], end=[])
        self.start_id, self.end_id = map(encoder.token_to_id, (START, END))

    def clean(self, text: str) -> str:
        """Return the text as the encoder takes it; see `clean_caption`."""
        return clean_caption(text)

    def choose_words(self, ids: list[int]) -> list[int]:
        """Return the ids before the end token or the padding, without the start token."""
        ends = [place for place, number in enumerate(ids) if number in (self.end_id, PAD_ID)]
        return [number for number in ids[: min(ends, default=None)] if number != self.start_id]

    def encode_answers(
        self, texts: str | Sequence[str], length: int = 5
    ) -> 'tuple[Int32[np.ndarray, "a n"], Bool[np.ndarray, "a n"]]':
        """Encode answers to questions, which are not cleaned and end with [SEP].

        Answers that do not fit are cut, with one `TextCutWarning` for the whole call. An answer
        that just fits loses its [SEP].

        Returns:
            ids: int32 [a, length]; a row is [CLS], pieces, [SEP], then 0.
            mask: bool [a, length], True for all but what fills the row up.

        Raises:
            TypeError: if `texts` is, or holds, something other than `str`.
            ValueError: if `length` is below 2.

        >>> WordPieceTokenizer().encode_answers(["dog", "play video games online"])[0].tolist()
        [[101, 3899, 102, 0, 0], [101, 2377, 2678, 2399, 3784]]
        """
        if length < len(self.shortest):
            raise ValueError(f"length={length} of answers must be 2 at least: start, one token")
        texts = list_texts(texts)
        words = self._encode(texts)
        advice = f"An answer has {length} ids at most, [CLS] and [SEP] included: shorten them"
        self._warn_of_cut(texts, words, length - 1, advice)
        return pad_rows(
            [[self.start_id, *answer, self.end_id][:length] for answer in words], length
        )


def clean_caption(text: str) -> str:
    """Lower the case, delete punctuation, part words at "-" and "/", join white space.

    >>> clean_caption("A Man, is PLAYING  video-games!")
    'a man is playing video games'
    """
    text = text.lower()
    for pattern, replacement in _CLEANING:
        text = pattern.sub(replacement, text)
    return text


def read_packaged(path: Traversable = _PACKAGED, vocab_size: int = VOCAB_SIZE) -> dict[str, int]:
    """Read BERT's vocabulary file, or its first ids, as token -> id.

    Raises:
        VocabularyError: if the file is not, unpacked, the published one byte for byte.
    """
    try:
        data = gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise VocabularyError(f"{path} is damaged: {error}. Install tempme-jax again.") from error
    check_digest(path, data, _SHA256)
    tokens = data.decode("utf-8").split("\n")[:vocab_size]
    return {token: number for number, token in enumerate(tokens)}


@functools.cache
def load_packaged_word_pieces(vocab_size: int = VOCAB_SIZE) -> tokenizers.Tokenizer:
    """Return the encoder of cleaned text by the packaged vocabulary, built once a process."""
    pieces = tokenizers.Tokenizer(
        models.WordPiece(
            vocab=read_packaged(vocab_size=vocab_size),
            unk_token=UNKNOWN,
            max_input_chars_per_word=_LONGEST_WORD,
        )
    )
    pieces.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True
    )
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    return pieces
