"""What a method merged: which token holds which patch of which frame, and in what colour.

As in figures 4 and 7 of the TempMe paper. `picture` draws it, `html` makes a page of it to click
on.
"""

import colorsys
import dataclasses
import functools
import os
from collections.abc import Sequence
from fractions import Fraction

import jax
import numpy as np
from jaxtyping import Bool, Int, UInt8

from tempme_jax import inputs
from tempme_jax.checks import require_one_of
from tempme_jax.loading import load
from tempme_jax.methods import METHODS
from tempme_jax.model import Model
from tempme_jax.networks.clip import Clip
from tempme_jax.training.workdir import is_workdir
from tempme_jax.video.container import check_regular_file, open_video, scan, video_stream
from tempme_jax.video.frames import middles, read_frames
from tempme_jax.words import pluralize

# Of the border of a patch that merged with no other.
ALONE = (128, 128, 128)
# Hues a golden section apart, from blue on, stay distinct however many there are.
FIRST_HUE, GOLDEN = 0.6, (5**0.5 - 1) / 2
LIGHTNESS = (0.55, 0.72, 0.42)


@dataclasses.dataclass(frozen=True, eq=False)
class Merged:
    """A video, and where its patches went.

    Attributes:
        method: the name of the method.
        frames: uint8 [f, s, s, 3], as the model saw them.
        source: int32 [f, side, side], for every patch the token that holds it; patches of one
            number are in one token; -1 = pruned, no token holds it.
        seconds: when each frame comes on screen, from the first frame of the video; None where
            that is unknown.
    """

    method: str
    frames: UInt8[np.ndarray, "f s s 3"] = dataclasses.field(repr=False)
    source: Int[np.ndarray, "f side side"] = dataclasses.field(repr=False)
    seconds: tuple[float, ...] | None = None

    @functools.cached_property
    def number(self) -> Int[np.ndarray, "f side side"]:
        """`source` with the tokens numbered from the largest, 0; -1 stays."""
        return numbered(self.source)

    @property
    def counts(self) -> Int[np.ndarray, " n"]:
        """How many patches each token holds, the largest token first."""
        return np.bincount(self.number[self.number >= 0])

    @property
    def means(self) -> UInt8[np.ndarray, "n 3"]:
        """The mean colour of each token."""
        return mean_colours(self.frames, self.number)

    @property
    def has_pruned(self) -> bool:
        """Whether there are patches that no token holds."""
        return bool((self.source < 0).any())

    @property
    def left(self) -> tuple[str, ...]:
        """What is left of the patches, in short pieces."""
        patches = pluralize(self.source.size, "patch")
        pieces = (pluralize(len(self.counts), "token"), f"of {patches}")
        pruned = f"{(self.source < 0).sum()} pruned"
        return (*pieces, pruned) if self.has_pruned else pieces

    @property
    def summary(self) -> str:
        """The same in one line, with the method and its largest token."""
        tokens, patches, *pruned = self.left
        line = ", ".join([f"{self.method}: {tokens} {patches}", *pruned])
        if not len(self.counts):
            return line
        frames = (self.number == 0).any(axis=(1, 2)).sum()
        largest = f"{pluralize(self.counts[0], 'patch')} in {pluralize(frames, 'frame')}"
        return f"{line}; the largest holds {largest}"


def trace(
    model: Model,
    video: str | os.PathLike | UInt8[np.ndarray, "t h w 3"],
    *,
    seconds: Sequence[float] | None = None,
) -> Merged:
    """Encodes one video and follows its patches.

    Args:
        model: of `load` or `create`.
        video: a path, of which `num_frames` frames are sampled uniformly; or frames, uint8
            [t, h, w, 3], of any size: of more than `num_frames` that many are taken.
        seconds: when each frame comes on screen, if `video` is frames.

    Raises:
        VideoError: if the file is not a video that can be read; it says why.
        ValueError: if frames have another shape or dtype, or `seconds` another number.
    """
    size, side = model.arch.image_size, model.arch.image_size // model.arch.patch
    if isinstance(video, np.ndarray | jax.Array):
        if video.ndim != 4:
            raise ValueError(f"one video is uint8 [t, h, w, 3], not {list(video.shape)}")
        frames, mask = inputs.fit_frames(np.asarray(video), model.num_frames, size)
    else:
        frames = read_frames(video, model.num_frames, image_size=size)[None]
        mask = np.ones(frames.shape[:2], bool)
        seconds = moments(video, model.num_frames)
    source = sources(model.network, {"params": model.params}, frames, mask)
    real = int(mask.sum())
    if seconds is not None and len(seconds) != real:
        raise ValueError(f"{len(seconds)} seconds are given for {real} frames")
    return Merged(
        method=model.method,
        frames=frames[0, :real],
        source=np.asarray(source[0]).reshape(-1, side, side)[:real],
        seconds=None if seconds is None else tuple(map(float, seconds)),
    )


