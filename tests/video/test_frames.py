"""Frames read from small videos are the right ones, and what is no video says so."""

import os
import pickle
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from video_files import HEIGHT, WIDTH, compute_brightness, encode, encode_sound, find_shown_index

from tempme_jax.video.decoding import FrameReader
from tempme_jax.video.frames import VideoError, read_frames
from tempme_jax.video.pixels import resize_and_crop
from tempme_jax.video.timeline import scan


@pytest.fixture(scope="session")
def make_video(tmp_path_factory):
    """Make a video whose frame i has compute_brightness(i), once per file name."""
    folder = tmp_path_factory.mktemp("videos")

    def make(name, count=50, codec="libx264", **options):
        noise = np.random.default_rng(0).integers(-12, 13, (count, HEIGHT, WIDTH, 3))
        pictures = [(compute_brightness(i) + noise[i]).astype(np.uint8) for i in range(count)]
        path = folder / name
        return path if path.exists() else encode(path, pictures, codec, **options)

    return make


def read_reason(path):
    with pytest.raises(VideoError) as caught:
        read_frames(path, 12)
    assert str(caught.value) == f"{path}: {caught.value.reason}"
    return caught.value.reason


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("gop10.mp4", "libx264", {"g": "10"}),
        ("gop2.mp4", "libx264", {"g": "2"}),
        ("one_gop.mp4", "libx264", {"g": "250"}),
        ("gop10.mkv", "libx264", {"g": "10"}),
        ("gop10.ts", "libx264", {"g": "10"}),
        ("gop10.webm", "libvpx-vp9", {"g": "10", "deadline": "realtime", "cpu-used": "8"}),
        ("gop10.avi", "mpeg4", {"g": "10", "bf": "2", "b": "2000000"}),
    ],
)
def test_middle_of_each_span(make_video, name, codec, options):
    frames = read_frames(make_video(name, codec=codec, **options), 10)
    assert frames.shape == (10, HEIGHT, WIDTH, 3)
    assert frames.dtype == np.uint8
    assert [find_shown_index(frame) for frame in frames] == [2, 7, 12, 17, 22, 27, 32, 37, 42, 47]


def test_seeks_over_groups_of_pictures_and_only_there(make_video, monkeypatch):
    decoded = []
    decode = FrameReader._decode

    def count_frames(*args):
        for frame in decode(*args):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(FrameReader, "_decode", count_frames)
    path = make_video("gop5.mp4", g="5", bf="0", sc_threshold="0")
    frames = read_frames(path, 2)
    assert [find_shown_index(frame) for frame in frames] == [12, 37]
    assert len(decoded) < 12
    decoded.clear()
    read_frames(path, 10)
    assert decoded == sorted(set(decoded))
    assert len(decoded) >= 47


def test_falls_back_to_decoding_from_the_start(make_video, monkeypatch):
    path = make_video("gop10.mp4", g="10")
    # Keyframes announced where there are none: seeking lands elsewhere, as in some old files.
    index = scan(str(path))
    index = index._replace(keyframes=[0, index.times[5], 10**9])
    monkeypatch.setattr("tempme_jax.video.frames.scan", lambda path: index)
    assert [find_shown_index(frame) for frame in read_frames(path, 5)] == [5, 15, 25, 35, 45]


def test_uneven_frame_times(make_video):
    path = make_video("uneven.mkv", count=5, times=[0, 3, 6, 10, 15], bf="0")
    # 16 tenths of a second; the middles of the quarters are at 2, 6, 10 and 14 tenths.
    assert [find_shown_index(frame) for frame in read_frames(path, 4)] == [0, 2, 3, 3]


def test_what_an_edit_list_cuts_away_is_not_shown(make_video):
    path = make_video("cut.mp4", times=range(-13, 37), g="10", bf="0", sc_threshold="0")
    # Frames 13 to 49 are left; 10 to 12 are in the file, for decoding alone.
    assert [find_shown_index(frame) for frame in read_frames(path, 37)] == list(range(13, 50))


def test_tag_that_is_no_text(make_video, tmp_path):
    path = tmp_path / "tag.mkv"
    whole = make_video("title.mkv", count=1, title="a cat").read_bytes()
    path.write_bytes(whole.replace(b"a cat", b"\xff\xfecat"))
    assert read_frames(path, 1).shape == (1, HEIGHT, WIDTH, 3)


def test_one_frame_is_repeated(make_video):
    frames = read_frames(make_video("one.mp4", count=1), 4)
    assert [find_shown_index(frame) for frame in frames] == [0, 0, 0, 0]


def test_short_video_repeats_each_frame_alike(make_video):
    frames = read_frames(make_video("three.mp4", count=3), 6)
    assert [find_shown_index(frame) for frame in frames] == [0, 0, 1, 1, 2, 2]


def test_image_size_crops_each_frame(make_video):
    path = make_video("gop10.mp4", g="10")
    np.testing.assert_array_equal(
        read_frames(path, 3, image_size=32), resize_and_crop(read_frames(path, 3), 32)
    )


