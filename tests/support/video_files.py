"""Video files for the tests, good and damaged, and a data set of any files."""

import io
import itertools
import os
import time

import av
import numpy as np
from av.stream import Disposition
from PIL import Image

from tempme_jax.datasets.base import Storage, Video
from tempme_jax.datasets.prepare import VideoText
from tempme_jax.video import progress, workers

WIDTH, HEIGHT = 64, 48
# The AV1 encoder writes its settings to stderr, unless told otherwise before its first use.
os.environ.setdefault("SVT_LOG", "1")

VP9 = {"deadline": "realtime", "cpu-used": "8", "g": "10"}
AV1 = {"preset": "12", "g": "10", "svtav1-params": "lp=1"}
H264 = {"preset": "ultrafast", "g": "10"}
MPEG2 = {"strict": "-1"}  # or it refuses to write 10 frames a second
H265 = {"preset": "ultrafast", "x265-params": "log-level=none:pools=none:frame-threads=1"}
OPTIONS = {
    "libx264": H264, "libx265": H265, "libvpx-vp9": VP9, "libsvtav1": AV1,
    "mpeg1video": MPEG2, "mpeg2video": MPEG2,
}  # fmt: skip
# By suffix, unless said otherwise: libav's name of the container, and the codec.
KINDS = {
    "mp4": ("mp4", "libx264"), "mkv": ("matroska", "libx264"), "mov": ("mov", "libx264"),
    "webm": ("webm", "libvpx-vp9"), "avi": ("avi", "mpeg4"), "ts": ("mpegts", "libx264"),
    "flv": ("flv", "libx264"), "mpg": ("mpeg", "mpeg2video"), "wmv": ("asf", "wmv2"),
    "m4v": ("mp4", "libx264"), "3gp": ("3gp", "libx264"), "mts": ("mpegts", "libx264"),
}  # fmt: skip
UNEVEN = (0, 3, 6, 10, 15, 16, 17, 30, 33)
SLOW = (0, 50, 100, 150)


def compute_brightness(index):
    return 20 + 4 * index


def find_shown_index(frame):
    """The index of the frame whose brightness this is; coding moves it by less than 2."""
    return round((float(frame.mean()) - 20) / 4)


