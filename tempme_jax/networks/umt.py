"""UMT: a video tower without class tokens, and BERT, whose last blocks look at the video.

"Unmasked Teacher: Towards Training-Efficient Video Foundation Models" (Li et al., ICCV 2023). All
frames as one sequence are the reducer `joined`; UMT4Clip (TempMe, section 4.3) encodes every frame
by itself. See docs/methods/umt.md.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from tempme_jax.adapters.base import Adapter
from tempme_jax.late_interaction import FrameVectors
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.attention import Seen
from tempme_jax.networks.bert import AnswerDecoder, BertTower
from tempme_jax.networks.layers import Linear, make_layer_norm
from tempme_jax.networks.marks import mark_to_padding
from tempme_jax.networks.network import Network
from tempme_jax.networks.tokens import Stage, Tokens
from tempme_jax.networks.video_tower import VideoTower
from tempme_jax.vectors import HIGHEST

TEMPERATURES = np.float32(0.001), np.float32(0.5)


class UmtVideoTower(VideoTower):
    """The video tower of UMT: patches alone, with a table of sines for their positions.

    Attributes:
        pools: whether it reads a vector from the tokens; False for question answering.
    """

    pools: bool = True

    epsilon = 1e-6
    key_bias = False

    def embed(self, pixels: Float[Array, "b f s s 3"], *, joined: bool) -> Float[Array, "b f p d"]:
        """Return the patches of each frame; in a joined sequence, positions continue."""
        x = self.embed_patches(pixels, use_bias=True)
        frames, patches = x.shape[1:3]
        table = make_sine_table((frames if joined else 1) * patches, self.arch.width)
        return x + table.reshape(1, -1, patches, self.arch.width).astype(x.dtype)

    def read(self, tokens: Tokens, *, frames: int) -> tuple[Float[Array, "b e"], Tokens]:
        """Return the mean direction of the frames' projections, and the normalised tokens."""
        tokens = self.normalize(tokens)
        if not self.pools:
            return jnp.zeros((len(tokens.x), 0)), tokens
        return self.adapter.pool(None)(*self.project_tokens(tokens, frames)), tokens

    def read_frames(self, tokens: Tokens, *, frames: int) -> FrameVectors:
        """Return the directions of the frames' projections, and their mean."""
        return self.average(*self.project_tokens(self.normalize(tokens), frames))

    def normalize(self, tokens: Tokens) -> Tokens:
        """Return the tokens after the layer norm behind the blocks."""
        return tokens.replace(x=make_layer_norm("ln_post", self.dtype, self.epsilon)(tokens.x))

    def project_tokens(
        self, tokens: Tokens, frames: int
    ) -> tuple[Float[Array, "b m e"], Float[Array, "b m"]]:
        """Return the projections that are pooled, and whether each is there, as 1 or 0.

        Tokens count by their sizes. What has merged across frames has one projection.
        """
        b, clips, n, d = tokens.x.shape
        rows = count_rows(self.arch, clips, n, frames)
        size = tokens.size.reshape(b, rows, -1)
        x = tokens.x.reshape(b, rows, -1, d).astype(jnp.float32)
        total = size.sum(axis=2)
        pooled = jnp.einsum("brn,brnd->brd", size, x, precision=HIGHEST)
        pooled = pooled / jnp.maximum(total, 1e-6)[:, :, None]
        pooled = make_layer_norm("ln_pool", None, self.epsilon)(pooled)
        projection = Linear(self.arch.embed_dim, precision=HIGHEST, name="projection")
        return projection(pooled), (total > 0).astype(jnp.float32)


def count_rows(arch: Architecture, clips: int, tokens: int, frames: int) -> int:
    """Return the number of projections of a video: one for every clip, or frame if none merged."""
    return frames if clips * tokens == frames * arch.patches else clips


def count_norms(arch: Architecture, last: Stage, frames: int) -> int:
    """Count the paper's operations of the two layer norms behind the blocks."""
    rows = count_rows(arch, last.clips, last.out, frames)
    return 5 * (last.clips * last.out + rows) * arch.width


