"""Text becomes exactly CLIP's token ids, and whatever is cut or refused is said in plain words."""

import gzip
import html
import pickle

import ftfy
import numpy as np
import pytest

from tempme_jax.text.base import TextCutWarning, VocabularyError
from tempme_jax.text.bpe import Tokenizer, clean, load_packaged_bpe, read_packaged

# Made with the published pure-Python algorithm; start, end and padding left out.
PUBLISHED = {
    "a photo of a cat": [320, 1125, 539, 320, 2368],
    "A man isn't playing; they'LL re-start!": (
        [320, 786, 2923, 713, 1629, 282, 889, 1342, 810, 268, 1572, 256]
    ),
    "caf\u00e9 na\u00efve \u0130stanbul": [15304, 1097, 35689, 563, 328, 16384, 11231],
    "sch\u00c3\u00b6n \u00e2\u20ac\u0153quoted\u00e2\u20ac\u009d": (
        [844, 7255, 333, 257, 27706, 257]
    ),
    "<b>fish</b> &amp;amp; chips": [283, 321, 285, 2759, 34308, 321, 285, 261, 8855],
    "fish &amp;amp; chips &lt;3 &#39;n&#39; rolls": (
        [2759, 261, 8855, 283, 274, 262, 333, 262, 8614]
    ),
    "\U0001f600 \U0001f469\u200d\U0001f469\u200d\U0001f467": [7334, 26304, 26304, 964, 356],
    "2019 \u00bd 3rd": [273, 271, 272, 280, 33613, 274, 1973],
    "<|endoftext|>": [27, 347, 40786, 4160, 91, 285],
    "<|startoftext|> cat": [27, 347, 993, 6659, 4160, 91, 285, 2368],
    "two   words\n": [1237, 2709],
    "\u732b\u304c\u8df3\u3076": [163, 234, 104, 4813, 234, 164, 115, 111, 4813, 370],
    "!!!?! #1 </w>": [11194, 2835, 258, 272, 34308, 342, 285],
    "'\u017f \ufb01re": [6, 129, 379, 1769],
    "a\u0345b": [320, 321],
    "supercalifragilistic": [1642, 2857, 13093, 2076, 1561],
    "": [],
    " \t\n\u00a0 ": [],
}


@pytest.mark.parametrize("text", PUBLISHED, ids=ascii)
def test_ids_are_the_published_ones(text):
    ids, mask = Tokenizer()(text)
    expected = [49406, *PUBLISHED[text], 49407]
    assert ids.dtype == np.int32 and mask.dtype == bool
    assert ids.shape == mask.shape == (1, 32)
    assert ids[0].tolist() == expected + [0] * (32 - len(expected))
    assert mask[0].tolist() == [True] * len(expected) + [False] * (32 - len(expected))


def test_a_batch_is_its_texts_one_by_one():
    tokenizer = Tokenizer(max_words=20)
    ids, mask = tokenizer(list(PUBLISHED))
    for row, text in enumerate(PUBLISHED):
        np.testing.assert_array_equal(ids[row], tokenizer(text)[0][0])
        np.testing.assert_array_equal(mask[row], tokenizer(text)[1][0])


def test_no_texts_give_no_rows():
    ids, mask = Tokenizer(max_words=9)([])
    assert ids.shape == mask.shape == (0, 9)
    assert ids.dtype == np.int32 and mask.dtype == bool


def test_a_text_that_just_fits_is_not_cut():
    ids, _ = Tokenizer(max_words=7)("a photo of a cat")
    assert ids[0].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407]


def test_a_cut_keeps_the_end_token_and_says_what_was_lost():
    with pytest.warns(TextCutWarning) as caught:
        ids, mask = Tokenizer(max_words=6)(["a cat", "A Photo of a CAT", "two words and some more"])
    assert ids[1].tolist() == [49406, 320, 1125, 539, 320, 49407]
    assert ids[0].tolist() == [49406, 320, 2368, 49407, 0, 0]
    assert mask.sum(axis=1).tolist() == [4, 6, 6]
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "2 of 3 texts" in message
    assert "kept 'a photo of a', cut off 'cat'" in message
    assert "Raise max_words (now 6, at most 77)" in message
    assert caught[0].filename == __file__