def encode(path, pictures, codec="libx264", *, times=None, rotation=None, title=None, **options):
    """Write uint8 pictures [height, width, 3], one at each of `times` in tenths of a second."""
    # The index goes to the front of an mp4, so that a truncated one can still be read.
    mp4 = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", container_options=mp4) as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        if rotation is not None:
            stream.set_display_rotation(*rotation)
        if title is not None:
            container.metadata["title"] = title
        for picture, time in zip(pictures, times or range(len(pictures)), strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = time
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def encode_sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


class Listed(VideoText, skip_registration=True):
    """A set of given videos."""

    listed: dict

    def list_videos(self, split):
        return self.listed[split]


def make_listed_set(folder, /, **splits):
    """A set whose splits have the given videos, stored as a few small frames of each."""
    config = Storage(size=32, fps=2, least=4, most=8)
    builder = Listed(data_dir=folder / "prepared", root=folder, config=config)
    builder.SPLITS, builder.listed = tuple(splits), splits
    return builder


def make_video_entry(path, **said):
    return Video(id=path.name, file=path, captions=(f"about {path.name}", "a cat"), **said)


def write_grey_video(
    path, times=range(9), codec="libx264", size=(HEIGHT, WIDTH), first=0, **options
):
    """A video whose frame i, counted from `first`, has compute_brightness(i).

    Frame first + i comes at times[i] tenths of a second.
    """
    noise = np.random.default_rng(0).integers(-12, 13, (len(times), *size, 3))
    values = [compute_brightness(first + i) for i in range(len(times))]
    pictures = [(values[i] + noise[i]).astype(np.uint8) for i in range(len(times))]
    options = options or {"libx264": H264, "libvpx-vp9": VP9, "libsvtav1": AV1}.get(codec, {})
    rotation = options.pop("rotation", None)
    return encode(path, pictures, codec, times=list(times), rotation=rotation, **options)


def find_shown_indices(jpegs):
    """The indices of frames of `write_grey_video`, from their brightness."""
    means = [np.asarray(Image.open(io.BytesIO(jpeg))).mean() for jpeg in jpegs]
    return [round((mean - compute_brightness(0)) / 4) for mean in means]


def write_good_videos(folder):
    """45 files, and which frame comes when, in tenths of a second; None for those cut short."""
    made = {}

    def make(name, times=range(25), codec="libx264", **options):
        write_grey_video(folder / name, times, codec, **options)
        made[folder / name] = {time: i for i, time in enumerate(times) if time >= 0}

    make("plain.flv")
    for suffix in ("mp4", "mkv", "mov", "ts"):
        for count in (7, 24, 50):
            make(f"plain{count}.{suffix}", range(count))
    for suffix in ("webm", "mkv"):
        make(f"vp9.{suffix}", codec="libvpx-vp9")
        make(f"uneven_vp9.{suffix}", UNEVEN, codec="libvpx-vp9")
    for suffix in ("mp4", "webm", "mkv"):
        make(f"av1.{suffix}", codec="libsvtav1")
    for suffix in ("mp4", "mkv", "ts"):
        make(f"one.{suffix}", (0,))
        make(f"slow.{suffix}", SLOW)
    for suffix in ("mp4", "mkv"):
        make(f"uneven.{suffix}", UNEVEN, g="4", bf="0")
    make("late.mkv", range(7, 30))
    # An edit list cuts away what comes before time 0.
    for name, before in (("edited.mp4", 13), ("edited.mov", 5), ("edited_twice.mp4", 21)):
        make(name, range(-before, 20), g="10", bf="0", sc_threshold="0")
    for turn in ((90,), (180,), (270,), (0, True)):
        make(f"turned{'-'.join(map(str, turn))}.mp4", rotation=turn)
    make("odd.webm", codec="libvpx-vp9", size=(47, 63))
    make("odd.avi", codec="mpeg4", size=(37, 51))
    make("tall.mp4", size=(120, 16))
    make("wide name, ünïcode.MP4", size=(16, 120))
    for suffix in ("mp4", "mkv", "ts", "avi", "webm"):
        codec = {"avi": "mpeg4", "webm": "libvpx-vp9"}.get(suffix, "libx264")
        whole = write_grey_video(folder / f"cut.{suffix}", range(50), codec).read_bytes()
        (folder / f"cut.{suffix}").write_bytes(whole[: len(whole) * 7 // 10])
        made[folder / f"cut.{suffix}"] = None
    return made


def write_damaged_videos(folder):
    """15 files, and how the reason begins for which they are bad."""
    made = {}

    def make(name, content, reason="not a video"):
        (folder / name).write_bytes(content)
        made[folder / name] = reason

    whole = write_grey_video(folder / "whole.mov", range(50)).read_bytes()
    front = write_grey_video(folder / "front.mp4", range(50)).read_bytes()
    matroska = write_grey_video(folder / "front.mkv", range(50)).read_bytes()
    make("whole.mov", whole[: len(whole) * 7 // 10], "cut short (its index, moov, is missing")
    make("front.mp4", front[:500], "cut short (500 bytes of at least")
    make("front.mkv", matroska[:40], "cut short (it has no frames")
    for suffix in ("mp4", "mkv", "ts"):
        make(f"empty.{suffix}", b"", "an empty file")
    make("text.mp4", b"This is a text about a cat.\n" * 100)
    make("page.avi", b"<!DOCTYPE html><title>404 Not Found</title>")
    make("list.webm", b"ffconcat version 1.0\nfile plain50.mp4\n")
    for suffix in ("mp4", "mkv", "mov"):
        made[encode_sound(folder / f"sound.{suffix}")] = "no video stream"
    for name, kind in (("cover.mp4", "mp4"), ("cover.mov", "mov"), ("cover.avi", "mp3")):
        reason = "not a video" if kind == "mp3" else "no video stream"
        made[encode_cover(folder / name, kind)] = reason
    return made


def encode_cover(path, kind):
    """A picture that belongs to a song, which libav takes for a video of one frame."""
    with av.open(str(path), "w", format=kind) as container:
        codec = "libmp3lame" if kind == "mp3" else "aac"
        sound = container.add_stream(codec, rate=16000, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 99, np.uint8), format="rgb24")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 576), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux(cover.encode(picture.reformat(format="yuvj420p")))
        container.mux(cover.encode())
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
    return path


def decode_or_worse(request):
    """Decode a file, or fail as its name says; called in child processes."""
    name = os.path.basename(request.file)
    if name.startswith("abort"):
        os.abort()
    if name.startswith("hang"):
        time.sleep(600)
    if name.startswith("greedy"):
        np.ones(2**33, np.uint8)
    if name.startswith("raise"):
        raise ZeroDivisionError("no such luck")
    return workers.decode_file(request)


def make_progress(request):
    """Do what the request's name says; called in child processes."""
    if request.file.startswith("pid"):
        return os.getpid()
    if request.file == "stuck":
        time.sleep(30)
    for _ in range(15):
        progress.report_progress()
        time.sleep(0.1)
    return "done"


def exit_at_once(*args):
    """Fail as processes do that cannot start; called in child processes."""
    os._exit(7)


class Films:
    """Makes videos, none like another, from seeds that are alike in every run."""

    def __init__(self, scratch):
        self.scratch, self.seeds = scratch, itertools.count()

    def __call__(
        self,
        suffix,
        times=range(12),
        *,
        codec=None,
        size=(HEIGHT, WIDTH),
        rotation=(),
        sound="",
        cover=False,
        movflags="faststart",
        **options,
    ):
        """A video file of uint8 noise whose frames come at `times`, in tenths of a second."""
        kind, usual = KINDS[suffix]
        codec = codec or usual
        flags = {"movflags": movflags} if movflags and kind in ("mp4", "mov", "3gp") else {}
        path = self.scratch / f"film.{suffix}"
        container_options = {"fflags": "+bitexact", **flags}
        with av.open(str(path), "w", format=kind, container_options=container_options) as container:
            stream = container.add_stream(codec, rate=10, options=OPTIONS.get(codec, {}) | options)
            stream.height, stream.width = size
            stream.codec_context.thread_count = 1  # starting more takes longer than such frames
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            if rotation:
                stream.set_display_rotation(*rotation)
            others = [add_sound(container, sound)] if sound else []
            others += [add_cover(container)] if cover else []
            for frame in self.frames(times, size):
                container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
            container.mux(stream.encode())
            for other, frame in others:
                container.mux(other.encode(frame))
                container.mux(other.encode())
        return path.read_bytes()

    def frames(self, times, size):
        """Frames of slightly noisy grey that gets brighter."""
        random = np.random.default_rng(next(self.seeds))
        for number, moment in enumerate(times):
            picture = random.integers(0, 25, (*size, 3)) + 20 + 200 * number // len(times)
            frame = av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")
            frame.pts = moment
            yield frame


def add_sound(container, codec):
    """A stream of silence and the one frame that it holds."""
    stream = container.add_stream(codec, rate=48000, layout="mono")
    kind = "flt" if codec == "libopus" else "fltp"
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.float32), kind, "mono")
    frame.sample_rate, frame.pts = 48000, 0
    return stream, frame


def add_cover(container):
    """A stream for the cover of a song, and the cover."""
    stream = container.add_stream("mjpeg", rate=1)
    stream.width, stream.height, stream.pix_fmt = 32, 32, "yuvj420p"
    stream.disposition = Disposition.attached_pic
    frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 99, np.uint8), format="rgb24")
    return stream, frame.reformat(format="yuvj420p")
