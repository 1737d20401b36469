"""Where no frame can be read from a file, the reason is what the file is."""

import gzip
import io
import os
import pickle
import zipfile

import numpy as np
import pytest
from PIL import Image
from video_files import encode_cover, encode_sound, write_grey_video

from tempme_jax.video import kinds
from tempme_jax.video.frames import VideoError, read_frames

HEADS = {
    "a.mp4": (b"", "an empty file", ""),
    "b.mp4": (b"A cat. ", "not a video (text)", kinds.TEXT),
    "c.mp4": ("Ein Kätzchen.".encode("latin-1"), "not a video (text)", kinds.TEXT),
    "d.mp4": ("A cat.".encode("utf-16"), "not a video (text)", kinds.TEXT),
    "e.mp4": (b"\n<!-- x --><!DOCTYPE html><html>", "a web page, as of failed downloads", ""),
    "f.mp4": (b'{"error": 404}', "text, as JSON or an error message", kinds.TEXT),
    "g.mp4": (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git to", ""),
    "h.mp4": (b"#EXTM3U\n#EXTINF:9,\n", "a play list", kinds.TEXT),
    "i.mp4": (b"d8:announce30:http://", "a torrent without its files", kinds.OTHER),
    "j.mp4": (b"1\n00:00:01,000 --> 00:00:02,000\nA", "subtitles", kinds.TEXT),
    "code.ts": (b"export const a: number = 1;\n", "text, as of a program", kinds.SOURCE),
    "code.mts": ("let ü = 1".encode("utf-16"), "text, as of a program", kinds.SOURCE),
    "go.mod": (b"module example.org/x\n\ngo 1.20\n", "text, as of a program", kinds.SOURCE),
    "de.ts": (
        b'<?xml version="1.0"?>\n<!DOCTYPE TS>\n<TS>', "a translation of Qt", kinds.SOURCE
    ),
    "tune.mod": (bytes([65] * 1080) + b"M.K." + bytes(99), "a tracker module", kinds.AUDIO),
    "fortran.mod": (gzip.compress(b"GFORTRAN"), "an archive, gzip", kinds.ARCHIVE),
    "k.mp4": (b"Rar!\x1a\7\0", "an archive, rar", kinds.ARCHIVE),
    "l.mp4": (b"%PDF-1.7\n%\xe2\xe3", "a PDF document", kinds.OTHER),
    "m.mkv": (bytes(50_000), "only zeros", ""),
    "n.mkv": (bytes(50_000) + b"x" * 9999, "cut short (it begins with zeros", ""),
    "o.mp4": (b"\x93\x01\x80" * 9, "an unknown format; it begins with 93 01 80 93 01", ""),
    "q.mkv": (b"\x1a\x45\xdf\xa3" + b"\x93" * 60_000, "damaged (it begins as Matroska", ""),
    "r.mp4": (b"CWS\x0a" + b"\x93" * 99, "a format that is not read (a Flash program)", ""),
    "p.mp4": (b"ID3\4" + bytes(99), "audio only, MP3", kinds.AUDIO),
}  # fmt: skip


def read_error(path):
    with pytest.raises(VideoError) as caught:
        read_frames(path, 2, image_size=32)
    return caught.value


@pytest.mark.parametrize("name", HEADS)
def test_what_is_no_video(tmp_path, name):
    content, reason, kind = HEADS[name]
    (tmp_path / name).write_bytes(content)
    error = read_error(tmp_path / name)
    assert reason in error.reason
    assert error.kind == kind
    assert pickle.loads(pickle.dumps(error)).kind == kind


def test_pictures_and_archives(tmp_path):
    for kind in ("jpeg", "png", "gif", "webp", "tiff"):
        Image.new("RGB", (64, 48), "red").save(file := io.BytesIO(), kind)
        (tmp_path / "a.mp4").write_bytes(file.getvalue())
        error = read_error(tmp_path / "a.mp4")
        assert error.reason.lower().startswith(f"not a video (a picture, {kind}")
        assert error.kind == kinds.PICTURE
    with zipfile.ZipFile(tmp_path / "b.mp4", "w") as archive:
        archive.writestr("a.mp4", b"film")
    assert read_error(tmp_path / "b.mp4").reason == "not a video (an archive, zip)"


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "ts", "3gp"])
def test_audio(tmp_path, suffix):
    error = read_error(encode_sound(tmp_path / f"a.{suffix}"))
    assert (error.reason, error.kind) == ("no video stream (audio only)", kinds.AUDIO)


