"""Videos and pictures in all forms that users have them; what cannot be read is told, or raised."""

import io

import numpy as np
import pytest
import toy_index
from PIL import Image

import tempme_jax
from tempme_jax.sources import FrameShape
from tempme_jax.two_towers import TwoTowers

SHAPE = FrameShape(toy_index.FRAMES, toy_index.SIDE, "crop")
FRAMES = np.random.default_rng(0).integers(0, 256, (6, 20, 30, 3), np.uint8)


class Tower(TwoTowers):
    """The vector of a video holds the mean brightness of each frame; -1 if it is masked."""

    arch = tempme_jax.Architecture(image_size=toy_index.SIDE, patch=8)
    num_frames, max_words, video_batch = toy_index.FRAMES, 8, 2

    def encode_frames(self, batches):
        found = [np.zeros((0, self.num_frames))]
        for frames, mask in batches:
            assert (frames.dtype, len(frames) <= 2) == (np.uint8, True)
            found.append(np.where(mask, frames.mean((2, 3, 4)), -1))
        return np.concatenate(found).astype(np.float32)

    def embed_tokens(self, ids, mask=None):
        raise AssertionError


@pytest.fixture
def film(tmp_path):
    return toy_index.write_films(tmp_path, {"a.mp4": "long"}) / "a.mp4"


def test_files_bytes_and_open_files_are_the_same(film):
    content, tower = film.read_bytes(), Tower()
    with film.open("rb") as file:
        forms = [film, str(film), content, bytearray(content), memoryview(content), file]
        forms.append(io.BytesIO(content))
        vectors = tower.embed_video(forms)
    assert vectors.shape == (7, 4) and len(np.unique(vectors, axis=0)) == 1
    for one in (content, io.BytesIO(content)):  # alone, not in a list
        np.testing.assert_array_equal(tower.embed_video(one), vectors[:1])


def test_arrays_of_any_length_and_size_in_one_list(film):
    few, other = FRAMES[:2], FRAMES[:, ::2, ::3]
    vectors = Tower().embed_video([film, few, other, FRAMES])
    assert (vectors[1] == -1).tolist() == [False, False, True, True]
    np.testing.assert_array_equal(vectors[3:], Tower().embed_video(FRAMES))
    np.testing.assert_array_equal(
        Tower().embed_video(np.stack([FRAMES, FRAMES])), np.repeat(vectors[3:], 2, axis=0)
    )


def test_a_part_of_a_file(film):
    whole, part, other = (
        Tower().embed_video([film] * 3, start=[None, 2, 8], end=[None, 6, 12]).round()
    )
    assert part[0] < part[-1] < other[0] and whole[0] < other[0] < whole[-1]
    np.testing.assert_array_equal(Tower().embed_video(film, start=2, end=6).round()[0], part)
    with pytest.raises(tempme_jax.VideoError, match="nothing is left from 99 s on"):
        Tower().embed_video(film, start=99)


@pytest.mark.parametrize(
    ("given", "error", "reason"),
    [
        ({"start": 3, "end": 2}, ValueError, "start=3 s and end=2 s are not a part of a video"),
        ({"start": [1, 2]}, ValueError, "one for each of the 1 videos, not 2"),
        ({"start": "2"}, TypeError, "start='2' must be a number of seconds"),
        ({"start": float("nan")}, ValueError, "start=nan s .* not a part"),
        ({"on_error": "ignore"}, ValueError, "unknown on_error: 'ignore'.*: raise, skip"),
        ({"progress": True}, TypeError, "progress must be a function of two numbers.* not bool"),
    ],
)
def test_wrong_arguments(film, given, error, reason):
    with pytest.raises(error, match=reason):
        Tower().embed_video([film], **given)


def test_paths_as_a_table_has_them(film):
    both = [str(film)] * 2
    for given in (np.array(both), np.array(both, object), [np.str_(film)] * 2):
        assert Tower().embed_video(given).shape[0] == 2


def test_an_array_has_no_seconds():
    with pytest.raises(ValueError, match="seconds of a file; an array has none"):
        Tower().embed_video(FRAMES, start=1)