def test_a_cut_inside_a_word_is_shown_where_it_is():
    with pytest.warns(TextCutWarning, match="kept 'caf\u00e9 super', cut off 'califragilistic'"):
        Tokenizer(max_words=4)("caf\u00e9 supercalifragilistic")


def test_a_long_loss_is_shown_in_part():
    with pytest.warns(TextCutWarning, match=r"cut off 'cat cat .*\.\.\.'\.") as caught:
        Tokenizer(max_words=4)("cat " * 5000)
    assert len(str(caught[0].message)) < 500


def test_at_the_limit_of_the_text_tower_the_advice_is_to_shorten():
    with pytest.warns(TextCutWarning, match="max_words=5 is all the text tower can read: shorten"):
        Tokenizer(max_words=5, context_length=5)("a photo of a cat")


@pytest.mark.parametrize("max_words", [-1, 2, 78])
def test_max_words_out_of_range(max_words):
    with pytest.raises(ValueError, match=rf"max_words={max_words} .* context_length=77"):
        Tokenizer(max_words=max_words)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (None, "texts must be a str or a sequence of str, not NoneType None"),
        (b"cat", "texts must be a str or a sequence of str, not bytes b'cat'"),
        (["cat", 3.5], r"texts\[1\] must be a str, not float 3.5"),
        ([["cat"]], r"texts\[0\] must be a str, not list \['cat'\]"),
    ],
)
def test_what_is_no_text_is_refused(texts, message):
    with pytest.raises(TypeError, match=message):
        Tokenizer()(texts)


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("A photo of a  CAT", "a photo of a cat"),
        ("caf\u00e9 \U0001f600!", "caf\u00e9 \U0001f600!"),
        ("a&b <|endoftext|> </w>", "a & b <| endoftext |> </ w >"),
        ("", ""),
    ],
)
def test_decode_gives_the_words_back(text, decoded):
    tokenizer = Tokenizer()
    assert tokenizer.decode(tokenizer(text)[0][0]) == decoded


def test_decode_reads_id_0_as_a_character_before_the_end_only():
    assert Tokenizer().decode([49406, 0, 320, 49407, 0, 0]) == "!a"


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([320, 49408], "Token id 49408 is not in the vocabulary: 0 to 49407"),
        ([-1], "Token id -1 is not"),
        ([[320]], r"one row of whole numbers, not shape \(1, 1\)"),
        ([320.0], "not shape .* of float64"),
    ],
)
def test_decode_refuses_what_is_no_row_of_ids(ids, message):
    with pytest.raises(ValueError, match=message):
        Tokenizer().decode(ids)


def test_a_pickled_tokenizer_is_the_same():
    tokenizer = Tokenizer(max_words=12)
    copy = pickle.loads(pickle.dumps(tokenizer))
    np.testing.assert_array_equal(copy("a photo of a cat")[0], tokenizer("a photo of a cat")[0])


def test_the_packaged_vocabulary_is_built_once():
    assert load_packaged_bpe() is load_packaged_bpe()
    assert load_packaged_bpe().get_vocab_size() == 49408


def test_a_small_vocabulary_spells_rare_words_in_pieces():
    whole, small = Tokenizer(16), Tokenizer(16, vocab_size=1024)
    text = "a triangle moves"
    ids, mask = small(text)
    assert ids.max() == small.end_id == 1023 and mask.sum() > whole(text)[1].sum()
    assert small.decode(ids[0]) == text


def test_a_damaged_vocabulary_is_refused(tmp_path):
    damaged = tmp_path / "bpe.txt.gz"
    damaged.write_bytes(gzip.compress(b"#version: 0.2\ni n\n"))
    with pytest.raises(VocabularyError, match=r"bpe\.txt\.gz is damaged: its sha256 is .*924691ac"):
        read_packaged(damaged)


def test_plain_text_needs_no_repair():
    """So it is not sent through ftfy, which takes long to import."""
    rng = np.random.default_rng(0)
    for size in rng.integers(0, 40, 300):
        text = bytes(rng.integers(32, 127, size).astype(np.uint8)).decode()
        repaired = html.unescape(html.unescape(ftfy.fix_text(text)))
        assert clean(text) == " ".join(repaired.split()).lower()
