"""A model that embeds videos and texts: CLIP, a method, and the parameters of both."""

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from tempme_jax import inputs
from tempme_jax.adapters.base import Adapter, Path
from tempme_jax.losses import similarity
from tempme_jax.methods import split_method
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.clip import Clip
from tempme_jax.networks.tokens import Stage
from tempme_jax.parameters import shapes, split
from tempme_jax.reducers.base import Reducer
from tempme_jax.reducers.schedule import schedule
from tempme_jax.text.bpe import Tokenizer
from tempme_jax.vectors import unit_length
from tempme_jax.video.frames import read_frames
from tempme_jax.weights.files import save_weights
from tempme_jax.weights.layouts import check_params

# Rows that go through the network at once; a rest is filled up to a power of two, so that few
# sizes are compiled. On a CPU more videos only leave its caches.
VIDEO_BATCH = {"cpu": 2}
VIDEO_BATCH_ELSEWHERE = 16
TEXT_BATCH = 64


class Drawn(NamedTuple):
    """Parameters that no file held, and the seed that they were drawn with."""

    seed: int = 0
    paths: frozenset[Path] = frozenset()


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """Embeds videos and texts into one space. Made by `load` and `create`.

    Attributes:
        network: the Flax module, with its architecture, adapter and reducer.
        params: its parameters, a tree of float32 arrays.
        method: the name of the method.
        num_frames: frames of every video.
        max_words: ids of every text, start and end included; longer texts are cut with a warning.
        drawn: which of the parameters that are learned still have the values they begin with.
    """

    network: Clip
    params: dict = dataclasses.field(repr=False)
    method: str
    num_frames: int
    max_words: int
    drawn: Drawn = dataclasses.field(default=Drawn(), repr=False)

    @property
    def arch(self) -> Architecture:
        """The sizes of the backbone."""
        return self.network.arch

    @property
    def adapter(self) -> Adapter:
        """What is learned."""
        return self.network.adapter

    @property
    def reducer(self) -> Reducer:
        """What happens to the tokens."""
        return self.network.reducer

    @property
    def trainable(self) -> dict:
        """The part of `params` that trains: what is not pretrained, and what the adapter tunes."""
        return split(self.network, self.params)[0]

    @property
    def schedule(self) -> tuple[Stage, ...]:
        """How many clips and tokens every block of the video tower works on."""
        arch = self.arch
        return schedule(
            self.reducer, frames=self.num_frames, tokens=1 + arch.patches, depth=arch.depth
        )

    def embed_video(
        self, videos: str | os.PathLike | Sequence[str | os.PathLike] | UInt8[np.ndarray, "..."]
    ) -> Float[np.ndarray, "b e"]:
        """Unit vectors, float32 [b, e], of videos.

        Args:
            videos: a path or a list of paths, of which `num_frames` frames each are sampled
                uniformly; or frames, uint8 [t, h, w, 3] or [b, t, h, w, 3], of any size. If there
                are more frames than `num_frames`, as many of them are taken uniformly; if fewer,
                the rest is masked.

        Raises:
            VideoError: if a file is not a video that can be read; it says why.
            ValueError: if frames have another shape or dtype.
            TypeError: if `videos` is, or holds, something else.
        """
        size = self.arch.image_size
        if isinstance(videos, np.ndarray | jax.Array):
            frames, mask = inputs.fit_frames(np.asarray(videos), self.num_frames, size)
            return self._in_batches(self._embed_frames, video_batch(), frames, mask)
        paths = inputs.as_paths(videos)
        vectors = [np.zeros((0, self.arch.embed_dim), np.float32)]
        for start in range(0, len(paths), video_batch()):  # the frames of all would not fit
            batch = paths[start : start + video_batch()]
            frames = [read_frames(path, self.num_frames, image_size=size) for path in batch]
            mask = np.ones((len(batch), self.num_frames), bool)
            vectors.append(
                self._in_batches(self._embed_frames, video_batch(), np.stack(frames), mask)
            )
        return np.concatenate(vectors)

    def embed_pixels(
        self,
        pixels: Float[np.ndarray, "b t s s 3"],
        frame_mask: Bool[np.ndarray, "b t"] | None = None,
    ) -> Float[np.ndarray, "b e"]:
        """Unit vectors, float32 [b, e], of videos that are already normalised pixels.

        Args:
            pixels: float32 [b, num_frames, image_size, image_size, 3].
            frame_mask: bool [b, num_frames], True where a frame is real; None = all are. What the
                others hold changes nothing. A video of which no frame is real gives zeros.

        Raises:
            ValueError: if shape, dtype or range are others; it says what is expected.
        """
        pixels, frame_mask = inputs.check_pixels(
            pixels, frame_mask, self.num_frames, self.arch.image_size
        )
        return self._in_batches(self._embed_pixels, video_batch(), pixels, frame_mask)

    def embed_text(self, texts: str | Sequence[str]) -> Float[np.ndarray, "b e"]:
        """Unit vectors, float32 [b, e], of a text or a list of texts.

        Raises:
            ValueError: if the model's vocabulary is too small for texts; `embed_tokens` takes ids.
        """
        return self.embed_tokens(*self.tokenizer(texts))

    def embed_tokens(
        self, ids: Int[np.ndarray, "b n"], mask: Bool[np.ndarray, "b n"] | None = None
    ) -> Float[np.ndarray, "b e"]:
        """Unit vectors, float32 [b, e], of texts that are already token ids.

        Args:
            ids: int32 [b, n]; the largest id of a row is the end of the text.
            mask: bool [b, n], True up to the end; None = up to the largest id.

        Raises:
            ValueError: if shape, dtype or range are others; it says what is expected.
        """
        ids, mask = inputs.check_ids(ids, mask, self.arch.vocab_size, self.arch.context_length)
        return self._in_batches(self._embed_tokens, TEXT_BATCH, ids, mask)

    def similarity(
        self, text: Float[np.ndarray, "n e"], video: Float[np.ndarray, "m e"]
    ) -> Float[np.ndarray, "n m"]:
        """The cosine of every text and every video times the logit scale, float32 [n, m]."""
        scale = self.params["logit_scale"]
        return np.asarray(similarity(jnp.asarray(text), jnp.asarray(video), scale))

    def save(
        self, file: str | os.PathLike, *, layout: str = "tempme_jax", backbone: bool = False
    ) -> None:
        """Writes all parameters to a safetensors file.

        Args:
            file: where to.
            layout: "tempme_jax" also records the method, so that `load(file)` opens it as it is.
                "openai" and "huggingface" hold plain CLIP, "published" what TempMe trains, too.
            backbone: whether the file is to be a plain CLIP, to be adapted by any method; what was
                learned is folded in.

        Raises:
            WeightsError: if the layout, or a plain CLIP, has no place for what the method has
                learned; of LoRA `fold().save(...)` leaves plain CLIP.
        """
        if backbone:
            plain = self.fold()
            flat = flax.traverse_util.flatten_dict(jax.device_get(plain.params))
            check_params(flat, shapes(Clip(self.arch), 1), may_lack=set())
            return save_weights(file, flat, self.arch, layout=layout)
        options = dataclasses.asdict(self.adapter) | dataclasses.asdict(self.reducer)
        settings = {
            "method": self.method,
            "options": options,
            "folded": type(self.adapter) is not type(split_method(self.method)[0]),
            "num_frames": self.num_frames,
            "max_words": self.max_words,
            "drawn": {"seed": self.drawn.seed, "paths": sorted(map(list, self.drawn.paths))},
        }
        flat = flax.traverse_util.flatten_dict(jax.device_get(self.params))
        save_weights(file, flat, self.arch, layout=layout, settings=settings)

    def fold(self) -> "Model":
        """The same function with what was learned added to the frozen weights, where it can be."""
        adapter, params = self.adapter.fold(self.params)
        return dataclasses.replace(self, network=self.network.copy(adapter=adapter), params=params)

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """Texts to ids."""
        arch = self.arch
        return Tokenizer(self.max_words, arch.context_length, vocab_size=arch.vocab_size)

    @functools.cached_property
    def folded(self) -> tuple[Clip, dict]:
        """What `embed_*` run: folded, kernels in the dtype of the activations."""
        model = self.fold()
        flat = flax.traverse_util.flatten_dict(model.params)
        for path in [path for path in flat if path[-1] == "kernel"]:
            flat[path] = jnp.asarray(flat[path], self.network.dtype or jnp.float32)
        return model.network, {"params": flax.traverse_util.unflatten_dict(flat)}

    def _embed_frames(self, frames, mask):
        return encode_frames(*self.folded, frames, mask)

    def _embed_pixels(self, pixels, mask):
        return encode_pixels(*self.folded, pixels, mask)

    def _embed_tokens(self, ids, mask):
        return encode_tokens(*self.folded, ids, mask)

    def _in_batches(self, encode, size: int, *arrays: np.ndarray) -> np.ndarray:
        """Rows of the arrays through `encode`, at most `size` at once."""
        rows = len(arrays[0])
        vectors = [np.zeros((0, self.arch.embed_dim), np.float32)]
        for start in range(0, rows, size):
            batch = [a[start : start + size] for a in arrays]
            count = len(batch[0])
            filled = 1 << (count - 1).bit_length()
            batch = [np.pad(a, [(0, filled - count)] + [(0, 0)] * (a.ndim - 1)) for a in batch]
            vectors.append(np.asarray(encode(*batch))[:count])
        return np.concatenate(vectors)


def video_batch() -> int:
    """How many videos go through the network at once."""
    return VIDEO_BATCH.get(jax.default_backend(), VIDEO_BATCH_ELSEWHERE)


@functools.partial(jax.jit, static_argnums=0)
def encode_pixels(network: Clip, params: dict, pixels: jax.Array, mask: jax.Array) -> jax.Array:
    """Unit vectors [b, e] of normalised pixels."""
    return unit_length(network.apply(params, pixels, mask, method="encode_video")[0])


@functools.partial(jax.jit, static_argnums=0)
def encode_frames(network: Clip, params: dict, frames: jax.Array, mask: jax.Array) -> jax.Array:
    """Unit vectors [b, e] of uint8 frames: they are normalised on the device."""
    return encode_pixels(network, params, inputs.normalise(frames), mask)


@functools.partial(jax.jit, static_argnums=0)
def encode_tokens(network: Clip, params: dict, ids: jax.Array, mask: jax.Array) -> jax.Array:
    """Unit vectors [b, e] of token ids."""
    return unit_length(network.apply(params, ids, mask, method="encode_text"))
