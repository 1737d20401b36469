"""Frames and times of every kind of video equal those that the program ffmpeg decodes itself."""

import bisect
import re
import shutil
import subprocess

import numpy as np
import pytest

from tempme_jax.video.frames import read_at
from tempme_jax.video.timeline import scan

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the program ffmpeg"),
]

WIDTH, HEIGHT, RATE, SECONDS = 96, 64, 10, 6
# Seconds: so near to the edge of a frame, either is right. Versions of ffmpeg differ in whether the
# sound that an encoder adds at the start counts.
SLACK = 0.016
X264 = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "20"]
X265 = ["-c:v", "libx265", "-pix_fmt", "yuv420p", "-x265-params", "log-level=none:keyint=20"]
VP8 = ["-c:v", "libvpx", "-g", "20", "-deadline", "realtime", "-auto-alt-ref", "1"]
VP9 = ["-c:v", "libvpx-vp9", "-g", "20", "-deadline", "realtime", "-cpu-used", "8"]
AV1 = ["-c:v", "libsvtav1", "-preset", "12", "-g", "20"]
MPEG2 = ["-c:v", "mpeg2video", "-q:v", "3", "-bf", "2"]
MPEG4 = ["-c:v", "mpeg4", "-q:v", "3", "-g", "20"]
THEORA = ["-c:v", "libtheora", "-q:v", "8", "-g", "20"]
# Every third frame, then all, then a still.
UNEVEN = [
    "-vf",
    "select=not(mod(n\\,3))*lt(n\\,30)+between(n\\,30\\,40)+eq(n\\,59)",
    "-vsync",
    "vfr",
]

KINDS = {
    "h264.mp4": X264,
    "h264.mov": X264,
    "h264.mkv": X264,
    "h264.ts": X264,
    "h264.flv": X264,
    "h264_no_b.avi": [*X264, "-bf", "0"],
    "h264_pyramid.mkv": [*X264, "-bf", "8", "-b_strategy", "0", "-x264-params", "b-pyramid=strict"],
    "h264_open_gop.ts": [*X264, "-x264-params", "open-gop=1:bframes=3"],
    "h264_open_gop.mp4": [*X264, "-x264-params", "open-gop=1:bframes=3"],
    "h264_refresh.ts": [*X264, "-x264-params", "intra-refresh=1"],
    "h264_refresh.mkv": [*X264, "-x264-params", "intra-refresh=1"],
    "h264_one_key.mp4": [*X264, "-x264-params", "keyint=infinite:scenecut=0"],
    "h264_fragmented.mp4": [*X264, "-movflags", "frag_keyframe+empty_moov"],
    "h264_uneven.mp4": [*X264, *UNEVEN],
    "h264_uneven.mkv": [*X264, *UNEVEN],
    "hevc.mp4": X265,
    "hevc.mkv": X265,
    "hevc.ts": X265,
    "hevc_open_gop.mp4": [*X265[:-1], "log-level=none:keyint=20:open-gop=1"],
    "vp8.webm": VP8,
    "vp9.webm": VP9,
    "vp9.mp4": VP9,
    "vp9_alt.webm": [*VP9[:3], "20", "-deadline", "good", "-cpu-used", "5", "-lag-in-frames", "16"],
    "vp9_uneven.webm": [*VP9, *UNEVEN],
    "av1.mp4": AV1,
    "av1.mkv": AV1,
    "mpeg1.mpg": ["-c:v", "mpeg1video", "-q:v", "3", "-bf", "2", "-r", "25"],
    "mpeg2.mpg": [*MPEG2, "-r", "25"],
    "mpeg2.ts": [*MPEG2, "-r", "25"],
    "mpeg2.vob": [*MPEG2, "-r", "25"],
    "mpeg2.mkv": [*MPEG2, "-r", "25"],
    "mpeg4.avi": MPEG4,
    "mpeg4.mp4": [*MPEG4, "-bf", "2"],
    "mpeg4.mkv": [*MPEG4, "-bf", "2"],
    "msmpeg4.avi": ["-c:v", "msmpeg4", "-q:v", "3"],
    "mjpeg.avi": ["-c:v", "mjpeg", "-q:v", "3"],
    "mjpeg.mov": ["-c:v", "mjpeg", "-q:v", "3"],
    "flv1.flv": ["-c:v", "flv", "-q:v", "3"],
    "wmv2.wmv": ["-c:v", "wmv2", "-q:v", "3"],
    "wmv1.asf": ["-c:v", "wmv1", "-q:v", "3"],
    "theora.ogv": THEORA,
    "theora.mkv": THEORA,
    "h263.3gp": ["-c:v", "h263", "-q:v", "3", "-vf", "scale=128:96,setsar=1"],
}
SOUND = {".webm": "libopus", ".ogv": "libvorbis", ".wmv": "wmav2", ".asf": "wmav2", ".avi": "mp3"}


def run(*arguments):
    subprocess.run(["ffmpeg", "-y", "-loglevel", "error", *map(str, arguments)], check=True)


def write(path, options, *, sound=0.0, delay=0.0):
    """Write a video that moves; `sound`: seconds of it; `delay`: when the picture begins."""
    pictures = f"testsrc2=s={WIDTH}x{HEIGHT}:r={RATE}:d={SECONDS}"
    inputs = ["-f", "lavfi", "-i", pictures]
    if sound:
        inputs += ["-f", "lavfi", "-i", f"sine=d={sound}"]
    codec = {".mpg": "mp2", ".vob": "mp2"}.get(path.suffix, SOUND.get(path.suffix, "aac"))
    encoded = path.with_name("early" + path.name) if delay else path
    run(*inputs, *options, *(["-c:a", codec] if sound else []), encoded)
    if delay:
        shifted = ["-itsoffset", delay, "-i", encoded, "-i", encoded]
        run(*shifted, "-map", "0:v", "-map", "1:a", "-c", "copy", path)
    return path


