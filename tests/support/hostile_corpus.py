"""A folder of 120 files named as videos, of which 30 are unusable, some of them on purpose."""

import io
import os
import stat
import struct
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from video_files import KINDS, SLOW, UNEVEN, Films, encode_cover, encode_sound

MINUTE = range(0, 600, 10)  # when frames come, in tenths of a second


@dataclass
class Corpus:
    """What `write` wrote.

    Attributes:
        folder: the folder of the 120 files.
        good: the paths of the usable files, from there, as `os.fsencode` gives them.
        bad: path -> part of the reason for which an unusable file is refused.
        copies: path -> path of another good file that holds the same.
        audio: those of the bad paths that are music, which an index passes over.
        outside: a video beside the folder, which play lists and links name, and nobody may open.
    """

    folder: Path
    outside: Path
    good: list[bytes] = field(default_factory=list)
    bad: dict[bytes, str] = field(default_factory=dict)
    copies: dict[bytes, bytes] = field(default_factory=dict)
    audio: list[bytes] = field(default_factory=list)

    def place(self, name: str | bytes) -> bytes:
        """The whole path of a file, in a folder that is there."""
        path = os.path.join(os.fsencode(self.folder), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def keep(self, name: str | bytes, content: bytes) -> None:
        """Writes a usable file."""
        with open(self.place(name), "xb") as file:
            file.write(content)
        self.good.append(os.fsencode(name))

    def spoil(self, name: str, content: bytes, reason: str) -> None:
        """Writes an unusable file."""
        with open(self.place(name), "xb") as file:
            file.write(content)
        self.bad[os.fsencode(name)] = reason


def write(folder: Path) -> Corpus:
    """Writes the 120 files to folder/videos, and one beside it, in about two seconds."""
    corpus = Corpus(folder / "videos", folder / "outside.mp4")
    scratch = folder / "scratch"
    scratch.mkdir()
    film = Films(scratch)
    corpus.outside.write_bytes(film("mp4"))
    for part in (containers, rhythms, shapes, oddities, names, cut_or_damaged):
        part(corpus, film)
    for part in (others_than_videos, cut_too_short, without_pictures, too_large, no_files):
        part(corpus, film)
    for file in scratch.iterdir():
        file.unlink()
    scratch.rmdir()
    assert (len(corpus.good), len(corpus.bad)) == (90, 30)
    return corpus


def containers(corpus, film):
    """23 files: every container, and codecs in them."""
    for suffix in KINDS:
        corpus.keep(f"plain.{suffix}", film(suffix))
    for suffix in ("mp4", "mkv", "ts"):
        corpus.keep(f"hevc.{suffix}", film(suffix, codec="libx265"))
    for suffix in ("mp4", "webm"):
        corpus.keep(f"av1.{suffix}", film(suffix, codec="libsvtav1"))
    for codec, name in (("flv", "sorenson.flv"), ("mjpeg", "motion.avi"), ("ffv1", "exact.mkv")):
        corpus.keep(name, film(name[-3:], codec=codec))
    for codec, name in (("libvpx-vp9", "vp9.mp4"), ("mpeg4", "part2.mp4"), ("h263", "h263.3gp")):
        size = {"size": (96, 128)} if codec == "h263" else {}
        corpus.keep(name, film(name[-3:], codec=codec, **size))


def rhythms(corpus, film):
    """19 files: one frame, five seconds a frame, uneven frames, and a minute."""
    for suffix in ("mp4", "mkv", "mov", "ts", "webm", "avi"):
        corpus.keep(f"frames/one.{suffix}", film(suffix, (0,)))
    for suffix in ("mp4", "mkv", "ts", "webm"):
        corpus.keep(f"frames/slow.{suffix}", film(suffix, SLOW))
    for suffix in ("mp4", "mkv", "webm"):
        corpus.keep(f"frames/uneven.{suffix}", film(suffix, UNEVEN))
    for suffix in ("mp4", "mkv", "webm", "avi"):
        corpus.keep(f"frames/minute.{suffix}", film(suffix, MINUTE))
    corpus.keep("frames/late.mkv", film("mkv", range(70, 90)))
    # An edit list cuts away what comes before time 0.
    corpus.keep("frames/edited.mp4", film("mp4", range(-13, 20), g="10", bf="0"))


def shapes(corpus, film):
    """10 files: turned, of odd sizes, long and narrow, and with pixels that are not square."""
    for turn in ((90,), (180,), (270,), (0, True)):
        name = f"shapes/turned{'-'.join(map(str, turn))}.mp4"
        corpus.keep(name, film("mp4", rotation=turn))
    corpus.keep("shapes/odd.webm", film("webm", size=(47, 63)))
    corpus.keep("shapes/odd.avi", film("avi", size=(37, 51)))
    corpus.keep("shapes/tiny.mkv", film("mkv", size=(2, 2), codec="ffv1"))
    corpus.keep("shapes/wide.mp4", film("mp4", size=(16, 480)))
    corpus.keep("shapes/tall.mkv", film("mkv", size=(480, 16)))
    corpus.keep("shapes/anamorphic.mp4", film("mp4", **{"x264-params": "sar=4/3"}))


def oddities(corpus, film):
    """12 files: sound, a cover, other contents than the suffix says, lies, and two sizes."""
    for suffix, codec in (("mp4", "aac"), ("mkv", "aac"), ("webm", "libopus"), ("ts", "aac")):
        corpus.keep(f"odd/sound.{suffix}", film(suffix, sound=codec))
    corpus.keep("odd/cover.mp4", film("mp4", cover=True))
    corpus.keep("odd/really_webm.mp4", film("webm"))
    corpus.keep("odd/really_mp4.avi", film("mp4"))
    corpus.keep("odd/fragments.mp4", film("mp4", movflags="frag_keyframe+empty_moov", g="4"))
    corpus.keep("odd/index_at_the_end.mov", film("mov", movflags=""))
    eleven_days = b"\x44\x89\x88" + struct.pack(">d", 1e9)  # in milliseconds
    corpus.keep("odd/lasts_11_days.mkv", patch_bytes(film("mkv"), b"\x44\x89\x88", 0, eleven_days))
    corpus.keep("odd/trailing.mp4", film("mp4") + b"\0garbage" * 100)
    corpus.keep("odd/two_sizes.ts", film("ts") + film("ts", range(12, 24), size=(96, 128)))


def names(corpus, film):
    """14 files with odd names, folders and copies."""
    odd = [
        b"latin \xe9t\xe9.mp4", "ünï 視頻 🎬.mp4", "it's \"quoted\".mp4", "two\nlines.mp4",
        "<img src=x onerror=alert(1)>.mp4", "\x1b[31mred\x1b[0m.mp4", "concat:a|b.mp4",
        "-rf $(x) %00.mp4", "n" * 251 + ".mp4", "LOUD.MP4", "deep/" * 40 + "down.mp4",
        "folder.mp4/in it.mkv",
    ]  # fmt: skip
    for name in odd:
        corpus.keep(name, film("mp4"))
    for name, original in (("copies/plain.mp4", b"plain.mp4"), ("copies/b.mov", b"plain.mov")):
        corpus.keep(name, Path(os.fsdecode(corpus.place(original))).read_bytes())
        corpus.copies[os.fsencode(name)] = original


def cut_or_damaged(corpus, film):
    """12 files that are cut short or have bits flipped, with frames that can still be read."""
    for suffix in ("mp4", "mkv", "ts", "avi", "webm", "flv"):
        whole = film(suffix, range(40))
        corpus.keep(f"hurt/cut.{suffix}", whole[: len(whole) * 7 // 10])
        random = np.random.default_rng(0)
        damaged = np.frombuffer(film(suffix, range(40)), np.uint8).copy()
        where = random.integers(len(damaged) // 2, len(damaged) * 3 // 4, 20)
        damaged[where] ^= 1 << random.integers(0, 8, 20, np.uint8)
        corpus.keep(f"hurt/flipped.{suffix}", damaged.tobytes())


def others_than_videos(corpus, film):
    """14 files that are something else, or nothing."""
    pictures = {}
    for kind in ("jpeg", "gif", "png"):
        Image.new("RGB", (64, 48), "red").save(file := io.BytesIO(), kind)
        pictures[kind] = file.getvalue()
    with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
        archive.writestr(zipfile.ZipInfo("plain.mp4"), film("mp4"))
    outside = os.fsdecode(corpus.outside)
    corpus.spoil("other/empty.mp4", b"", "an empty file")
    corpus.spoil("other/empty.mkv", b"", "an empty file")
    corpus.spoil("other/text.mp4", b"This is a text about a cat.\n" * 100, "not a video (text)")
    page = b"<!DOCTYPE html><title>404 Not Found</title>"
    corpus.spoil("other/page.avi", page, "not a video (a web page")
    corpus.spoil("other/random.mp4", np.random.default_rng(0).bytes(20_000), "an unknown format")
    corpus.spoil("other/zeros.ts", bytes(20_000), "only zeros")
    corpus.spoil("other/archive.mp4", file.getvalue(), "an archive, zip")
    corpus.spoil("other/jpeg.mp4", pictures["jpeg"], "a picture, JPEG")
    corpus.spoil("other/gif.mov", pictures["gif"], "a picture, GIF")
    corpus.spoil("other/png.mkv", pictures["png"], "a picture, PNG")
    subtitles = b"1\n00:00:01,000 --> 00:00:02,000\nA cat.\n"
    corpus.spoil("other/subtitles.mkv", subtitles, "not a video (subtitles)")
    list_of_files = f"ffconcat version 1.0\nfile '{outside}'\n".encode()
    corpus.spoil("other/list.mp4", list_of_files, "not a video (a play list)")
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{outside}\n#EXT-X-ENDLIST\n"
    corpus.spoil("other/hls.mp4", hls.encode(), "not a video (a play list)")
    dash = (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet '
        'mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>'
        f"file://{outside}</BaseURL></Representation></AdaptationSet></Period></MPD>"
    )
    corpus.spoil("other/dash.mp4", dash.encode(), "not a video (a play list)")


def cut_too_short(corpus, film):
    """6 files that end before what is needed to read any of their frames."""
    end, front = film("mp4", movflags=""), film("mp4")
    no_index = "cut short (its index, moov, is missing"
    corpus.spoil("short/name_of_the_format.mp4", end[:32], no_index)
    corpus.spoil("short/half_the_frames.mp4", end[: end.index(b"moov") // 2], no_index)
    corpus.spoil("short/all_the_frames.mp4", end[: end.index(b"moov") - 4], no_index)
    corpus.spoil("short/half_the_index.mp4", front[: front.index(b"mdat") // 2], "cut short (")
    corpus.spoil("short/index.mp4", front[: front.index(b"mdat") + 4], "cut short (")
    corpus.spoil("short/name_of_the_format.mkv", film("mkv")[:40], "cut short (it has no frames")


def without_pictures(corpus, film):
    """3 files with sound alone, or with the cover of a song besides."""
    sound, cover = encode_sound(film.scratch / "sound.mp4"), film.scratch / "cover"
    corpus.spoil("sound/alone.mp4", sound.read_bytes(), "no video stream")
    corpus.spoil("sound/cover.mp4", encode_cover(cover, "mp4").read_bytes(), "no video stream")
    corpus.spoil("sound/song.mp4", encode_cover(cover, "mp3").read_bytes(), "audio only, MP3")
    corpus.audio = [b"sound/alone.mp4", b"sound/cover.mp4", b"sound/song.mp4"]


def too_large(corpus, film):
    """2 small files whose frames would take gigabytes."""
    # 256 x 256 as the container says it, which this codec believes, becomes 8192 x 8192.
    bomb = film("mkv", (0,), codec="ffv1", size=(256, 256))
    bomb = patch_bytes(bomb, b"\xb0\x82\x01\x00\xba\x82\x01\x00", 2, b"\x20\x00\xba\x82\x20\x00")
    corpus.spoil("large/bomb.mkv", bomb, "no frame size, or frames larger than 35389440 pixels")
    line = film("mkv", (0,), codec="ffv1", size=(1, 65535))
    corpus.spoil("large/line.mkv", line, "frame larger than")


def no_files(corpus, film):
    """5 names that are no regular file below the folder, or none that may be read."""
    os.mknod(corpus.place("strange/fifo.mp4"), stat.S_IFIFO | 0o600)
    os.mknod(corpus.place("strange/socket.mp4"), stat.S_IFSOCK | 0o600)
    os.symlink(os.fsencode(corpus.outside), corpus.place("strange/leads_out.mp4"))
    os.symlink(b"missing.mp4", corpus.place("strange/broken.mp4"))
    corpus.bad |= {
        b"strange/fifo.mp4": "not a regular file",
        b"strange/socket.mp4": "not a regular file",
        b"strange/leads_out.mp4": "a link that leads out of the folder",
        b"strange/broken.mp4": "a link to nothing",
    }
    if os.geteuid() == 0:  # who may read everything
        corpus.spoil("strange/locked.mp4", b"%PDF-1.7\n", "a PDF document")
    else:
        corpus.spoil("strange/locked.mp4", film("mp4"), "no permission to read it")
        os.chmod(corpus.place("strange/locked.mp4"), 0)


def patch_bytes(content, mark, offset, new):
    """A file with other bytes at an offset from the only place of a mark."""
    assert content.count(mark) == 1
    start = content.index(mark) + offset
    return content[:start] + new + content[start + len(new) :]