def test_truncated_video_gives_what_is_there(make_video, tmp_path):
    whole = make_video("gop10.mp4", g="10").read_bytes()
    path = tmp_path / "truncated.mp4"
    path.write_bytes(whole[: len(whole) * 7 // 10])
    indices = [find_shown_index(frame) for frame in read_frames(path, 12)]
    assert indices == sorted(indices)
    assert 5 < indices[-1] < 45


def test_truncated_within_its_index_is_no_video(make_video, tmp_path):
    path = tmp_path / "no_index.mp4"
    path.write_bytes(make_video("gop10.mp4", g="10").read_bytes()[:500])
    assert read_reason(path).startswith("cut short (500 bytes of at least ")


def test_damaged_packets_are_passed_over(make_video, tmp_path):
    damaged = bytearray(make_video("gop10.mkv", g="10").read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 200] = bytes(200)
    path = tmp_path / "damaged.mkv"
    path.write_bytes(damaged)
    indices = [find_shown_index(frame) for frame in read_frames(path, 10)]
    assert len(indices) == 10
    assert (indices[0], indices[-1]) == (2, 47)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "an empty file"), (b"This is a text about a cat.\n" * 100, "not a video (text)")],
)
def test_other_content_is_no_video(tmp_path, content, reason):
    path = tmp_path / "other.mp4"
    path.write_bytes(content)
    assert read_reason(path) == reason


def test_list_of_files_is_not_followed(make_video, tmp_path):
    (tmp_path / "cat.mp4").write_bytes(make_video("one.mp4", count=1).read_bytes())
    path = tmp_path / "list.mp4"
    path.write_text("ffconcat version 1.0\nfile cat.mp4\n")
    with av.open(str(path)) as container:  # libav, left to itself, follows it
        assert len(list(container.decode(video=0))) == 1
    assert read_reason(path) == "not a video (a play list)"


def test_sound_alone(tmp_path):
    reason = read_reason(encode_sound(tmp_path / "sound.mp4"))
    assert reason == "no video stream (audio only)"


def test_what_is_no_file(tmp_path):
    assert read_reason(tmp_path / "missing.mp4") == "no such file"
    assert read_reason(tmp_path) == "not a regular file"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no fifos")
def test_fifo_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo.mp4")
    assert read_reason(tmp_path / "fifo.mp4") == "not a regular file"


def test_name_that_looks_like_an_address(make_video, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("concat:a.mp4").write_bytes(make_video("one.mp4", count=1).read_bytes())
    assert read_frames("concat:a.mp4", 1).shape == (1, HEIGHT, WIDTH, 3)


def test_large_frames_are_refused(make_video, monkeypatch):
    path = make_video("one.mp4", count=1)
    monkeypatch.setattr("tempme_jax.video.container.MAX_PIXELS", WIDTH * HEIGHT - 1)
    assert read_reason(path) == "frame larger than 3071 pixels (64 x 48)"
    monkeypatch.setattr("tempme_jax.video.container.MAX_PIXELS", WIDTH * HEIGHT)
    with pytest.raises(VideoError, match=r"frame larger than 3072 pixels \(298 x 224\)"):
        read_frames(path, 1, image_size=224)


def test_memory_that_is_not_there(make_video, monkeypatch):
    def fail(*args):
        raise MemoryError

    monkeypatch.setattr("tempme_jax.video.frames.make_square", fail)
    with pytest.raises(VideoError, match="cannot allocate memory"):
        read_frames(make_video("one.mp4", count=1), 1, image_size=32)


def test_error_survives_pickling():
    error = pickle.loads(pickle.dumps(VideoError("a.mp4", "no such file")))
    assert (error.path, error.reason) == ("a.mp4", "no such file")
    assert str(error) == "a.mp4: no such file"


@pytest.mark.parametrize(("count", "size"), [(0, None), (1, 0)])
def test_sizes_must_be_positive(make_video, count, size):
    with pytest.raises(ValueError, match="at least 1"):
        read_frames(make_video("one.mp4", count=1), count, image_size=size)


@pytest.mark.parametrize(
    ("rotation", "expected"),
    [
        ((90,), lambda picture: np.rot90(picture, 1)),
        ((180,), lambda picture: np.rot90(picture, 2)),
        ((270,), lambda picture: np.rot90(picture, 3)),
        ((0, True), lambda picture: picture[:, ::-1]),
        ((90, True), lambda picture: np.rot90(picture, 1)[:, ::-1]),
    ],
)
def test_stored_orientation_is_applied(tmp_path, rotation, expected):
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[: HEIGHT // 2, : WIDTH // 2] = 220
    picture[: HEIGHT // 2, WIDTH // 2 :] = 110
    path = encode(tmp_path / "turned.mp4", [picture], rotation=rotation)
    frame = read_frames(path, 1)[0]
    assert frame.shape == expected(picture).shape
    assert np.abs(frame.astype(int) - expected(picture)).mean() < 5


@pytest.mark.parametrize(
    ("width", "height", "resized", "left", "top"),
    [
        (40, 71, (32, 56), 0, 12),
        (71, 40, (56, 32), 12, 0),
        (33, 51, (32, 49), 0, 8),
        (33, 53, (32, 51), 0, 10),
        (53, 33, (51, 32), 10, 0),
        (20, 15, (42, 32), 5, 0),
        (45, 45, (32, 32), 0, 0),
    ],
)
def test_resize_and_crop_is_that_of_clip(width, height, resized, left, top):
    frames = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), np.uint8)
    expected = [
        np.asarray(Image.fromarray(frame).resize(resized, Image.Resampling.BICUBIC))[
            top : top + 32, left : left + 32
        ]
        for frame in frames
    ]
    np.testing.assert_array_equal(resize_and_crop(frames, 32), expected)


def test_image_of_the_right_size_is_unchanged():
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(resize_and_crop(frames, 32), frames)
