"""Vectors of the texts and videos of a split, embedded on all devices, and their similarities."""

import dataclasses
import functools
from typing import Any, cast

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from tempme_jax.datasets.prepared import Prepared
from tempme_jax.encoding import TEXT_BATCH
from tempme_jax.inputs import convert_to_pixels
from tempme_jax.late_interaction import FrameVectors, require_tau, scale_to_unit, score_in_blocks
from tempme_jax.model import Model
from tempme_jax.networks.network import Network
from tempme_jax.screen import make_progress_bar
from tempme_jax.training.batches import FrameReader, VideoRows, read_batches
from tempme_jax.training.config import Config
from tempme_jax.training.sharding import place, place_batch, replicate, round_up, split_rows
from tempme_jax.vectors import normalize


@dataclasses.dataclass(frozen=True, eq=False)
class SplitEmbedder:
    """Embeds texts and videos with a model as it is now, and compares them.

    Attributes:
        model: the model; `params` are used in place of its own parameters.
        params: the parameters, on the devices of the mesh.
        config: the settings, mainly those of `config.evaluate`.
        mesh: the mesh of all devices.
        quiet: whether the progress bar is hidden.
    """

    model: Model
    params: dict
    config: Config
    mesh: Mesh
    quiet: bool = True

    @functools.cached_property
    def tau(self) -> float:
        """The temperature of late interaction over frames; 0 to compare texts with whole videos."""
        if self.config.evaluate.tau:
            return require_tau("evaluate.tau", self.config.evaluate.tau)
        network = self.model.network
        return float(network.compute_tau(self.params)) if network.tau else 0.0

    def embed_texts(self, texts: list[str]) -> Float[np.ndarray, "n e"]:
        """Return unit vectors of all texts, float32, in every process."""
        size = round_up(TEXT_BATCH, self.mesh.shape["data"])
        ids, mask = self.model.tokenizer(texts)
        vectors = [np.zeros((0, self.model.arch.embed_dim), np.float32)]
        for start in range(0, len(texts), size):
            part = slice(start, start + size)
            fill = size - len(ids[part])
            rows = {
                name: place(split_rows(self.mesh), np.pad(array[part], ((0, fill), (0, 0))))
                for name, array in (("ids", ids), ("text_mask", mask))
            }
            found = np.asarray(encode_texts(self.model.network, self.mesh, self.params, rows))
            vectors.append(found[: size - fill])
        return np.concatenate(vectors)

    def embed_videos(self, prepared: Prepared) -> "Float[np.ndarray, 'n e'] | FrameVectors":
        """Return unit vectors of all videos, float32, in every process; with `tau`, of frames.

        A progress bar is shown on a terminal unless `quiet`.
        """
        settings, f, e = self.config.evaluate, self.model.num_frames, self.model.arch.embed_dim
        shapes = [(e,), (f, e), (f,)] if self.tau else [(e,)]
        vectors = [np.zeros((len(prepared), *shape), np.float32) for shape in shapes]
        size = round_up(settings.batch_size, self.mesh.shape["data"])
        rows = VideoRows(FrameReader(prepared, f, settings.frame_sampling), size)
        label, quiet = f"Embedding {'+'.join(prepared.splits)}", jax.process_index() > 0
        with (
            make_progress_bar(
                label=label, total=len(prepared), unit="videos", quiet=self.quiet or quiet
            ) as bar,
            read_batches(
                rows,
                size,
                workers=self.config.data.workers,
                process=jax.process_index(),
                processes=jax.process_count(),
            ) as reader,
        ):
            for batch in reader:
                number, *found = encode_videos(
                    self.model.network, self.mesh, self.params, place_batch(self.mesh, batch),
                    self.tau > 0,
                )  # fmt: skip
                number = np.asarray(number)
                for whole, part in zip(vectors, found, strict=True):
                    whole[number[number >= 0]] = np.asarray(part)[number >= 0]
                bar.update(int(np.count_nonzero(number >= 0)))
        return FrameVectors(*vectors) if self.tau else vectors[0]

    def compare(self, texts: np.ndarray, videos: Any) -> Float[np.ndarray, "texts videos"]:
        """Return the similarities of texts and videos, or with `tau` of texts and their frames."""
        scale = np.asarray(self.model.network.compute_scale(self.params))
        if self.tau:
            return scale * score_in_blocks(texts, videos, self.tau)
        return scale * (texts @ videos.T)


@functools.partial(jax.jit, static_argnums=(0, 1, 4))
def encode_videos(
    network: Network,
    mesh: Mesh,
    params: dict,
    batch: dict[str, jax.Array],
    each_frame: bool = False,
) -> tuple[jax.Array, ...]:
    """Return the numbers of the videos and their vectors [b, e], on every device.

    With `each_frame`, the vectors are the three arrays of `FrameVectors`.
    """
    adapter, params = network.adapter.fold(params)
    encode = functools.partial(network.copy(adapter=adapter).apply, {"params": params})
    arch = network.arch
    pixels = convert_to_pixels(batch["frames"], arch.image_size, arch.mean, arch.std)
    if each_frame:
        found: Any = encode(pixels, batch["frame_mask"], method="encode_video_frames")
        result = batch["video"], *(scale_to_unit(found) if network.unit_videos else found)
    else:
        vectors, _ = encode(pixels, batch["frame_mask"], method="encode_video")
        result = batch["video"], normalize(vectors) if network.unit_videos else vectors
    return jax.lax.with_sharding_constraint(result, replicate(mesh))


@functools.partial(jax.jit, static_argnums=(0, 1))
def encode_texts(network: Network, mesh: Mesh, params: dict, batch: dict[str, jax.Array]):
    """Return unit vectors of texts, [b, e], on every device."""
    adapter, params = network.adapter.fold(params)
    encode = functools.partial(network.copy(adapter=adapter).apply, {"params": params})
    vectors = cast(jax.Array, encode(batch["ids"], batch["text_mask"], method="encode_text"))
    return jax.lax.with_sharding_constraint(normalize(vectors), replicate(mesh))
