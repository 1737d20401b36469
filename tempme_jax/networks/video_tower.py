"""The video tower, written once for every backbone: frames become tokens, blocks, one vector.

A backbone gives it two ends: how frames become tokens (`embed`, `make_entrance_norm`), and what is
read from the last ones (`read`).
"""

from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from tempme_jax.adapters.base import Adapter
from tempme_jax.late_interaction import FrameVectors
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.block import choose_block_type
from tempme_jax.networks.layers import Linear
from tempme_jax.networks.tokens import Tokens, make_tokens
from tempme_jax.reducers.base import Reducer
from tempme_jax.reducers.schedule import make_schedule
from tempme_jax.vectors import average_rows


class VideoTower(nn.Module):
    """Maps the frames of a video to one vector; a backbone gives it its two ends.

    Attributes:
        arch, adapter, reducer, dtype, remat: those of the `Network`.
        drop_path: stochastic depth of the last block in training, see `Block`; it grows linearly
            from 0 in the first one.
    """

    arch: Architecture
    adapter: Adapter
    reducer: Reducer
    dtype: Any = None
    remat: bool = False
    drop_path: float = 0.0

    # What differs between backbones in the blocks: epsilon of layer norms, and bias of keys.
    epsilon = 1e-5
    key_bias = True

    @nn.compact
    def __call__(
        self,
        pixels: Float[Array, "b f s s 3"],
        frame_mask: Bool[Array, "b f"] | None = None,
        shared: Any = None,
        *,
        trace: bool = False,
        each_frame: bool = False,
    ) -> Any:
        """Return the vector of each video, float32 [b, e], and its last tokens, as it is read.

        Args:
            pixels: float [b, f, image_size, image_size, 3], normalised.
            frame_mask: bool [b, f], True where a frame is real; None = all are. The pixels of
                masked frames change nothing.
            shared: the arrays that the adapter shares between the towers.
            trace: whether the tokens carry the source map.
            each_frame: whether to return the vectors of videos and frames instead, see
                `read_frames`.
        """
        arch, adapter = self.arch, self.adapter
        stages = make_schedule(
            self.reducer,
            frames=pixels.shape[1],
            tokens=arch.tokens,
            depth=arch.depth,
            n_cls=arch.class_tokens,
        )
        enter = self.make_entrance_norm()
        tokens = self.enter(pixels, frame_mask, joined=stages[0].clips == 1, trace=trace)
        tokens = tokens.replace(x=enter(tokens.x))
        contexts = adapter.contexts("video", self.dtype)
        for layer, stage in enumerate(stages):
            context = contexts(layer, stage, tokens, shared)
            if layer == 0 and context is not None and adapter.prompts_enter:
                context = enter(context)  # as if it had been in the sequence from the start
            tokens = self.make_block(layer)(tokens, stage, context, shared)
        read = self.read_frames if each_frame else self.read
        return read(tokens, frames=pixels.shape[1])

    def make_block(self, layer: int) -> nn.Module:
        """Return a block of the tower."""
        arch = self.arch
        return choose_block_type(remat=self.remat)(
            "video", layer, arch.heads, arch.activation, self.adapter, self.reducer,
            dtype=self.dtype, mlp_width=arch.get_mlp_width("video"), epsilon=self.epsilon,
            key_bias=self.key_bias, drop_path=self.drop_path * layer / max(arch.depth - 1, 1),
            name=f"block_{layer}",
        )  # fmt: skip

    def enter(
        self,
        pixels: Float[Array, "b f s s 3"],
        mask: Bool[Array, "b f"] | None,
        *,
        joined: bool,
        trace: bool,
    ) -> Tokens:
        """Return one clip of tokens for each frame, and the adapter's tokens of the whole video."""
        side = self.arch.image_size
        chex.assert_shape(pixels, (None, None, side, side, 3))
        if mask is not None:
            chex.assert_shape(mask, pixels.shape[:2])
            pixels = jnp.where(mask[:, :, None, None, None], pixels, 0)
        x = self.embed(pixels, joined=joined)
        tokens = make_tokens(x, mask, n_cls=self.arch.class_tokens, trace=trace)
        summary = self.adapter.summary(self.arch, self.dtype)()
        if summary is not None:
            summary = jnp.broadcast_to(summary, (pixels.shape[0], *summary.shape))
        return tokens.replace(summary=summary)

    def embed_patches(
        self, pixels: Float[Array, "b f s s 3"], *, use_bias: bool
    ) -> Float[Array, "b f p d"]:
        """Return the patches of each frame, embedded by one matrix product."""
        arch = self.arch
        b, f = pixels.shape[:2]
        side = arch.image_size // arch.patch
        if side * arch.patch < arch.image_size:  # see `architecture.CUT_TO_PATCHES`
            pixels = pixels[:, :, : side * arch.patch, : side * arch.patch]
        x = pixels.reshape(b, f, side, arch.patch, side, arch.patch, 3)
        x = x.transpose(0, 1, 2, 4, 3, 5, 6).reshape(b, f, side * side, 3 * arch.patch**2)
        return Linear(arch.width, use_bias=use_bias, dtype=self.dtype, name="patches")(x)

    # The two ends.

    def embed(self, pixels: Float[Array, "b f s s 3"], *, joined: bool) -> Float[Array, "b f n d"]:
        """Return the tokens of each frame, class tokens first, with their positions.

        Args:
            pixels: float [b, f, image_size, image_size, 3].
            joined: whether all frames are one sequence from the first block on.
        """
        raise NotImplementedError

    def make_entrance_norm(self) -> Callable[[jax.Array], jax.Array]:
        """Return what is applied to the tokens before the first block."""
        return lambda x: x

    def read(self, tokens: Tokens, *, frames: int) -> tuple[Float[Array, "b e"], Tokens]:
        """Return the vectors of the videos, and their last tokens."""
        raise NotImplementedError

    def read_frames(self, tokens: Tokens, *, frames: int) -> FrameVectors:
        """Return the vectors of the videos, as `read` does, and of each of their frames.

        It is only called if `Network.find_frame_problem` finds none.
        """
        raise NotImplementedError

    def average(self, rows: Float[Array, "b f e"], weight: Float[Array, "b f"]) -> FrameVectors:
        """Return the frames as the adapter's mean takes them, and that mean."""
        rows = self.adapter.relate(self.dtype)(rows, weight)
        vectors = average_rows(rows, weight)
        return FrameVectors(vectors, jnp.where(weight[:, :, None] > 0, rows, 0), weight)