def test_what_is_skipped_is_told_and_rows_stay(film, tmp_path):
    (tmp_path / "notes.mp4").write_text("hello")
    videos = [b"no video", film, tmp_path / "notes.mp4", FRAMES.astype(float), FRAMES]
    videos += [FRAMES[:0], "gone.mp4", io.BytesIO()]
    seen = []
    found = Tower().embed_video(
        videos, on_error="skip", progress=lambda done, of: seen.append((done, of))
    )
    assert found.rows.tolist() == [1, 4]
    np.testing.assert_array_equal(found.vectors, Tower().embed_video([film, FRAMES]))
    told = {one.row: (one.name, one.reason) for one in found.skipped}
    assert sorted(told) == [0, 2, 3, 5, 6, 7]
    assert told[0][0] == "video 1" and "not a video" in told[0][1]
    assert told[2] == (str(tmp_path / "notes.mp4"), "not a video (text)")
    assert "not float64 [6, 20, 30, 3]" in told[3][1] and "no pixels" in told[5][1]
    assert told[6] == ("gone.mp4", "no such file")
    assert seen[-1] == (8, 8) and seen == sorted(set(seen))


def test_nothing_that_can_be_read():
    found = Tower().embed_video([b"", b"x"], on_error="skip")
    assert (found.vectors.shape, found.rows.tolist(), len(found.skipped)) == ((0, 4), [], 2)


def test_errors_name_what_has_no_path():
    with pytest.raises(tempme_jax.VideoError, match="^video 2: not a video"):
        Tower().embed_video([FRAMES, b"hello"])
    with pytest.raises(TypeError, match='video 1 is a file that is open for text; .* "rb"'):
        Tower().embed_video(io.StringIO("hello"), on_error="skip")
    with pytest.raises(
        ValueError, match=r"each video .* \[20, 30, 3\]; pictures go to embed_image"
    ):
        Tower().embed_video([FRAMES[0]])


def test_a_temporary_copy_does_not_stay(film, monkeypatch, tmp_path):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    Tower().embed_video([film.read_bytes(), b"no video"], on_error="skip")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_pictures(tmp_path):
    picture = Image.fromarray(FRAMES[0])
    picture.save(tmp_path / "a.png")
    content, pixels = (tmp_path / "a.png").read_bytes(), FRAMES[0]
    forms = [tmp_path / "a.png", content, io.BytesIO(content), picture, picture.convert("RGBA")]
    vectors = Tower().embed_image([*forms, pixels])
    assert vectors.shape == (6, 4) and len(np.unique(vectors)) == 1
    assert Tower().embed_image(picture).shape == Tower().embed_image(pixels).shape == (1, 4)
    assert Tower().embed_image(FRAMES).shape == (6, 4)
    found = Tower().embed_image([b"none", pixels, FRAMES], on_error="skip")
    assert found.rows.tolist() == [1]
    assert [one.name for one in found.skipped] == ["picture 1", "picture 3"]
    assert "save it as one of JPEG, PNG" in found.skipped[0].reason
    assert "frames of videos go to embed_video" in found.skipped[1].reason
    with pytest.raises(TypeError, match="a picture must be a path, .* int is none"):
        Tower().embed_image(3)


def test_windows(film):
    seen = []
    found = Tower().embed_windows(film, progress=lambda *numbers: seen.append(numbers))
    spans = list(zip(found.starts, found.ends, strict=True))
    np.testing.assert_allclose(spans, toy_index.LONG, atol=1e-9)
    assert found.vectors.shape == (7, 4) and seen[-1] == (7, 7)
    parts = Tower().embed_video([film] * 6, start=found.starts[:6], end=found.ends[:6])
    np.testing.assert_array_equal(found.vectors[:6], parts)
    again = Tower().embed_windows(film.read_bytes(), overlap=0)
    assert again.starts.tolist() == [0, 4, 8, 12]


def test_windows_of_what_has_none():
    with pytest.raises(TypeError, match="takes a file; frames of an array go to embed_video"):
        Tower().embed_windows(FRAMES)
    with pytest.raises(ValueError, match="overlap=1 must be"):
        Tower().embed_windows("a.mp4", overlap=1)
    with pytest.raises(tempme_jax.VideoError, match="a.mp4: no such file"):
        Tower().embed_windows("a.mp4")