def test_a_song_with_its_cover(tmp_path):
    error = read_error(encode_cover(tmp_path / "a.m4v", "mp4"))
    assert error.kind == kinds.AUDIO


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """The bytes of a film in some containers."""
    folder = tmp_path_factory.mktemp("films")
    codecs = {"mp4": "libx264", "mkv": "libx264", "ts": "libx264", "avi": "mpeg4", "wmv": "wmv2"}
    return {
        suffix: write_grey_video(folder / f"a.{suffix}", codec=codec, size=(64, 64)).read_bytes()
        for suffix, codec in codecs.items()
    }


def test_what_is_cut_short(films, tmp_path):
    film = films["mp4"]
    moov, mdat = film.index(b"moov") - 4, film.index(b"mdat") - 4
    matroska = films["mkv"]
    ends = {
        "unfinished.mp4": film[:moov] + film[mdat:],
        "in_its_index.mp4": film[: (moov + mdat) // 2],
        "without_frames.mp4": film[: mdat + 8],
        "a.mkv": matroska[: matroska.index(b"\x1f\x43\xb6\x75")],
        "a.avi": films["avi"][: films["avi"].index(b"movi")],
    }
    reasons = {}
    for name, content in ends.items():
        (tmp_path / name).write_bytes(content)
        error = read_error(tmp_path / name)
        assert (error.reason[:11], error.kind) == ("cut short (", "")
        reasons[name] = error.reason[11:]
    assert reasons["unfinished.mp4"].startswith("its index, moov, is missing")
    assert reasons["without_frames.mp4"] == f"{mdat + 8} bytes of at least {len(film)})"


def test_encrypted(films, tmp_path):
    """Marks as of protected files; what is really encrypted need not fail to decode."""
    scrambled, wmv = bytearray(films["ts"]), films["wmv"]
    for place in range(0, len(scrambled), 188):
        scrambled[place + 3] |= 0x80
    drm = bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e")
    encodings = bytes.fromhex("6d808a 6240 87 50358431 00 00".replace(" ", ""))
    protected = {
        "a.mp4": (films["mp4"].replace(b"avc1\0\0\0\0", b"encv\0\0\0\0"), "common encryption"),
        "b.mp4": (films["mp4"].replace(b"avc1\0\0\0\0", b"drmi\0\0\0\0"), "FairPlay"),
        "a.ts": (bytes(scrambled), "a scrambled broadcast"),
        "a.wmv": (wmv[:30] + drm + wmv[46:], "Windows Media DRM"),
        "a.mkv": (films["mkv"].replace(b"\x86\x8fV_MPEG4", encodings + b"\xec\x87"), "Matroska"),
    }
    for name, (content, reason) in protected.items():
        (tmp_path / name).write_bytes(content)
        error = read_error(tmp_path / name)
        assert error.reason.startswith("encrypted (") and reason in error.reason, name
        assert error.kind == ""


def test_unknown_codecs_are_named(films, tmp_path):
    unknown = {
        "a.mp4": (films["mp4"].replace(b"avc1\0\0\0\0", b"zzzz\0\0\0\0"), "(zzzz)"),
        "a.mkv": (films["mkv"].replace(b"V_MPEG4/ISO/", b"V_QQQQQ/ISO/"), "(V_QQQQQ/ISO/AVC)"),
        "a.avi": (films["avi"].replace(b"FMP4", b"QQQQ"), "(QQQQ)"),
    }  # fmt: skip
    for name, (content, codec) in unknown.items():
        (tmp_path / name).write_bytes(content)
        assert read_error(tmp_path / name).reason == f"its codec cannot be decoded {codec}"


def test_any_bytes_have_a_reason(films, tmp_path):
    """Cut and damaged anywhere, a file is read or refused with a VideoError."""
    random, path = np.random.default_rng(0), tmp_path / "a.mp4"
    for number in range(60):
        film = bytearray(films[("mp4", "mkv", "wmv")[number % 3]])
        for place in random.integers(0, 300, 5):
            film[place] = random.integers(256)
        path.write_bytes(film[: random.integers(len(film))] if number % 2 else film)
        try:
            read_frames(path, 2, image_size=32)
        except VideoError as error:
            assert error.reason


def test_which_files_are_passed_over():
    assert kinds.is_passed_over("a.mp4", kinds.AUDIO)
    assert kinds.is_passed_over(b"a.TS", kinds.SOURCE)
    assert not kinds.is_passed_over("a.mp4", kinds.TEXT)
    assert not kinds.is_passed_over("a.ts", "")


def test_nothing_is_left_open(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"A cat.")
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    for _ in range(5):
        read_error(tmp_path / "a.mp4")
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before
