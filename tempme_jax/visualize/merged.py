"""Merged tokens: which token holds which patch of which frame, and in which colour.

`picture` draws them as figures 4 and 7 of the TempMe paper do, `html` makes a page to click on.
"""

import colorsys
import dataclasses
import functools
import os
from collections.abc import Sequence
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int, UInt8

from tempme_jax import inputs
from tempme_jax.loading import load
from tempme_jax.methods import split_method
from tempme_jax.model import Model
from tempme_jax.networks.network import Network
from tempme_jax.networks.tokens import Tokens
from tempme_jax.training.workdir import is_workdir
from tempme_jax.video.container import check_regular_file, find_video_stream, open_video
from tempme_jax.video.frames import read_frames
from tempme_jax.video.positions import find_middles
from tempme_jax.video.timeline import scan
from tempme_jax.words import pluralize

# Colour of the border of a patch that was not merged.
ALONE = (128, 128, 128)
# Hues that begin with blue, each a golden section after the last, stay distinct in any number.
FIRST_HUE, GOLDEN = 0.6, (5**0.5 - 1) / 2
LIGHTNESS = (0.55, 0.72, 0.42)


@dataclasses.dataclass(frozen=True, eq=False)
class MergedTokens:
    """A video, and the token that holds each of its patches.

    Attributes:
        method: name of the method.
        frames: uint8 [f, s, s, 3], the frames as the model saw them.
        source: int32 [f, side, side], the id of the token that holds each patch; -1 for a pruned
            patch, which no token holds.
        seconds: time of each frame, from the start of the video; None if unknown.
    """

    method: str
    frames: UInt8[np.ndarray, "f s s 3"] = dataclasses.field(repr=False)
    source: Int[np.ndarray, "f side side"] = dataclasses.field(repr=False)
    seconds: tuple[float, ...] | None = None

    @functools.cached_property
    def number(self) -> Int[np.ndarray, "f side side"]:
        """int [f, side, side]: `source` with the tokens numbered by size, the largest 0."""
        return number_tokens(self.source)

    @property
    def counts(self) -> Int[np.ndarray, " n"]:
        """Number of patches in each token, the largest token first."""
        return np.bincount(self.number[self.number >= 0])

    @property
    def means(self) -> UInt8[np.ndarray, "n 3"]:
        """Mean colour of each token, uint8 [n, 3]."""
        return average_colours(self.frames, self.number)

    @property
    def has_pruned(self) -> bool:
        """True if there are patches that no token holds."""
        return bool((self.source < 0).any())

    @property
    def tally(self) -> tuple[str, ...]:
        """Numbers of tokens, patches and pruned patches, in words."""
        patches = pluralize(self.source.size, "patch")
        pieces = (pluralize(len(self.counts), "token"), f"of {patches}")
        pruned = f"{(self.source < 0).sum()} pruned"
        return (*pieces, pruned) if self.has_pruned else pieces

    @property
    def summary(self) -> str:
        """One line with the method, its tally and its largest token."""
        tokens, patches, *pruned = self.tally
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
) -> MergedTokens:
    """Encode one video and find the token that holds each of its patches.

    Args:
        model: a model of `load` or `create`.
        video: a path, of which `num_frames` frames are sampled uniformly; or uint8 frames
            [t, h, w, 3] of any size, of which at most `num_frames` are taken.
        seconds: the time of each frame, if `video` holds frames.

    Raises:
        VideoError: if the file is not a video, or cannot be read.
        ValueError: if the frames have another shape or dtype, or their number is not that of
            `seconds`.
    """
    size, resize = model.arch.image_size, model.arch.resize
    side = size // model.arch.patch
    if isinstance(video, np.ndarray | jax.Array):
        if video.ndim != 4:
            raise ValueError(f"one video is uint8 [t, h, w, 3], not {list(video.shape)}")
        frames, mask = inputs.fit_frames(np.asarray(video), model.num_frames, size, resize)
    else:
        frames = read_frames(video, model.num_frames, image_size=size, resize=resize)[None]
        mask = np.ones(frames.shape[:2], bool)
        seconds = read_times(video, model.num_frames)
    source = trace_patches(model.network, {"params": model.params}, frames, mask)
    real = int(mask.sum())
    if seconds is not None and len(seconds) != real:
        raise ValueError(f"{len(seconds)} seconds are given for {real} frames")
    return MergedTokens(
        method=model.method,
        frames=frames[0, :real],
        source=np.asarray(source[0]).reshape(-1, side, side)[:real],
        seconds=None if seconds is None else tuple(map(float, seconds)),
    )