@functools.partial(jax.jit, static_argnums=0)
def sources(
    network: Clip,
    params: dict,
    frames: UInt8[np.ndarray, "b f s s 3"],
    mask: Bool[np.ndarray, "b f"],
) -> Int[jax.Array, "b fp"]:
    """For every patch of every frame the token that holds it at the end."""
    pixels = inputs.normalise(frames)
    return network.apply(params, pixels, mask, trace=True, method="encode_video")[1].source


def moments(path: str | os.PathLike, num_frames: int) -> list[float]:
    """When the frames of `read_frames` come on screen, in seconds from the first frame."""
    index = scan(os.fsdecode(path))
    times = index.shown(middles(Fraction(0), index.length, num_frames))
    return [float((time - index.times[0]) * index.unit) for time in times]


def compare(
    weights: str | os.PathLike,
    video: str | os.PathLike,
    *,
    methods: Sequence[str] | None = None,
    num_frames: int | None = None,
) -> list[Merged]:
    """What several methods make of one video, with the same weights.

    Args:
        weights: as for `load`.
        video: a path.
        methods: as `load` takes them; None: that of the weights, "tempme" where they have none.
        num_frames: frames of the video; None: as the weights say, 12 where they do not.

    Raises:
        ValueError: if a method is unknown, does not fit the number of frames, or the weights
            belong to another; it says what does.
        FileNotFoundError, WeightsError, VideoError: as `load` and `trace` do.
    """
    for name in (name for method in methods or () for name in method.split("+")):
        require_one_of(name, METHODS, "method")
    if is_workdir(weights) and (methods or num_frames):
        raise ValueError(
            f"{weights} is the workdir of a training, whose method and frames are known; give "
            "neither methods nor frames, or the weights that it began with"
        )
    check_regular_file(os.fsdecode(video))
    with open_video(os.fsdecode(video)) as container:  # before large weights are fetched
        video_stream(container, os.fsdecode(video))
    shown: list[Merged] = []
    for method in dict.fromkeys(methods or [None]):
        model = load(weights, method=method, num_frames=num_frames)
        if shown:  # read and cropped once
            shown.append(trace(model, shown[0].frames, seconds=shown[0].seconds))
        else:
            shown.append(trace(model, video))
    return shown


def numbered(source: Int[np.ndarray, "f side side"]) -> Int[np.ndarray, "f side side"]:
    """The tokens numbered from 0: those of more patches first, then those seen first."""
    ids, first, counts = np.unique(source, return_index=True, return_counts=True)
    order = [i for i in np.lexsort((first, -counts)) if ids[i] >= 0]
    number = np.full(len(ids), -1)
    number[order] = np.arange(len(order))
    return number[np.searchsorted(ids, source)]


def mean_colours(
    frames: UInt8[np.ndarray, "f s s 3"], number: Int[np.ndarray, "f side side"]
) -> UInt8[np.ndarray, "n 3"]:
    """The mean colour of the pixels that each token holds, over all frames."""
    f, side, _ = number.shape
    patch = frames.shape[1] // side
    patches = frames.reshape(f, side, patch, side, patch, 3).mean(axis=(2, 4))
    held = number >= 0
    counts = np.bincount(number[held])
    sums = [np.bincount(number[held], patches[..., channel][held]) for channel in range(3)]
    return np.rint(np.stack(sums, axis=1) / counts[:, None]).astype(np.uint8)


def edge_colours(counts: Int[np.ndarray, " n"]) -> UInt8[np.ndarray, "n 3"]:
    """A hue of its own for every token of several patches, grey for the others."""
    colours = np.full((len(counts), 3), ALONE, np.uint8)
    for i in np.flatnonzero(counts > 1):
        hue, lightness = (FIRST_HUE + i * GOLDEN) % 1, LIGHTNESS[i % len(LIGHTNESS)]
        colours[i] = np.rint(255 * np.array(colorsys.hls_to_rgb(hue, lightness, 1.0)))
    return colours
