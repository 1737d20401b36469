"""A model that embeds videos and texts: a network, a method, and the parameters of both."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from tempme_jax import encoding, inputs
from tempme_jax.devices import Device, find_device, find_dtype
from tempme_jax.dial import Dial, turn_dial
from tempme_jax.frame_embedding import Batches
from tempme_jax.late_interaction import FrameVectors, require_tau, score_in_blocks
from tempme_jax.losses import compute_similarity
from tempme_jax.methods import find_frame_problem
from tempme_jax.model_files import Drawn, ModelFiles
from tempme_jax.networks.macs import list_stages
from tempme_jax.networks.network import Network
from tempme_jax.networks.tokens import Stage
from tempme_jax.parameters import cast_kernels, split
from tempme_jax.two_towers import TwoTowers
from tempme_jax.vectors import normalize
from tempme_jax.weights.saved import TrainingFacts


@dataclasses.dataclass(frozen=True, eq=False)
class Model(ModelFiles, TwoTowers):
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
        base: name of the weights that it was made of, for people; "" if they were drawn.
        trained: what its training says of it, if that is known.
        vocabulary: a tokenizer that lies with the weights, see `TwoTowers`.
        dialed: what `dial` has changed; None if nothing.

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
    base: str = dataclasses.field(default="", repr=False)
    trained: TrainingFacts | None = dataclasses.field(default=None, repr=False)
    vocabulary: str = dataclasses.field(default="", repr=False)
    dialed: Dial | None = dataclasses.field(default=None, repr=False)

    @property
    def video_batch(self) -> int:
        """The number of videos that go through the video tower at once."""
        return encoding.choose_video_batch(self.device.platform if self.device else None)

    @property
    def device(self) -> Device | None:
        """The device that holds the parameters and computes; None if they are on several."""
        leaves = jax.tree.leaves(self.params)
        devices = leaves[0].devices() if leaves and isinstance(leaves[0], jax.Array) else set()
        return devices.pop() if len(devices) == 1 else None

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the activations; parameters and vectors are float32."""
        return jnp.dtype(self.network.dtype or jnp.float32)

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

    def encode_each_frame(self, batches: Batches) -> FrameVectors:
        """Return the vectors of batches of frames and masks, and those of each frame.

        Raises:
            ValueError: if there are none of frames; it says which methods keep them.
        """
        if self.frame_problem:
            return super().encode_each_frame(batches)
        f, e = self.num_frames, self.arch.embed_dim
        empty = (np.zeros(shape, np.float32) for shape in ((0, e), (0, f, e), (0, f)))
        parts = [FrameVectors(*empty)]
        for count, filled in inputs.fill_batches(batches):
            found = encoding.encode_each_frame(*self.folded, *filled)
            parts.append(FrameVectors(*(np.asarray(array)[:count] for array in found)))
        return FrameVectors(*map(np.concatenate, zip(*parts, strict=True)))

    @functools.cached_property
    def frame_problem(self) -> str:
        """Why there is no vector of each frame of a video; empty if there is."""
        return find_frame_problem(self.network, self.num_frames)

    @property
    def tau(self) -> float:
        """The learned temperature of late interaction; 0 = trained with videos' mean vectors."""
        return float(self.network.compute_tau(self.params)) if self.network.tau else 0.0

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
            inputs.split_rows(self.video_batch, pixels, frame_mask),
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
        self,
        text: Float[np.ndarray, "n e"],
        video: Float[np.ndarray, "m e"] | FrameVectors,
        *,
        tau: float | None = None,
    ) -> Float[np.ndarray, "n m"]:
        """Return the similarity matrix of texts and videos.

        Args:
            text: float32 [n, e], as from `embed_text`.
            video: float32 [m, e], as from `embed_video`; or, for late interaction, what
                `embed_frames` returned.
            tau: temperature of late interaction; default: the one that was learned, or else
                infinity, with which it is the mean.

        Returns:
            The cosine of every text and every video, or the score of late interaction, times the
            scale of the loss, float32 [n, m].

        Raises:
            ValueError: if the model was trained to compare texts with frames, and there are none.
        """
        scale = self.network.compute_scale(self.params)
        if isinstance(video, FrameVectors):
            tau = require_tau("tau", (self.tau or math.inf) if tau is None else tau)
            unit = np.asarray(normalize(jnp.asarray(text)))
            return np.asarray(scale) * score_in_blocks(unit, video, tau)
        if self.network.tau or tau is not None:
            raise ValueError(
                "late interaction compares texts with the frames of videos, so it needs what "
                "embed_frames returns, not vectors of whole videos"
            )
        arrays = map(jnp.asarray, (text, video, scale))
        return np.asarray(compute_similarity(*arrays, unit_videos=self.network.unit_videos))

    def to(self, device: str | Device | None = None, *, dtype: Any = None) -> "Model":
        """Return the same model on another device, or with activations of another dtype.

        Args:
            device: a name such as "cpu" or "gpu:1", or a `jax.Device`; None = stay.
            dtype: "float32", "bfloat16", or such a dtype of JAX; None = stay.

        Raises:
            ValueError: if there is no such device, or models do not compute in such a dtype.

        >>> import tempme_jax
        >>> model = tempme_jax.load("tiny-tempme").to("cpu", dtype="bfloat16")
        >>> model.device.platform, model.dtype.name
        ('cpu', 'bfloat16')
        """
        changed: dict[str, Any] = {}
        if device is not None:
            changed["params"] = jax.device_put(self.params, find_device(device))
        if dtype is not None:
            changed["network"] = self.network.copy(dtype=find_dtype(dtype))
        return dataclasses.replace(self, **changed)

    def dial(self, **options: Any) -> "Model":
        """Return the same model at another setting of its reducer, slower or faster.

        Texts are embedded as before; vectors of videos change, the more the faster it is.

        Args:
            **options: options of the reducer, such as `r`, `keep_cross` and `keep_intra` of TempMe,
                in place of those that the model was loaded with; none = as it was loaded.

        Raises:
            ValueError: if an option is not one of the reducer, does not fit the backbone and the
                number of frames, or needs other parameters than those that were learned.

        >>> import tempme_jax
        >>> model = tempme_jax.load("tiny-tempme")
        >>> [stage.out for stage in model.dial(r=3).schedule][-1], model.schedule[-1].out
        (19, 31)
        """
        return turn_dial(self, options)

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
