"""Parts of videos are saved as a player shows them, with sound, whole or not at all."""

import errno
import os
from fractions import Fraction

import av
import numpy as np
import pytest
import toy_index
from video_files import compute_brightness, write_grey_video

from tempme_jax.search.saving import cutting
from tempme_jax.search.saving.cutting import Cut, DiskFailure, cut_part, save_part
from tempme_jax.search.saving.reel import Reel
from tempme_jax.video.container import VideoError
from tempme_jax.video.frames import read_at
from tempme_jax.video.opening import FileState
from tempme_jax.video.timeline import scan

RATE, ONSET = 16_000, 3.0


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """Work in this process."""
    return toy_index.decode_here(monkeypatch)


def add_sound(path, codec="aac"):
    """Copy a video of five seconds, with a tone that begins after `ONSET` seconds."""
    target = path.with_name(f"sound_{path.name}")
    samples = np.sin(np.arange(5 * RATE) * 2 * np.pi * 440 / RATE).astype(np.float32)[None] / 2
    samples[:, : int(ONSET * RATE)] = 0
    with av.open(str(path)) as source, av.open(str(target), "w") as file:
        pictures = source.streams.video[0]
        copy = file.add_stream_from_template(pictures)
        sound = file.add_stream(codec, rate=RATE, layout="mono")
        for first in range(0, samples.shape[1], 1600):
            piece = np.ascontiguousarray(samples[:, first : first + 1600])
            frame = av.AudioFrame.from_ndarray(piece, "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, first, Fraction(1, RATE)
            file.mux(sound.encode(frame))
        file.mux(sound.encode(None))
        for packet in source.demux(pictures):
            if packet.dts is not None:
                packet.stream = copy
                file.mux(packet)
    return target


def find_onset(path):
    """The second at which the sound of a file begins to be loud."""
    with av.open(str(path)) as file:
        for frame in file.decode(audio=0):
            loud = np.flatnonzero(np.abs(frame.to_ndarray()).max(axis=0) > 0.1)
            if loud.size:
                return float(frame.time) + loud[0] / frame.sample_rate
    return None


def list_levels(path, seconds):
    """About the indices of the frames that are on screen at some seconds, by their brightness."""
    frames, _ = read_at(path, lambda _: map(Fraction, seconds), image_size=32)
    return [float(frame.mean() - compute_brightness(0)) / 4 for frame in frames]


def assert_alike(video, part):
    """Assert that a part shows what its video does from 2.5 to 4.5 s."""
    shown = list_levels(video, [2.55, 3.55, 4.45])
    assert list_levels(part, [0.05, 1.05, 1.95]) == pytest.approx(shown, abs=0.4)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A video of five seconds, ten frames a second, whose decoder reorders."""
    folder = tmp_path_factory.mktemp("film")
    return write_grey_video(folder / "film.mp4", range(50), g="20", bf="2", preset="veryfast")


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_copied_with_its_sound(film, tmp_path, suffix):
    with av.open(str(film)) as source, av.open(str(tmp_path / f"a.{suffix}"), "w") as file:
        copy = file.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                file.mux(packet)
    video = add_sound(tmp_path / f"a.{suffix}")
    saved = save_part(video, 2.5, 4.5, tmp_path / "part.mp4")
    assert saved.copied and saved.seconds == 2.0
    assert_alike(video, saved.file)
    if suffix != "ts":  # there, the picture of this one begins after the sound
        assert list_levels(saved.file, [0.05]) == pytest.approx([25], abs=0.5)
        assert find_onset(saved.file) == pytest.approx(ONSET - 2.5, abs=0.13)
    assert sorted(os.listdir(tmp_path)) == sorted([f"a.{suffix}", video.name, "part.mp4"])


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.avi", "mpeg4", {}),
        ("a.mpg", "mpeg2video", {"strict": "-1"}),
        ("odd.webm", "libvpx-vp9", {"size": (47, 63), "deadline": "realtime"}),
        ("turned.mp4", "libx264", {"rotation": (90,), "g": "50"}),
    ],
)
def test_encoded_upright(tmp_path, name, codec, options):
    video = write_grey_video(tmp_path / name, range(50), codec, **options)
    saved = save_part(video, 2.5, 4.5, tmp_path / "part.mp4", most_side=2000)
    assert not saved.copied
    wide, high = saved.size
    assert wide % 2 == high % 2 == 0 and (wide < high) == name.startswith("turned")
    index = scan(str(saved.file))
    assert (len(index.times), float(index.length)) == (20, 2.0)
    assert_alike(video, saved.file)


def test_encoded_with_its_sound_for_browsers(tmp_path):
    video = write_grey_video(tmp_path / "a.mkv", range(50), "mpeg4")
    saved = save_part(add_sound(video), 2.5, 4.5, tmp_path / "part.mp4", in_browser=True)
    assert not saved.copied and find_onset(saved.file) == pytest.approx(ONSET - 2.5, abs=0.05)
    with av.open(str(saved.file)) as file:
        names = [stream.codec_context.name for stream in file.streams]
    assert names == ["h264", "aac"]


def test_sound_where_recordings_were_laid_end_to_end(film, tmp_path):
    recording = add_sound(write_grey_video(tmp_path / "a.ts", range(50))).read_bytes()
    (tmp_path / "joined.ts").write_bytes(recording + recording)
    lengths = [scan(str(tmp_path / name)).length for name in ("joined.ts", "sound_a.ts")]
    second = float(lengths[0] - lengths[1])  # where the second recording begins
    saved = save_part(tmp_path / "joined.ts", second + 1, second + 4.5, tmp_path / "part.mp4")
    once = save_part(tmp_path / "sound_a.ts", 1, 4.5, tmp_path / "once.mp4", most_side=2000)
    assert not saved.copied
    assert find_onset(saved.file) == pytest.approx(find_onset(once.file), abs=0.1)


def test_a_turned_video_is_copied_with_its_turn(tmp_path):
    video = write_grey_video(tmp_path / "a.mp4", range(20), rotation=(90,))
    saved = save_part(video, 0.5, 1.5, tmp_path / "part.mp4")
    frames, _ = read_at(saved.file, lambda _: [Fraction(0)])
    assert saved.copied and frames.shape[1:3] == (64, 48)


def test_frames_that_are_shown_for_long_keep_their_times(tmp_path):
    video = write_grey_video(tmp_path / "slow.mp4", (0, 50, 100, 150), g="1")
    saved = save_part(video, 7, 14, tmp_path / "part.mp4")
    index = scan(str(saved.file))
    assert [index.find_seconds(time) for time in index.times] == [0.0, 3.0]
    assert not saved.copied and float(index.length) == 7.0


def test_a_part_ends_with_its_video(tmp_path):
    video = write_grey_video(tmp_path / "a.mp4", range(20))
    assert save_part(video, 1, 1e9, tmp_path / "part.mp4").seconds == 1.0
    with pytest.raises(VideoError, match="2.0 s long; nothing is left from 2 s on"):
        save_part(video, 2, 3, tmp_path / "other.mp4")
    with pytest.raises(ValueError, match="not a part of a video"):
        save_part(video, 2, float("nan"), tmp_path / "other.mp4")
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "part.mp4"]


def test_bad_files_leave_nothing(tmp_path):
    video = write_grey_video(tmp_path / "a.mp4", range(20))
    (tmp_path / "page.mp4").write_text("<html>Not found</html>")
    (tmp_path / "link.mp4").symlink_to(video)
    for name, reason in [("page", "not a video"), ("gone", "no such file"), ("link", "a link")]:
        with pytest.raises(VideoError, match=reason):
            save_part(tmp_path / f"{name}.mp4", 0, 1, tmp_path / "part.mp4", root=tmp_path)
    with pytest.raises(VideoError, match="changed"):
        save_part(video, 0, 1, tmp_path / "part.mp4", state=FileState(7, 7))
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "link.mp4", "page.mp4"]


def test_a_full_disk(film, tmp_path, monkeypatch):
    cut = Cut(file=str(film), start=1, end=2, target="/dev/full")
    assert cut_part(cut) == DiskFailure(errno.ENOSPC)
    monkeypatch.setattr(cutting, "cut_part", lambda cut: DiskFailure(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left on device.*part.mp4"):
        save_part(film, 1, 2, tmp_path / "part.mp4")
    assert os.listdir(tmp_path) == []


def test_a_reel_leaves_out_what_cannot_be_read(film, tmp_path):
    tall = write_grey_video(tmp_path / "tall.mp4", range(20), size=(120, 64))
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    files = [tmp_path / "bad.mp4", add_sound(film), tall]
    cuts = [Cut(file=str(file), start=0.5, end=1.5) for file in files]
    with Reel(tmp_path / "reel.mp4") as reel:
        bad, first, second = reel.add(cuts)
        reel.finish()
    assert isinstance(bad, VideoError) and first.size == second.size == (64, 48)
    index = scan(str(tmp_path / "reel.mp4"))
    assert (len(index.times), float(index.length)) == (20, 2.0)
    frames, _ = read_at(tmp_path / "reel.mp4", lambda _: [Fraction(1, 20), Fraction(21, 20)])
    assert frames[0, 24].mean() == pytest.approx(compute_brightness(5), abs=3)
    middle = frames[1, 24, 22:42].mean()
    assert middle == pytest.approx(compute_brightness(5), abs=3) and frames[1, :, :15].max() < 20
    with av.open(str(tmp_path / "reel.mp4")) as file:
        assert sum(frame.samples for frame in file.decode(audio=0)) == pytest.approx(
            96_000, abs=2e3
        )
