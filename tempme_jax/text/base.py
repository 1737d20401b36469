"""The face that all tokenizers share: texts in, rows of ids and a mask out."""

import abc
import hashlib
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import tokenizers

from tempme_jax.text.warning import TextCutWarning

if TYPE_CHECKING:  # it takes long to import
    from jaxtyping import Bool, Int32

PAD_ID = 0
_SHOWN_CHARACTERS = 200


class VocabularyError(ValueError):
    """A vocabulary file is damaged, or a model's vocabulary is not here."""


class BaseTokenizer(abc.ABC):
    """Turns texts into rows of token ids.

    Args:
        encoder: the encoder of cleaned text.
        max_words: length of a row of ids, with the special tokens; longer texts are cut.
        context_length: number of positions of the text tower.
        start, end: tokens before and behind the tokens of every text.

    Raises:
        ValueError: if `max_words` has no room for a token, or is above `context_length`.
    """

    # The special tokens of a row and a token between them, in words.
    shortest: ClassVar[tuple[str, ...]]
    # The id that fills rows up.
    pad_id: ClassVar[int] = PAD_ID

    def __init__(
        self,
        encoder: tokenizers.Tokenizer,
        max_words: int,
        context_length: int,
        *,
        start: Sequence[str],
        end: Sequence[str],
    ):
        if not len(self.shortest) <= max_words <= context_length:
            raise ValueError(
                f"max_words={max_words} must lie between {len(self.shortest)} "
                f"({', '.join(self.shortest)}) and context_length={context_length}, the positions "
                "of the text tower."
            )
        self.max_words = max_words
        self.context_length = context_length
        self._encoder = encoder
        self._start = [encoder.token_to_id(token) for token in start]
        self._end = [encoder.token_to_id(token) for token in end]

    @property
    def room(self) -> int:
        """Number of tokens of a text that fit into a row, beside the special ones."""
        return self.max_words - len(self._start) - len(self._end)

    @property
    def longest(self) -> int:
        """Number of ids of a row before those that end it."""
        return self.max_words - len(self._end)

    @abc.abstractmethod
    def clean(self, text: str) -> str:
        """Return the text as the encoder takes it."""

    @abc.abstractmethod
    def choose_words(self, ids: list[int]) -> list[int]:
        """Return the ids of a row that are text: those up to its end, without special tokens."""

    def __call__(
        self, texts: str | Sequence[str]
    ) -> 'tuple[Int32[np.ndarray, "b n"], Bool[np.ndarray, "b n"]]':
        """Encode one text or a list of texts.

        Texts that do not fit are cut, with one `TextCutWarning` for the whole call.

        Returns:
            ids: int32 [b, max_words]; a row is the start, tokens, the end if the tokenizer has one,
                then what fills it up, mostly 0.
            mask: bool [b, max_words], True for all but what fills the row up.

        Raises:
            TypeError: if `texts` is, or holds, something other than `str`.
        """
        texts = [self.clean(text) for text in list_texts(texts)]
        words, room = self._encode(texts), self.room
        advice = f"Raise max_words (now {self.max_words}, at most {self.context_length})"
        if self.max_words == self.context_length:
            advice = f"max_words={self.max_words} is all the text tower can read: shorten the texts"
        self._warn_of_cut(texts, words, room, advice)
        rows = [[*self._start, *text_ids[:room], *self._end] for text_ids in words]
        return pad_rows(rows, self.max_words, self.pad_id)

    def decode(self, ids: 'Sequence[int] | Int32[np.ndarray, " n"]') -> str:
        """Return the text of one row of ids, in lower case, with one space between words.

        Special tokens, and everything behind the end token, are left out.

        Raises:
            ValueError: if `ids` is not one row of whole numbers, or one is not in the vocabulary.
        """
        row = np.asarray(ids)
        if row.ndim != 1 or (row.size and not np.issubdtype(row.dtype, np.integer)):
            raise ValueError(
                f"decode takes one row of whole numbers, not shape {row.shape} of {row.dtype}; "
                "for a batch, call it once for each row."
            )
        size = self._encoder.get_vocab_size()
        outside = row[(row < 0) | (row >= size)]
        if outside.size:
            raise ValueError(f"Token id {outside[0]} is not in the vocabulary: 0 to {size - 1}.")
        return self._encoder.decode(self.choose_words(row.tolist())).strip()

    def _encode(self, texts: list[str]) -> list[list[int]]:
        # encode_batch would start threads, which do not survive a fork of the process.
        return [self._encoder.encode(text, add_special_tokens=False).ids for text in texts]

    def _warn_of_cut(
        self, texts: list[str], words: list[list[int]], room: int, advice: str
    ) -> None:
        """Warn, as of the caller's caller, of the texts with more tokens than there is room for."""
        cut = [text for text, text_ids in zip(texts, words, strict=True) if len(text_ids) > room]
        if not cut:
            return
        position = self._encoder.encode(cut[0], add_special_tokens=False).offsets[room][0]
        lost = cut[0][position:].strip()
        if len(lost) > _SHOWN_CHARACTERS:
            lost = lost[:_SHOWN_CHARACTERS] + "..."
        message = (
            f"{len(cut)} of {len(texts)} texts did not fit and were cut. The first: kept "
            f"{cut[0][:position].strip()!r}, cut off {lost!r}. {advice}."
        )
        warnings.warn(message, TextCutWarning, stacklevel=3)


def list_texts(texts: str | Sequence[str]) -> list[str]:
    """Return one or several texts as a list; raise a TypeError for anything else."""
    if isinstance(texts, str):
        texts = [texts]
    if isinstance(texts, bytes) or not isinstance(texts, Iterable):
        raise TypeError(f"texts must be a str or a sequence of str, not {_describe(texts)}.")
    texts = list(texts)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"texts[{number}] must be a str, not {_describe(text)}.")
    # Half of a surrogate pair, as in names of files that are not Unicode, is no character.
    return [text.encode("utf-8", "replace").decode() for text in texts]


def pad_rows(
    rows: Sequence[Sequence[int]], length: int, pad_id: int = PAD_ID
) -> 'tuple[Int32[np.ndarray, "b n"], Bool[np.ndarray, "b n"]]':
    """Return rows of ids as one array, filled up, and the mask of what was not filled up."""
    ids = np.full((len(rows), length), pad_id, np.int32)
    mask = np.zeros(ids.shape, bool)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = True
    return ids, mask


def check_digest(name: object, data: bytes, sha256: str) -> None:
    """Raise a VocabularyError unless data have a digest; `name` says where they come from."""
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise VocabularyError(
            f"{name} is damaged: its sha256 is {found}, it must be {sha256}. "
            "Install tempme-jax again."
        )


def _describe(value: object) -> str:
    return f"{type(value).__name__} {value!r:.80}"