@functools.partial(jax.jit, static_argnums=0)
def trace_patches(
    network: Network,
    params: dict,
    frames: UInt8[np.ndarray, "b f s s 3"],
    mask: Bool[np.ndarray, "b f"],
) -> Int[jax.Array, "b fp"]:
    """Return the id of the token that holds each patch at the end of the tower."""
    pixels = inputs.normalize_frames(jnp.asarray(frames), network.arch.mean, network.arch.std)
    _, tokens = network.apply(params, pixels, mask, trace=True, method="encode_video")
    assert isinstance(tokens, Tokens) and tokens.source is not None
    return tokens.source


def read_times(path: str | os.PathLike, num_frames: int) -> list[float]:
    """Return the times of the frames of `read_frames`, in seconds from the video's start."""
    index = scan(os.fsdecode(path))
    times = index.find_shown(find_middles(Fraction(0), index.length, num_frames))
    return [index.find_seconds(time) for time in times]


def trace_methods(
    weights: str | os.PathLike,
    video: str | os.PathLike,
    *,
    methods: Sequence[str] | None = None,
    num_frames: int | None = None,
) -> list[MergedTokens]:
    """Trace one video with several methods and the same weights.

    Args:
        weights: weights, as `load` takes them.
        video: path of the video.
        methods: names, as `load` takes them; None for the method of the weights, else "tempme".
        num_frames: frames of the video; None for the number of the weights, else 12.

    Raises:
        ValueError: if a method is unknown, does not fit the number of frames, or is not that of
            the weights.
        FileNotFoundError, WeightsError, VideoError: as `load` and `trace` do.
    """
    for method in methods or ():
        split_method(method)  # raises unless there is such a method
    if is_workdir(weights) and (methods or num_frames):
        raise ValueError(
            f"{weights} is the workdir of a training, which sets the method and the frames; give "
            "neither of them, or give the weights that the training began with"
        )
    check_regular_file(os.fsdecode(video))
    with open_video(os.fsdecode(video)) as container:  # fails before large weights are downloaded
        find_video_stream(container, os.fsdecode(video))
    shown: list[MergedTokens] = []
    for method in dict.fromkeys(methods or [None]):
        model = load(weights, method=method, num_frames=num_frames)
        if shown:  # the video is read only once
            shown.append(trace(model, shown[0].frames, seconds=shown[0].seconds))
        else:
            shown.append(trace(model, video))
    return shown


def number_tokens(source: Int[np.ndarray, "f side side"]) -> Int[np.ndarray, "f side side"]:
    """Number the tokens from 0: larger ones first, then those that appear first; -1 stays."""
    ids, first, counts = np.unique(source, return_index=True, return_counts=True)
    order = [i for i in np.lexsort((first, -counts)) if ids[i] >= 0]
    number = np.full(len(ids), -1)
    number[order] = np.arange(len(order))
    return number[np.searchsorted(ids, source)]


def average_colours(
    frames: UInt8[np.ndarray, "f s s 3"], number: Int[np.ndarray, "f side side"]
) -> UInt8[np.ndarray, "n 3"]:
    """Average the pixels of each token over all frames."""
    f, side, _ = number.shape
    patch = frames.shape[1] // side
    patches = frames.reshape(f, side, patch, side, patch, 3).mean(axis=(2, 4))
    held = number >= 0
    counts = np.bincount(number[held])
    sums = [np.bincount(number[held], patches[..., channel][held]) for channel in range(3)]
    return np.rint(np.stack(sums, axis=1) / counts[:, None]).astype(np.uint8)


def choose_edge_colours(counts: Int[np.ndarray, " n"]) -> UInt8[np.ndarray, "n 3"]:
    """Return a hue for each token of several patches, and grey for the others."""
    colours = np.full((len(counts), 3), ALONE, np.uint8)
    for i in np.flatnonzero(counts > 1):
        hue, lightness = (FIRST_HUE + i * GOLDEN) % 1, LIGHTNESS[i % len(LIGHTNESS)]
        colours[i] = np.rint(255 * np.array(colorsys.hls_to_rgb(hue, lightness, 1.0)))
    return colours
