"""Tokenizers that lie with the weights as a tokenizer.json: Gemma's of SigLIP 2, and SigLIP's.

A vocabulary of 256,000 pieces is too large for the package. It is read beside the weights, kept
with the model, and written into every file that is made of it: packed, as one text.
"""

import base64
import functools
import hashlib
import json
import re
import string
import zlib
from typing import Any, ClassVar

import tokenizers
from tokenizers import normalizers

from tempme_jax.text.base import BaseTokenizer, VocabularyError

# Tables of embeddings are sometimes padded to a round number of rows, but never by more.
SPARE = 1024
PUNCTUATION = str.maketrans("", "", string.punctuation)


def pack(content: dict[str, Any]) -> str:
    """Return the content of a tokenizer.json as one text, compressed."""
    whole = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(whole.encode("utf-8", "surrogatepass"), 6)).decode()


def hash_vocabulary(vocabulary: str) -> str:
    """Hash what was packed, which other versions of zlib pack otherwise; return 64 digits."""
    try:
        content = zlib.decompress(base64.b64decode(vocabulary, validate=True))
    except (ValueError, zlib.error):  # damaged, which `unpack` tells
        content = vocabulary.encode()
    return hashlib.sha256(content).hexdigest()


@functools.lru_cache(maxsize=4)
def unpack(vocabulary: str, *, lowercase: bool) -> tokenizers.Tokenizer:
    """Return the tokenizer that was packed; it may lower the case of texts first.

    Raises:
        VocabularyError: if it is damaged, or not what the library tokenizers reads.
    """
    try:
        content = zlib.decompress(base64.b64decode(vocabulary, validate=True)).decode()
        encoder = tokenizers.Tokenizer.from_str(content)
    except Exception as error:  # tokenizers raises nothing narrower
        raise VocabularyError(
            f"the model's tokenizer.json cannot be used: {error}; get the model again"
        ) from error
    encoder.no_truncation()
    encoder.no_padding()
    if lowercase:
        rest = [] if encoder.normalizer is None else [encoder.normalizer]
        encoder.normalizer = normalizers.Sequence([normalizers.Lowercase(), *rest])
    return encoder


def name_tokenizer(content: Any) -> str:
    """Return which tokenizer the content of a tokenizer.json is: "gemma" or "siglip"; or "".

    >>> name_tokenizer({"model": {"type": "BPE", "vocab": {"<pad>": 0, "<eos>": 1}}})
    'gemma'
    """
    model = content.get("model") if isinstance(content, dict) else None
    kind, vocab = (
        model.get(name) if isinstance(model, dict) else None for name in ("type", "vocab")
    )
    if kind == "BPE" and isinstance(vocab, dict):
        return "gemma" if (vocab.get("<pad>"), vocab.get("<eos>")) == (0, 1) else ""
    if kind == "Unigram" and isinstance(vocab, list) and len(vocab) > 1:
        second = vocab[1]
        return "siglip" if isinstance(second, list) and second[:1] == ["</s>"] else ""
    return ""


class JsonTokenizer(BaseTokenizer):
    """A tokenizer by its tokenizer.json: texts end with one id, and are filled up with another.

    Args:
        max_words: length of a row of ids, with the end; longer texts are cut.
        context_length: number of positions of the text tower.
        vocab_size: number of ids of the model.
        vocabulary: the tokenizer.json, as `pack` returns it.

    Raises:
        VocabularyError: if there is none, or it is damaged or of another model.
        ValueError: if `max_words` has no room for a token, or is above `context_length`.
    """

    shortest = ("one token", "end")
    end: ClassVar[str]
    lowercase: ClassVar[bool] = False

    def __init__(
        self, max_words: int, context_length: int, *, vocab_size: int, vocabulary: str = ""
    ):
        if not vocabulary:
            raise VocabularyError(
                "this model has no tokenizer: its tokenizer.json lies with pretrained weights, and "
                "comes with them; embed_tokens takes ids of its own"
            )
        encoder = unpack(vocabulary, lowercase=self.lowercase)
        super().__init__(encoder, max_words, context_length, start=[], end=[self.end])
        self.vocab_size, self.end_id = vocab_size, encoder.token_to_id(self.end)
        if self.end_id is None:
            raise VocabularyError(
                f"the model's tokenizer.json has no {self.end}, which ends a text; get the model "
                "again"
            )
        count = encoder.get_vocab_size(with_added_tokens=False)
        if not 0 <= vocab_size - count <= SPARE:
            raise VocabularyError(
                f"the tokenizer.json has {count} tokens, and the model takes {vocab_size} ids: "
                "they do not belong together; take both from the same repository"
            )

    def clean(self, text: str) -> str:
        """Return the text as the encoder takes it."""
        return text

    def choose_words(self, ids: list[int]) -> list[int]:
        """Return the ids before the end or the padding."""
        ends = [place for place, one in enumerate(ids) if one in (self.end_id, self.pad_id)]
        return ids[: min(ends, default=None)]

    def _encode(self, texts: list[str]) -> list[list[int]]:
        rows = super()._encode(texts)
        for text, row in zip(texts, rows, strict=True):
            if (most := max(row, default=0)) >= self.vocab_size:
                raise ValueError(
                    f"the text {text[:40]!r} has the token {self._encoder.id_to_token(most)!r}, "
                    f"whose id {most} is above the model's {self.vocab_size} ids; leave it out"
                )
        return rows


class GemmaTokenizer(JsonTokenizer):
    """Gemma's tokenizer as SigLIP 2 uses it: texts in lower case, <eos>, and <pad> to the end.

    The library lowers the case, since Python does it differently for some letters.
    """

    end, lowercase = "<eos>", True


class SiglipTokenizer(JsonTokenizer):
    """SigLIP's tokenizer: texts in lower case without punctuation, then </s> to the end."""

    end, pad_id = "</s>", 1

    def clean(self, text: str) -> str:
        """Return the text as SigLIP's training made it canonical.

        >>> SiglipTokenizer.clean(None, "A  Cat, on a mat!")
        'a cat on a mat'
        """
        return re.sub(r"\s+", " ", text.lower().translate(PUNCTUATION)).strip()
