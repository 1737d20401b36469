"""Text becomes exactly the ids that UMT's published code makes with BERT's word pieces."""

import gzip
import json
import pathlib
import pickle

import numpy as np
import pytest

from tempme_jax.text.base import TextCutWarning, VocabularyError
from tempme_jax.text.tokenizers import TOKENIZERS, make_tokenizer
from tempme_jax.text.wordpiece import (
    SMALLEST_VOCAB,
    WordPieceTokenizer,
    clean_caption,
    load_packaged_word_pieces,
    read_packaged,
)

# Made with the published code: 32 ids of a caption, 5 of an answer, padding left out.
PUBLISHED = json.loads(
    (pathlib.Path(__file__).parent / "published_word_pieces.json").read_text(encoding="utf-8")
)
CLS, SEP = 101, 102


def pad(ids, length):
    return ids + [0] * (length - len(ids))


@pytest.mark.parametrize(
    "caption", PUBLISHED["captions"], ids=lambda caption: ascii(caption["raw"])
)
@pytest.mark.filterwarnings("ignore::tempme_jax.text.base.TextCutWarning")
def test_captions_are_the_published_ones(caption):
    assert clean_caption(caption["raw"]) == caption["cleaned"]
    ids, mask = WordPieceTokenizer()(caption["raw"])
    assert ids.dtype == np.int32 and mask.dtype == bool
    assert ids.tolist() == [pad(caption["ids"], 32)]
    assert mask.tolist() == [pad([True] * len(caption["ids"]), 32)]


@pytest.mark.parametrize("answer", PUBLISHED["answers"], ids=lambda answer: ascii(answer["raw"]))
@pytest.mark.filterwarnings("ignore::tempme_jax.text.base.TextCutWarning")
def test_answers_are_the_published_ones(answer):
    ids, mask = WordPieceTokenizer().encode_answers(answer["raw"], 5)
    assert ids.dtype == np.int32 and mask.dtype == bool
    assert ids.tolist() == [pad(answer["ids"], 5)]
    assert mask.tolist() == [pad([True] * len(answer["ids"]), 5)]


@pytest.mark.filterwarnings("ignore::tempme_jax.text.base.TextCutWarning")
def test_a_batch_is_its_texts_one_by_one():
    tokenizer = WordPieceTokenizer(max_words=9)
    texts = [caption["raw"] for caption in PUBLISHED["captions"]]
    for encode in (tokenizer, tokenizer.encode_answers):
        ids, mask = encode(texts)
        for row, text in enumerate(texts):
            np.testing.assert_array_equal(ids[row], encode(text)[0][0])
            np.testing.assert_array_equal(mask[row], encode(text)[1][0])


def test_no_texts_give_no_rows():
    tokenizer = WordPieceTokenizer(max_words=9)
    for (ids, mask), length in ((tokenizer([]), 9), (tokenizer.encode_answers([]), 5)):
        assert ids.shape == mask.shape == (0, length)
        assert ids.dtype == np.int32 and mask.dtype == bool


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("(a) 'b' \"c\" #d *e* f;g ~h~ i:j k?! l.m,n", "a b c d e fg h ij k lmn"),
        ("a - b / c", "a b c"),
        ("<PERSON>s, <person-1>", "persons <person 1>"),
        ("a \t\n b", "a b"),
        ("a\tb", "a\tb"),
        ("\na b \n", "\na b"),
        ("a b\n \n", "a b"),
        ("\u00c4\u00a0\u3000b\u2028", "\u00e4 b\u2028"),
        ("  ", ""),
        ("\n\n", ""),
    ],
)
def test_a_caption_is_cleaned(text, cleaned):
    assert clean_caption(text) == cleaned


def test_no_text_can_hold_a_special_token():
    tokenizer = WordPieceTokenizer()
    for ids, _ in (tokenizer("[SEP] [PAD] [UNK]"), tokenizer.encode_answers("[SEP]")):
        assert set(ids[0].tolist()) & {100, CLS, SEP, 103} <= {CLS, SEP}
    assert tokenizer("[SEP]")[0][0, :4].tolist() == [CLS, 1031, 19802, 1033]
    assert tokenizer.encode_answers("[SEP]")[0].tolist() == [[CLS, 1031, 19802, 1033, SEP]]


def test_a_text_that_just_fits_is_not_cut():
    ids, _ = WordPieceTokenizer(max_words=4)("a cat jumps")
    assert ids.tolist() == [[CLS, 1037, 4937, 14523]]
    ids, _ = WordPieceTokenizer().encode_answers("a cat jumps high")
    assert ids[0, 0] == CLS and SEP not in ids


def test_a_cut_says_what_was_lost():
    texts = ["a cat", "A Cat, jumping!", "two words and more"]
    with pytest.warns(TextCutWarning) as caught:
        ids, mask = WordPieceTokenizer(max_words=3)(texts)
    assert ids[1].tolist() == [CLS, 1037, 4937]
    assert mask.all()
    assert len(caught) == 1 and caught[0].filename == __file__
    message = str(caught[0].message)
    assert "2 of 3 texts" in message
    assert "kept 'a cat', cut off 'jumping'" in message
    assert "Raise max_words (now 3, at most 512)" in message


