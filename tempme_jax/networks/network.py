"""The base class of all networks: a backbone, whose towers embed videos and texts."""

from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from tempme_jax.adapters.base import Adapter
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.tokens import Stage, Tokens
from tempme_jax.reducers.base import Reducer


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
    """

    # What it is trained for, see `training.tasks`.
    objective = "contrastive"
    # Whether it can judge a text and a video together, see `Umt.judge`.
    can_judge = False
    # Whether its text tower has dropout.
    drops_words = False

    arch: Architecture
    adapter: Adapter = Adapter()
    reducer: Reducer = Reducer()
    dtype: Any = None
    remat: bool = False
    drop_path: float = 0.0
    dropout: float = 0.0

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
