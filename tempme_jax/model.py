"""A model that embeds videos and texts: a network, a method, and the parameters of both."""

import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from tempme_jax import encoding, inputs
from tempme_jax.adapters.base import Adapter, Path
from tempme_jax.losses import compute_similarity
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.backbones import make_network
from tempme_jax.networks.macs import list_stages
from tempme_jax.networks.network import Network
from tempme_jax.networks.tokens import Stage
from tempme_jax.parameters import cast_kernels, find_shapes, flatten, split
from tempme_jax.reducers.base import Reducer
from tempme_jax.two_towers import Batches, TwoTowers
from tempme_jax.weights.files import save_weights
from tempme_jax.weights.layouts import check_params


class Drawn(NamedTuple):
    """The paths of parameters that no file held, and the seed that they were drawn with."""

    seed: int = 0
    paths: frozenset[Path] = frozenset()


@dataclasses.dataclass(frozen=True, eq=False)
class Model(TwoTowers):
    """Embeds videos and texts into one space. Made by `load` and `create`.

    Attributes:
        network: the Flax module, with its architecture, adapter and reducer.
        params: its parameters, a tree of float32 arrays.
        method: name of the method.
        num_frames: frames of every video.
        max_words: ids of every text, start and end included; longer texts are cut with a warning.
        drawn: which of the learned parameters still have their initial values.
        options: the options of the method that the user gave, in place of the paper's.
        adapter_folded: whether what the adapter learned was added to the pretrained weights.

    >>> import numpy as np, tempme_jax
    >>> model = tempme_jax.load("tiny-tempme")
    >>> videos = model.embed_video(np.zeros((2, model.num_frames, 64, 64, 3), np.uint8))
    >>> model.similarity(model.embed_text("a red circle"), videos).shape
    (1, 2)
    """

    network: Network
    params: dict = dataclasses.field(repr=False)
    method: str
    num_frames: int
    max_words: int
    drawn: Drawn = dataclasses.field(default=Drawn(), repr=False)
    options: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    adapter_folded: bool = dataclasses.field(default=False, repr=False)

    @property
    def arch(self) -> Architecture:
        """The sizes of the backbone."""
        return self.network.arch

    @property
    def adapter(self) -> Adapter:
        """The half of the method that says what is learned."""
        return self.network.adapter

    @property
    def reducer(self) -> Reducer:
        """The half of the method that says what happens to the tokens."""
        return self.network.reducer

    @property
    def video_batch(self) -> int:
        """The number of videos that go through the video tower at once."""
        return encoding.choose_video_batch()

    @property
    def trainable(self) -> dict:
        """The part of `params` that trains: what is not pretrained, and what the adapter tunes."""
        return split(self.network, self.params)[0]

    @property
    def schedule(self) -> tuple[Stage, ...]:
        """The counts of clips and tokens that every block of the video tower works on."""
        return list_stages(self.network, self.num_frames)

    def encode_frames(self, batches: Batches) -> Float[np.ndarray, "b e"]:
        """Return the vectors of batches of frames, uint8 [b, f, s, s, 3], and masks [b, f]."""
        return self._encode(encoding.encode_frames, batches)

    def embed_pixels(
        self,
        pixels: Float[np.ndarray, "b t s s 3"],
        frame_mask: Bool[np.ndarray, "b t"] | None = None,
    ) -> Float[np.ndarray, "b e"]:
        """Embed videos that are already normalised pixels.

        Args:
            pixels: float32 [b, num_frames, image_size, image_size, 3].
            frame_mask: bool [b, num_frames], True where a frame is real; None = all are. The
                pixels of masked frames change nothing.

        Returns:
            Vectors as of `embed_video`, float32 [b, e]; zeros for a video without a real frame.

        Raises:
            ValueError: if shape, dtype or range differ; it says what is expected.
        """
        pixels, frame_mask = inputs.check_pixels(
            pixels, frame_mask, self.num_frames, self.arch.image_size
        )
        return self._encode(
            encoding.encode_pixels,
            inputs.split_rows(encoding.choose_video_batch(), pixels, frame_mask),
        )

    def embed_tokens(
        self, ids: Int[np.ndarray, "b n"], mask: Bool[np.ndarray, "b n"] | None = None
    ) -> Float[np.ndarray, "b e"]:
        """Embed texts that are already token ids.

        Args:
            ids: int32 [b, n]; for CLIP the largest id of a row ends the text, for UMT 0 is padding.
            mask: bool [b, n], True up to the end of the text; None = as the ids say.

        Returns:
            Vectors of unit length, float32 [b, e], one for each row.

        Raises:
            ValueError: if shape, dtype or range differ; it says what is expected.
        """
        arch = self.arch
        ids, mask = inputs.check_ids(
            ids, mask, arch.vocab_size, arch.context_length, mark_words=self.network.mark_words
        )
        return self._encode(
            encoding.encode_tokens, inputs.split_rows(encoding.TEXT_BATCH, ids, mask)
        )

    def judge(self, text: str, videos: UInt8[np.ndarray, "b t h w 3"]) -> Float[np.ndarray, " b"]:
        """Return how likely a text fits each video, by a network that looks at both together.

        Args:
            text: the text.
            videos: frames, uint8 [b, t, h, w, 3] in RGB, as for `embed_video`.

        Raises:
            ValueError: if the network has no matching head; UMT has one.
        """
        if not self.network.can_judge:
            raise ValueError(f"the backbone {self.arch.backbone!r} has no matching head; 'umt' has")
        if not isinstance(text, str):
            raise TypeError(f"judge takes one text, not {type(text).__name__}; call it for each")
        words, model = self.tokenizer(text), self.folded
        judge = functools.partial(encoding.judge_frames, *model, *words)
        return inputs.encode_batches(judge, self.split_frames(np.asarray(videos)))

    def similarity(
        self, text: Float[np.ndarray, "n e"], video: Float[np.ndarray, "m e"]
    ) -> Float[np.ndarray, "n m"]:
        """Return the similarity matrix of texts and videos.

        Args:
            text: float32 [n, e], as from `embed_text`.
            video: float32 [m, e], as from `embed_video`.

        Returns:
            The cosine of every text and every video times the scale of the loss, float32 [n, m].
        """
        scale = self.network.compute_scale(self.params)
        arrays = map(jnp.asarray, (text, video, scale))
        return np.asarray(compute_similarity(*arrays, unit_videos=self.network.unit_videos))

    def save(
        self, file: str | os.PathLike, *, layout: str = "tempme_jax", backbone: bool = False
    ) -> None:
        """Write all parameters to a safetensors file, whole or not at all.

        Args:
            file: path of the file, ending in .safetensors; a file there is replaced.
            layout: names of the arrays. "tempme_jax" holds every method; "openai" and
                "huggingface" hold plain CLIP; "published" also holds what TempMe trains. Every
                file records the method and its settings, so `load(file)` opens the same model.
            backbone: whether to write plain CLIP, for use with any method, with what was learned
                folded in.

        Raises:
            WeightsError: if the layout, or plain CLIP, has no place for what the method learned;
                with LoRA, `fold().save(...)` leaves plain CLIP.
            ValueError: if the layout is unknown, or the name of the file ends otherwise.

        >>> import pathlib, tempfile, tempme_jax
        >>> model = tempme_jax.load("tiny-tempme")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(pathlib.Path(folder) / "model.safetensors")
        ...     tempme_jax.load(pathlib.Path(folder) / "model.safetensors").method
        'tempme'
        """
        if backbone:
            flat = flatten(jax.device_get(self.fold().params))
            check_params(flat, find_shapes(make_network(self.arch), 1), may_lack=set())
            return save_weights(file, flat, self.arch, layout=layout)
        settings = {
            "method": self.method,
            "options": dataclasses.asdict(self.adapter) | dataclasses.asdict(self.reducer),
            "given": self.options,
            "folded": self.adapter_folded,
            "num_frames": self.num_frames,
            "max_words": self.max_words,
            "drawn": {"seed": self.drawn.seed, "paths": sorted(map(list, self.drawn.paths))},
        }
        flat = flatten(jax.device_get(self.params))
        save_weights(file, flat, self.arch, layout=layout, settings=settings)

    def fold(self) -> "Model":
        """Return a model that computes the same, what was learned added to the frozen weights.

        An adapter that cannot be added stays as it is.
        """
        adapter, params = self.adapter.fold(self.params)
        network, folded = self.network.copy(adapter=adapter), adapter is not self.adapter
        folded = folded or self.adapter_folded
        return dataclasses.replace(self, network=network, params=params, adapter_folded=folded)

    @functools.cached_property
    def folded(self) -> tuple[Network, dict]:
        """The network and the variables that `embed_*` run: folded, kernels in its dtype."""
        model = self.fold()
        return model.network, {"params": cast_kernels(model.params, self.network.dtype)}

    def _encode(self, encode: Callable[..., jax.Array], batches: Batches) -> np.ndarray:
        """Return the vectors of batches of rows."""
        encode = functools.partial(encode, *self.folded)
        return inputs.encode_batches(encode, batches, self.arch.embed_dim)