def decode_with_ffmpeg(path):
    """The times at which ffmpeg shows frames, and the frames, uint8 [height, width, 3]."""
    command = ["ffmpeg", "-hide_banner", "-i", path, "-map", "0:v:0", "-vsync", "passthrough"]
    command += ["-vf", "showinfo,scale=out_range=full", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    # That the sound is used too has an effect on the start.
    command += ["-map", "0:a:0?", "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    shown = re.findall(rb"pts_time:(\S+).* s:(\d+)x(\d+)", done.stderr)
    width, height = map(int, shown[0][1:])
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)
    assert len(shown) == len(frames)
    return [float(time) for time, *_ in shown], frames


def compare(path, count=23):
    """Check that the frames at `count` times are those of ffmpeg, and return the length."""
    their_times, their_frames = decode_with_ffmpeg(path)
    length = float(scan(str(path)).length)
    moments = [(i + 0.37) * length / count for i in range(count)]
    ours, times = read_at(path, lambda length: moments)
    worst = []
    for moment in moments:
        place = max(0, bisect.bisect_right(their_times, moment) - 1)
        frame = ours[max(0, bisect.bisect_right(times.tolist(), moment) - 1)].astype(float)
        candidates = [place]
        for other in (place - 1, place + 1):
            edge = max(other, place)
            if 0 <= other and edge < len(their_times):
                if abs(their_times[edge] - moment) < SLACK:
                    candidates.append(other)
        errors = [((frame - their_frames[i]) ** 2).mean() for i in candidates]
        worst.append(min(errors))
    assert max(worst) < 255**2 / 10**3, [round(error) for error in worst]  # 30 dB
    return length


@pytest.mark.parametrize("name", KINDS)
def test_silent_video(name, tmp_path):
    length = compare(write(tmp_path / name, KINDS[name]))
    assert length == pytest.approx(SECONDS, abs=0.11)


@pytest.mark.parametrize("delay", [0.0, 3.0])
@pytest.mark.parametrize(
    "name", ["h264.mp4", "h264.mkv", "h264.ts", "vp9.webm", "mpeg2.mpg", "mpeg2.vob", "h264.flv"]
)
def test_picture_with_sound(name, delay, tmp_path):
    length = compare(write(tmp_path / name, KINDS[name], sound=SECONDS + delay, delay=delay))
    assert length == pytest.approx(SECONDS + delay, abs=0.2)


@pytest.mark.parametrize("order", ["aa", "ab", "ba", "aba", "bb"])
@pytest.mark.parametrize(
    "name", ["h264.ts", "h264_open_gop.ts", "hevc.ts", "mpeg2.ts", "mpeg2.vob"]
)
def test_parts_laid_end_to_end(name, order, tmp_path):
    first = write(tmp_path / f"a{name}", KINDS[name])
    parts = {"a": first, "b": tmp_path / f"b{name}"}
    run("-i", first, "-c", "copy", "-output_ts_offset", 36000, parts["b"])
    path = tmp_path / name
    path.write_bytes(b"".join(parts[letter].read_bytes() for letter in order))
    assert compare(path) == pytest.approx(len(order) * SECONDS, abs=0.2)


@pytest.mark.parametrize("name", ["h264.ts", "hevc.ts", "mpeg2.ts", "mpeg2.vob"])
def test_parts_whose_sound_outlasts_the_picture(name, tmp_path):
    parts = [
        write(tmp_path / f"{sound}{name}", KINDS[name], sound=sound) for sound in (14, SECONDS)
    ]
    path = tmp_path / name
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert compare(path) == pytest.approx(14 + SECONDS, abs=0.3)


@pytest.mark.parametrize("name", ["h264.mp4", "mpeg2.mkv"])
def test_picture_long_after_the_sound(name, tmp_path):
    whole, path = write(tmp_path / name, KINDS[name], sound=SECONDS), tmp_path / "late.ts"
    both = ["-i", whole, "-map", "0:v", "-map", "1:a", "-c", "copy"]
    run("-itsoffset", 12, "-i", whole, *both, path)
    assert compare(path) == pytest.approx(12 + SECONDS, abs=0.2)


@pytest.mark.parametrize("place", [0.25, 0.5])
@pytest.mark.parametrize("name", ["h264.ts", "h264_open_gop.ts", "h264_refresh.ts", "mpeg2.vob"])
def test_recording_that_was_cut(name, place, tmp_path):
    whole = write(tmp_path / name, KINDS[name], sound=SECONDS)
    path = tmp_path / f"cut{whole.suffix}"
    path.write_bytes(whole.read_bytes()[int(whole.stat().st_size * place) :])
    compare(path)


@pytest.mark.parametrize("quality", [35, 51])
@pytest.mark.parametrize("structure", ["bframes=3", "open-gop=1:bframes=3"])
def test_frames_that_share_packets(quality, structure, tmp_path):
    small = [*X264, "-r", "25", "-crf", quality, "-x264-params", structure, "-f", "mpeg"]
    assert compare(write(tmp_path / "small.mpg", small)) == pytest.approx(SECONDS, abs=0.11)


def test_times_before_zero(tmp_path):
    whole = write(tmp_path / "h264.mp4", X264, sound=SECONDS)
    path, options = tmp_path / "early.mkv", ["-c", "copy", "-avoid_negative_ts", "disabled"]
    run("-i", whole, *options, "-output_ts_offset", "-0.1", path)
    assert compare(path) == pytest.approx(SECONDS, abs=0.11)