def make_sine_table(rows: int, width: int) -> np.ndarray:
    """Return the positions of tokens, float32 [rows, width]: sines and cosines in turn.

    >>> make_sine_table(2, 4).round(2).tolist()
    [[0.0, 1.0, 0.0, 1.0], [0.8399999737739563, 0.5400000214576721, 0.009999999776482582, 1.0]]
    """
    channel = np.arange(width)
    angle = np.arange(rows)[:, None] / 10_000.0 ** (2 * (channel // 2) / width)
    return np.where(channel % 2, np.cos(angle), np.sin(angle)).astype(np.float32)


def flatten_tokens(tokens: Tokens) -> tuple[Float[Array, "b s d"], Bool[Array, "b s"]]:
    """Return all tokens of a video in one row, and which of them are there."""
    b, d = tokens.x.shape[0], tokens.x.shape[-1]
    return tokens.x.reshape(b, -1, d), tokens.real.reshape(b, -1)


class Umt(Network):
    """UMT for retrieval: two towers, and a head that judges whether a text fits a video."""

    objective = "matching"
    can_judge = True
    drops_words = True

    def setup(self):
        """Name the parts: video, text, text_projection, match, temperature."""
        check_adapter(self)
        arch = self.arch
        self.video = UmtVideoTower(
            arch, self.adapter, self.reducer, self.dtype, self.remat, self.drop_path
        )
        self.text = make_text_tower(self)
        self.text_projection = Linear(arch.embed_dim, precision=HIGHEST)
        self.match = Linear(2, precision=HIGHEST)
        self.temperature = self.param("temperature", nn.initializers.constant(0.07), ())

    @property
    def unit_videos(self) -> bool:
        """False: a video's vector is the mean of its frames' unit vectors."""
        return False

    def __call__(self, pixels, frame_mask, ids, mask):
        """Return the vectors of videos and of texts, float32 [b, e] each."""
        video, tokens = self.encode_video(pixels, frame_mask)
        text, words = self.read_text(ids, mask)
        if self.is_initializing():
            self.judge(words, self.remember(tokens))
        return video, text

    def encode_video(self, pixels, frame_mask=None, *, trace: bool = False):
        """Return the vectors and the last tokens, normalised."""
        return self.video(pixels, frame_mask, trace=trace)

    def encode_video_frames(self, pixels, frame_mask=None):
        """Return the vectors of videos and of their frames."""
        return self.video(pixels, frame_mask, each_frame=True)

    def count_rows(self, last: Stage, frames: int) -> int:
        """Return one for every clip, or frame if none merged."""
        return count_rows(self.arch, last.clips, last.out, frames)

    def encode_text(self, ids, mask=None):
        """Return the vectors of texts."""
        return self.read_text(ids, mask)[0]

    def read_text(
        self, ids: Int[Array, "b n"], mask: Bool[Array, "b n"] | None = None
    ) -> tuple[Float[Array, "b e"], Tokens]:
        """Return the vectors of texts and their words, which have not seen a video yet."""
        words = self.text.run(self.text.embed(ids, mask), range(self.text.first_cross))
        return self.text_projection(words.x[:, 0, 0].astype(jnp.float32)), words

    def remember(self, tokens: Tokens) -> tuple[Seen, ...]:
        """Return the keys and values of the last tokens of videos, for `judge`."""
        return self.text.remember(*flatten_tokens(tokens))

    def judge(self, words: Tokens, memory: tuple[Seen, ...]) -> Float[Array, "b 2"]:
        """Return the logits of "does not fit" and "fits" for texts and videos, float32.

        Args:
            words: words of b texts, as from `read_text`.
            memory: what `remember` returned for m videos; the texts that are compared with each
                are b / m neighbouring rows of `words`.
        """
        blocks = range(self.text.first_cross, self.arch.text_depth)
        fused = self.text.run(words, blocks, memory)
        return self.match(fused.x[:, 0, 0].astype(jnp.float32))

    @staticmethod
    def mark_words(ids: Int[np.ndarray, "b n"]) -> Bool[np.ndarray, "b n"]:
        """Mark the ids that are not padding."""
        return mark_to_padding(ids)

    @staticmethod
    def compute_scale(params: dict) -> jax.Array:
        """Return 1 / temperature."""
        return 1 / params["temperature"]

    @staticmethod
    def limit(params: dict) -> dict:
        """Return parameters whose temperature is in 0.001 .. 0.5."""
        if "temperature" not in params:
            return params
        return {**params, "temperature": jnp.clip(params["temperature"], *TEMPERATURES)}

    def count_outside_macs(self, last: Stage, frames: int) -> tuple[int, int]:
        """Count the projection; the paper counts two layer norms instead."""
        rows = count_rows(self.arch, last.clips, last.out, frames)
        return rows * self.arch.width * self.arch.embed_dim, count_norms(self.arch, last, frames)


class UmtAnswers(Network):
    """UMT for questions: the text tower reads a question and the video, a decoder answers."""

    objective = "answers"
    drops_words = True

    def setup(self):
        """Name the parts: video, text, answer."""
        check_adapter(self)
        arch = self.arch
        self.video = UmtVideoTower(
            arch, self.adapter, self.reducer, self.dtype, self.remat, self.drop_path, pools=False
        )
        self.text = make_text_tower(self)
        self.answer = AnswerDecoder(
            arch, self.adapter, self.dtype, self.dropout, depth=arch.text_depth - arch.first_cross,
            first_cross=0, tower="answer", causal=True,
        )  # fmt: skip

    def __call__(self, pixels, frame_mask, ids, mask):
        """Return logits of the words of a question, as if it were an answer [b, n, v]."""
        states = self.read_question(ids, mask, self.encode_video(pixels, frame_mask)[1])
        return self.answer(ids, mask, states)

    def encode_video(self, pixels, frame_mask=None, *, trace: bool = False):
        """Return vectors without elements, and the last tokens, normalised."""
        return self.video(pixels, frame_mask, trace=trace)

    def encode_text(self, ids, mask=None):
        """Raise a ValueError, since the model answers questions."""
        raise ValueError(
            f"the backbone {self.arch.backbone!r} answers questions and makes no vectors of texts; "
            "use one for retrieval"
        )

    def read_question(self, ids, mask, tokens: Tokens) -> tuple[Seen, ...]:
        """Return what an answer sees of questions and videos, see `AnswerDecoder`."""
        memory = self.text.remember(*flatten_tokens(tokens))
        words = self.text.run(self.text.embed(ids, mask), range(self.arch.text_depth), memory)
        return self.answer.remember(*flatten_tokens(words))

    def write_answers(self, ids, mask, states: tuple[Seen, ...]) -> Float[Array, "b n v"]:
        """Return the logits of the next word at every word of answers, see `AnswerDecoder`."""
        return self.answer(ids, mask, states)

    @staticmethod
    def mark_words(ids: Int[np.ndarray, "b n"]) -> Bool[np.ndarray, "b n"]:
        """Mark the ids that are not padding."""
        return mark_to_padding(ids)

    @staticmethod
    def compute_scale(params: dict) -> jax.Array:
        """Return 1: nothing is compared."""
        return jnp.ones(())

    def count_outside_macs(self, last: Stage, frames: int) -> tuple[int, int]:
        """Count as for retrieval, which is what the paper prints."""
        return 0, count_norms(self.arch, last, frames)


def make_text_tower(network: Network) -> BertTower:
    """Return the text tower of a network."""
    arch = network.arch
    return BertTower(
        arch, network.adapter, network.dtype, network.dropout, depth=arch.text_depth,
        first_cross=arch.first_cross, name="text",
    )  # fmt: skip


def check_adapter(network: Network, name: str = "UMT") -> None:
    """Raise a ValueError if an adapter changes what only CLIP's text tower has.

    `name` is that of the network, for people.
    """
    adapter = network.adapter
    changed = [site for site in ("sentence", "shared", "summary") if has_own(adapter, site)]
    if changed:
        raise ValueError(
            f"{type(adapter).__name__} does not work with {name}: it changes the site "
            f"{changed[0]!r}, which {name}'s towers do not have; choose full, lora, adapter or "
            "prompt"
        )


def has_own(adapter: object, site: str) -> bool:
    """Return whether the class of an adapter replaces a site of the base class."""
    return getattr(type(adapter), site) is not getattr(Adapter, site)