def test_a_cut_inside_a_word_is_shown_where_it_is():
    with pytest.warns(TextCutWarning, match="kept 'unaffa', cut off 'ble'"):
        WordPieceTokenizer(max_words=3)("unaffable")


def test_a_cut_answer_is_told():
    with pytest.warns(TextCutWarning) as caught:
        WordPieceTokenizer().encode_answers(["dog", "play video games online now"])
    assert len(caught) == 1 and caught[0].filename == __file__
    message = str(caught[0].message)
    assert "1 of 2 texts" in message and "cut off 'now'" in message
    assert "An answer has 5 ids at most, [CLS] and [SEP] included: shorten them" in message


@pytest.mark.parametrize("max_words", [-1, 1, 41])
def test_max_words_out_of_range(max_words):
    with pytest.raises(ValueError, match=rf"max_words={max_words} .* 2 \(start, one token\)"):
        WordPieceTokenizer(max_words=max_words, context_length=40)


def test_answers_have_room_for_a_token():
    with pytest.raises(ValueError, match="length=1 of answers must be 2 at least"):
        WordPieceTokenizer().encode_answers("dog", 1)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (None, "texts must be a str or a sequence of str, not NoneType None"),
        (b"cat", "texts must be a str or a sequence of str, not bytes b'cat'"),
        (["cat", 3.5], r"texts\[1\] must be a str, not float 3.5"),
    ],
)
def test_what_is_no_text_is_refused(texts, message):
    for encode in (WordPieceTokenizer(), WordPieceTokenizer().encode_answers):
        with pytest.raises(TypeError, match=message):
            encode(texts)


@pytest.mark.parametrize("text", ["a cat jumps", "unaffable electroencephalographically", ""])
def test_decode_gives_the_words_back(text):
    tokenizer = WordPieceTokenizer(max_words=20)
    assert tokenizer.decode(tokenizer(text)[0][0]) == text
    assert tokenizer.decode(tokenizer.encode_answers(text, 20)[0][0]) == text


def test_decode_refuses_what_is_no_row_of_ids():
    with pytest.raises(ValueError, match="Token id 30522 is not in the vocabulary: 0 to 30521"):
        WordPieceTokenizer().decode([101, 30522])


def test_a_pickled_tokenizer_is_the_same():
    tokenizer = WordPieceTokenizer(max_words=12)
    copy = pickle.loads(pickle.dumps(tokenizer))
    np.testing.assert_array_equal(copy("a photo of a cat")[0], tokenizer("a photo of a cat")[0])


def test_a_small_vocabulary_spells_rare_words_in_pieces():
    text = "quixotic jazz 1234567890"
    small = WordPieceTokenizer(vocab_size=SMALLEST_VOCAB)
    ids, mask = small(text)
    assert ids.max() < SMALLEST_VOCAB and 100 not in ids
    assert mask.sum() > WordPieceTokenizer()(text)[1].sum()
    assert small.decode(ids[0]) == text


def test_a_vocabulary_without_all_letters_is_refused():
    with pytest.raises(ValueError, match="vocab_size=4160 has no room for all letters"):
        WordPieceTokenizer(vocab_size=4160)


def test_the_packaged_vocabulary_is_built_once():
    assert load_packaged_word_pieces() is load_packaged_word_pieces()
    vocabulary = read_packaged()
    assert len(vocabulary) == load_packaged_word_pieces().get_vocab_size() == 30522
    assert [vocabulary[t] for t in ("[PAD]", "[UNK]", "[CLS]", "[SEP]")] == [0, 100, CLS, SEP]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(b"[PAD]\n[UNK]\n", mtime=0), "is damaged: its sha256 is .*07eced37"),
        (gzip.compress(b"[PAD]\n[UNK]\n", mtime=0)[:-9], "is damaged: Compressed file ended"),
        (b"[PAD]\n[UNK]\n", "is damaged: Not a gzipped file"),
    ],
    ids=["other text", "cut", "not gzipped"],
)
def test_a_damaged_vocabulary_is_refused(data, message, tmp_path):
    (tmp_path / "bert.txt.gz").write_bytes(data)
    with pytest.raises(VocabularyError, match=message):
        read_packaged(tmp_path / "bert.txt.gz")


def test_a_tokenizer_is_chosen_by_name():
    assert TOKENIZERS.keys() == {"clip", "bert", "siglip", "gemma"}
    for name, cls in list(TOKENIZERS.items())[:2]:  # the others lie with the weights
        tokenizer = make_tokenizer(name, 8, 40, vocab_size=5000)
        assert type(tokenizer) is cls and tokenizer.max_words == 8
        ids, mask = tokenizer(["a cat", "two dogs jump"])
        assert ids.shape == mask.shape == (2, 8) and ids.max() < 5000
