"""The tokenizers by the names that architectures give them."""

from tempme_jax.text.base import BaseTokenizer, VocabularyError
from tempme_jax.text.bpe import VOCAB_SIZE, Tokenizer
from tempme_jax.text.from_json import GemmaTokenizer, JsonTokenizer, SiglipTokenizer
from tempme_jax.text.wordpiece import VOCAB_SIZE as BERT_SIZE
from tempme_jax.text.wordpiece import WordPieceTokenizer

# Every class is made with (max_words, context_length, vocab_size=...).
TOKENIZERS: dict[str, type[Tokenizer] | type[WordPieceTokenizer] | type[JsonTokenizer]] = {
    "clip": Tokenizer,
    "bert": WordPieceTokenizer,
    "siglip": SiglipTokenizer,
    "gemma": GemmaTokenizer,
}


def make_tokenizer(
    name: str, max_words: int, context_length: int, vocab_size: int, vocabulary: str = ""
) -> BaseTokenizer:
    """Make the tokenizer of a name.

    `vocabulary` is what `from_json.pack` returned, for those that lie with the weights.

    Raises:
        VocabularyError: if the name is of no tokenizer that is here.

    >>> make_tokenizer("bert", 4, 512, 30_522)("a cat")[0].tolist()
    [[101, 1037, 4937, 0]]
    """
    if name not in TOKENIZERS:
        raise VocabularyError(
            f"this model takes {vocab_size} ids of a tokenizer that is not known; CLIP's has "
            f"{VOCAB_SIZE}, BERT's {BERT_SIZE}. Its texts would mean nothing; embed_tokens takes "
            "ids of its own"
        )
    kind, more = TOKENIZERS[name], {}
    if issubclass(kind, JsonTokenizer):
        more = {"vocabulary": vocabulary}
    return kind(max_words, context_length, vocab_size=vocab_size, **more)
