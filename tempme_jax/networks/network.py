"""The base class of all networks: a backbone, whose towers embed videos and texts."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from tempme_jax.adapters.base import Adapter
from tempme_jax.late_interaction import FrameVectors
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.tokens import Stage, Tokens
from tempme_jax.reducers.base import Reducer
from tempme_jax.reducers.schedule import make_schedule

# The path of the temperature of late interaction, of networks that have one.
LOG_TAU = ("log_tau",)


class Network(nn.Module):
    """A backbone with a method: everything that is asked of CLIP, UMT and others.

    Its parameters are those of the towers, `video` and `text`, and others of its own. Called with
    pixels, frame mask, ids and mask, it returns the vectors of videos and texts, and touches every
    parameter, so it can be initialised. See docs/adding_a_backbone.md.

    Attributes:
        arch: sizes of the towers.
        adapter: what is learned.
        reducer: what happens to the tokens.
        dtype: dtype of the activations; None = that of the parameters.
        remat: whether blocks are computed again in the backward pass, instead of kept from the
            forward pass: a third more arithmetic, a fraction of the memory.
        drop_path: stochastic depth of the video tower's last block, see `Block`.
        dropout: share of activations that the text tower drops. Both act only where `apply` gets a
            key for "dropout", as training gives it.
        tau: initial temperature of late interaction (`late_interaction.score`), by which texts and
            videos are then compared; it is learned, as the parameter "log_tau". 0 = they are
            compared by the videos' vectors.
    """

    # What it is trained for, see `training.tasks`.
    objective = "contrastive"
    # Whether it can judge a text and a video together, see `Umt.judge`.
    can_judge = False
    # Whether its text tower has dropout.
    drops_words = False
    # Whether its text tower reads all positions of every text, those of the padding, too.
    reads_padding = False

    arch: Architecture
    adapter: Adapter = Adapter()
    reducer: Reducer = Reducer()
    dtype: Any = None
    remat: bool = False
    drop_path: float = 0.0
    dropout: float = 0.0
    tau: float = 0.0

    @property
    def unit_videos(self) -> bool:
        """True if vectors of videos are made unit length before they are compared with texts."""
        return self.adapter.unit_videos

    def encode_video(
        self,
        pixels: Float[Array, "b f s s 3"],
        frame_mask: Bool[Array, "b f"] | None = None,
        *,
        trace: bool = False,
    ) -> tuple[Float[Array, "b e"], Tokens]:
        """Return the vectors of videos, not of unit length, and their last tokens."""
        raise NotImplementedError

    def encode_video_frames(
        self, pixels: Float[Array, "b f s s 3"], frame_mask: Bool[Array, "b f"] | None = None
    ) -> FrameVectors:
        """Return the vectors of videos, as `encode_video` does, and those of their frames.

        It may only be called if `find_frame_problem` finds none.
        """
        raise NotImplementedError

    def find_frame_problem(self, num_frames: int) -> str:
        """Say why a video has no vector of each of its frames; empty if it has.

        Raises:
            ValueError: if the method does not work with the backbone.
        """
        adapter, arch = self.adapter, self.arch
        if adapter.summary_tokens:
            return f"{type(adapter).__name__} reads one learned token of the whole video"
        if type(adapter).pool is not Adapter.pool:
            return f"{type(adapter).__name__} does not take a mean over frames"
        last = make_schedule(
            self.reducer, frames=num_frames, tokens=arch.tokens, depth=arch.depth,
            n_cls=arch.class_tokens,
        )[-1]  # fmt: skip
        rows = self.count_rows(last, num_frames)
        if not rows:
            return f"the backbone {arch.backbone!r} reads no vectors of frames"
        if rows != num_frames:
            merging = type(self.reducer).__name__
            return f"{merging} merges frames, and vectors of {rows} of {num_frames} are left"
        return ""

    def count_rows(self, last: Stage, frames: int) -> int:
        """Return how many vectors the tower pools to that of a video; 0 = it makes none.

        Args:
            last: the stage of the last block.
            frames: number of frames of a video.
        """
        return 0

    @staticmethod
    def compute_tau(params: dict) -> jax.Array:
        """Return the temperature of late interaction, float32 []."""
        return jnp.exp(params["log_tau"])

    def encode_text(
        self, ids: Int[Array, "b n"], mask: Bool[Array, "b n"] | None = None
    ) -> Float[Array, "b e"]:
        """Return the vectors of texts, not of unit length."""
        raise NotImplementedError

    @staticmethod
    def mark_words(ids: Int[np.ndarray, "b n"]) -> Bool[np.ndarray, "b n"]:
        """Return which ids of rows are text, for callers who do not say it."""
        raise NotImplementedError

    @staticmethod
    def compute_scale(params: dict) -> jax.Array:
        """Return the factor by which the loss multiplies cosines, float32 []."""
        raise NotImplementedError

    @staticmethod
    def limit(params: dict) -> dict:
        """Return parameters, perhaps only some of them, within the bounds that training keeps."""
        return params

    def count_outside_macs(self, last: Stage, frames: int) -> tuple[int, int]:
        """Count the multiply-accumulates before and after the blocks, patches left out.

        Args:
            last: the stage of the last block.
            frames: number of frames of a video.

        Returns:
            The counts for one video in the two ways of `networks.macs`: `mac` and `paper`.
        """
        raise NotImplementedError
