"""Cut a part out of a video without decoding it, where that can be done right.

Copied pictures begin at the keyframe before the part. What comes before the part is in the file and
not shown, by an edit list, as `ffmpeg -c copy` does it.
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import cast

import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

from tempme_jax.search.saving.mp4 import Mp4File, UnfitPacketError, find_unit, move
from tempme_jax.search.saving.part import Part
from tempme_jax.search.saving.sound import add_encoded_sound, find_sound, list_sound_packets
from tempme_jax.video.container import VideoError, find_video_stream, open_video
from tempme_jax.video.decoding import Decoder
from tempme_jax.video.pixels import squash
from tempme_jax.video.timeline import read_packets, scan
from tempme_jax.video.untimed import MOST_REORDERED

# Codecs that mp4 files hold and many players know; and what every browser plays.
COPIED = ("h264", "hevc", "av1", "vp9")
IN_BROWSERS = {"h264": ("yuv420p", "yuvj420p")}
# Most seconds that are in the file and not shown.
LONGEST_LEAD = 10
# Most seconds by which a copied part may start early, which is where its first frame appears.
EARLY = Fraction(1, 5)
# Most seconds by which a copy may be longer or shorter than the part.
TOLERANCE = Fraction(1, 2)
# Seconds by which times are moved where they are rounded to other units.
ROUNDING = Fraction(2, 1000)
# Side of the frames that are compared, and how much their pixels may differ on average.
SIDE, MOST_DIFFERENCE = 32, 3.0


class UnfitCopyError(Exception):
    """A part cannot be cut right without decoding it."""


def copy_part(part: Part, target: str, *, in_browser: bool) -> None:
    """Copy the packets of a part to an mp4 file, with its sound, and compare a few frames.

    Raises:
        UnfitCopyError: the part has to be decoded and encoded instead.
        OSError: the disk is full or broken.
    """
    try:
        _check(_copy(part, target, in_browser=in_browser), target)
    except (UnfitPacketError, FFmpegError, VideoError) as error:
        raise UnfitCopyError(str(error)) from error


def _copy(part: Part, target: str, *, in_browser: bool) -> Part:
    """Copy a part, and return it as it begins in the copy: with its first frame."""
    times = part.list_times()
    keyframes = part.list_keyframes(times[0])
    early = -part.find_seconds(times[0])
    if not keyframes or not part.index.clock.is_plain or early > EARLY:
        raise UnfitCopyError("its frames have no keyframe or times to begin at")
    if (times[0] - keyframes[0]) * part.index.unit > LONGEST_LEAD:
        raise UnfitCopyError("the keyframe before it is too early")
    begun = part._replace(start=part.start - max(early, Fraction(0)))
    with open_video(part.path) as source:
        stream = find_video_stream(source, part.path)
        context = stream.codec_context
        if context.name not in (IN_BROWSERS if in_browser else COPIED):
            raise UnfitCopyError(f"{context.name} is not copied")
        if in_browser and context.pix_fmt not in IN_BROWSERS[context.name]:
            raise UnfitCopyError(f"browsers do not play {context.pix_fmt}")
        file = Mp4File(target)
        copy = file.container.add_stream_from_template(stream)
        pictures = move(_list_pictures(begun, stream, keyframes), -_find_origin(begun), copy)
        with find_sound(begun) as sound:
            if sound is None:
                file.write(pictures)
            elif sound.codec_context.name == "aac":
                sounds = _copy_sound(begun, sound, file)
                file.write(pictures, sounds)
            else:
                file.write(pictures, add_encoded_sound(begun, sound, file))
    return begun


def _find_origin(part: Part) -> Fraction:
    """Return the start of a part on the scale of the file's timestamps, in seconds."""
    return part.index.start + part.start


def _list_pictures(part: Part, stream: VideoStream, keyframes: list[int]) -> Iterator[Packet]:
    """Yield the packets from a keyframe to the end of a part."""
    unit, end = part.index.unit, part.index.start + part.end
    container = cast(InputContainer, stream.container)
    for keyframe in keyframes:  # a seek may miss, as in MPEG-TS
        container.seek(keyframe, stream=stream)
        begun = False
        for packet in read_packets(container, stream):
            begun = begun or packet.pts == keyframes[0]
            if not begun:
                if packet.pts is not None and packet.pts > keyframes[0]:
                    break
                continue
            if packet.dts is not None and packet.dts * unit >= end:
                return
            # Frames after the end stay where others before it need them.
            if packet.pts is not None and packet.pts >= keyframes[0]:
                yield packet
        if begun:
            return
    raise UnfitCopyError("its keyframe cannot be found by seeking")


def _copy_sound(part: Part, sound: AudioStream, file: Mp4File) -> Iterator[Packet]:
    """Return the packets of the sound that a part has, for a stream that is added to the file."""
    copy, start = file.container.add_stream_from_template(sound), _find_origin(part)

    def choose() -> Iterator[Packet]:
        for packet in list_sound_packets(part, sound):
            unit = find_unit(packet)
            if packet.pts is None or (packet.pts + (packet.duration or 0)) * unit <= start:
                continue
            if packet.pts * unit >= start + part.seconds:
                return
            yield packet

    return move(choose(), -start, copy)


def _check(part: Part, target: str) -> None:
    """Compare the length, the number of frames, and the first and the last frame."""
    copied, times = scan(target), part.list_times()
    if abs(copied.length - part.seconds) > TOLERANCE:
        raise UnfitCopyError(f"{float(copied.length):.2f} s were copied")
    if not -2 <= len(copied.times) - len(times) <= MOST_REORDERED:
        raise UnfitCopyError(f"{len(copied.times)} of {len(times)} frames were copied")
    seconds = [part.find_seconds(times[place]) for place in (0, -1)]
    moments = copied.find_shown([max(Fraction(0), second) + ROUNDING for second in seconds])
    pairs = ((part.path, part.index, [times[0], times[-1]]), (target, copied, moments))
    shown = []
    for path, index, wanted in pairs:
        decoder = Decoder(path, index.clock, SIDE, lambda _, pixels: squash(pixels[None], SIDE)[0])
        found = decoder.decode(sorted(set(wanted)), index.keyframes)
        shown.append(np.stack([found[time] for time in wanted]).astype(np.int16))
    if np.abs(shown[0] - shown[1]).mean(axis=(1, 2, 3)).max() > MOST_DIFFERENCE:
        raise UnfitCopyError("other frames than those of the part were copied")
