"""The sound of a part of a video: its packets, or encoded anew."""

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from typing import cast

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream

from tempme_jax.search.saving.mp4 import Mp4File
from tempme_jax.search.saving.part import Part
from tempme_jax.video.container import find_sound_stream, find_video_stream, open_video
from tempme_jax.video.progress import report_progress

RATE, LAYOUT, CHANNELS, BITS = 48_000, "stereo", 2, 160_000
# Samples by which sound may be early or late before silence is put in or some is left out.
SLACK = RATE // 20
# Samples, likewise: sound so far ahead is of another clock, where times jump.
STRAY = 5 * RATE
# Seconds before a part from which its sound is decoded, as some codecs need what comes before.
LEAD = Fraction(1, 2)


@contextlib.contextmanager
def find_sound(part: Part) -> Iterator[AudioStream | None]:
    """Open the file once more, and yield its sound, which is read from shortly before a part on.

    Where times jump, it is read from the start of the file. It is None if the video has none.
    """
    with contextlib.ExitStack() as stack:
        container = stack.enter_context(open_video(part.path))
        stream = find_sound_stream(container)
        if stream is None or stream.codec_context is None:
            yield None
            return
        wanted = part.index.start + part.start - LEAD
        if part.start > LEAD and part.index.keyframes and not _seek(stream, wanted):
            container = stack.enter_context(open_video(part.path))
            stream = find_sound_stream(container)
        yield stream


def _seek(stream: AudioStream, wanted: Fraction) -> bool:
    """Seek to a second of a stream; return whether that led to a packet up to it."""
    try:
        unit, container = Fraction(stream.time_base or 1), cast(InputContainer, stream.container)
        container.seek(int(wanted / unit), stream=stream)
        first = next(packet for packet in container.demux(stream) if packet.size)
        container.seek(int(wanted / unit), stream=stream)
        return first.pts is not None and first.pts * unit <= wanted + LEAD
    except (FFmpegError, IndexError, StopIteration):
        return False


def list_sound_packets(part: Part, sound: AudioStream) -> Iterator[Packet]:
    """Yield packets of sound up to the end, or to where a truncated file cannot be read further.

    Where the times of the pictures are moved, those of the sound that lies beside them are, too.
    """
    container = cast(InputContainer, sound.container)
    shifts, number, shift = dict(part.index.clock.shifts), 0, 0
    streams: list[Stream] = [sound]
    if shifts:
        streams.insert(0, find_video_stream(container, part.path))
    with contextlib.suppress(FFmpegError, IndexError):
        for packet in container.demux(*streams):
            report_progress()
            if packet.stream is not sound:
                shift = shifts.get(number, shift)
                number += 1
            elif packet.pts is not None and packet.size:
                packet.pts += round(shift * part.index.unit / (packet.time_base or 1))
                yield packet


def add_encoded_sound(part: Part, sound: AudioStream | None, file: Mp4File) -> Iterator[Packet]:
    """Add a stream of AAC to a file, and return its packets: the sound of a part, or silence."""
    stream = file.container.add_stream("aac", rate=RATE, layout=LAYOUT)
    stream.bit_rate = BITS

    def encode() -> Iterator[Packet]:
        done = 0
        for samples in fit_sound(part, sound):
            for first in range(0, samples.shape[1], RATE):
                piece = np.ascontiguousarray(samples[:, first : first + RATE])
                frame = AudioFrame.from_ndarray(piece, "fltp", LAYOUT)
                frame.sample_rate, frame.pts = RATE, done
                frame.time_base = Fraction(1, RATE)
                done += piece.shape[1]
                yield from stream.encode(frame)
        yield from stream.encode(None)

    return encode()


def fit_sound(part: Part, sound: AudioStream | None) -> Iterator[np.ndarray]:
    """Yield the samples of a part, float32 [2, n], without gaps from its start to its end."""
    done, total = 0, round(part.seconds * RATE)
    resampler = AudioResampler("fltp", LAYOUT, RATE)
    for second, frame in _decode(part, sound) if sound else ():
        at = round(second * RATE)
        try:
            pieces = [piece.to_ndarray() for piece in resampler.resample(frame)]
        except ValueError:  # it has another rate or other channels from here on
            resampler = AudioResampler("fltp", LAYOUT, RATE)
            pieces = [piece.to_ndarray() for piece in resampler.resample(frame)]
        samples = np.concatenate([np.zeros((CHANNELS, 0), np.float32), *pieces], axis=1)
        if part.is_shifted and at > done + STRAY:  # it lies shortly before a jump, or after one
            continue
        if at > done + SLACK:
            yield from _make_silence(min(at, total) - done)
            done = min(at, total)
        elif at < done - SLACK or done == 0:
            samples = samples[:, max(0, done - at) :]
        samples = samples[:, : total - done]
        done += samples.shape[1]
        yield samples
        if done >= total:
            return
    yield from _make_silence(total - done)


def _make_silence(count: int) -> Iterator[np.ndarray]:
    for first in range(0, count, RATE):
        yield np.zeros((CHANNELS, min(RATE, count - first)), np.float32)


def _decode(part: Part, sound: AudioStream) -> Iterator[tuple[Fraction, AudioFrame]]:
    """Yield decoded sound up to the end of a part, and the second of the part it begins at."""
    start = part.index.start + part.start
    for packet in list_sound_packets(part, sound):
        try:
            frames = sound.codec_context.decode(packet)
        except MemoryError:
            raise
        except (FFmpegError, ValueError):  # damaged; there is silence instead
            continue
        for frame in frames:
            if frame.pts is None or not frame.sample_rate:
                continue
            second = frame.pts * Fraction(frame.time_base or sound.time_base or 0) - start
            if second >= part.seconds and not part.is_shifted:
                return
            if second + Fraction(frame.samples, frame.sample_rate) > 0:
                yield second, frame
