"""Write the towers of a model as StableHLO, which runs wherever XLA does."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from jax import export
from jaxtyping import Bool, Float, Int

from tempme_jax import inputs
from tempme_jax.export.towers import Tower
from tempme_jax.model import Model
from tempme_jax.two_towers import Batches, TwoTowers

SUFFIX = ".stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")


def write_stablehlo(tower: Tower, file: Path, platforms: Sequence[str] = PLATFORMS) -> None:
    """Write a tower as a program that `jax.export.deserialize` opens; its parameters are in it."""
    program = jax.jit(lambda *given: tower.function(tower.params, *given))
    exported = export.export(program, platforms=platforms)(*tower.inputs.values())
    file.write_bytes(exported.serialize())


class StableHloModel(TwoTowers):
    """The towers in StableHLO files, as far as a comparison needs them."""

    is_exported = True

    def __init__(self, model: Model, files: dict[str, Path]):
        """Open the files of a model."""
        self.arch, self.num_frames, self.max_words = model.arch, model.num_frames, model.max_words
        self._mark_words, self._batch = model.network.mark_words, model.video_batch
        self._programs = {
            tower: export.deserialize(bytearray(file.read_bytes())) for tower, file in files.items()
        }

    @property
    def video_batch(self) -> int:
        """The number of videos that go through the video tower at once."""
        return self._batch

    def encode_frames(self, batches: Batches) -> Float[np.ndarray, "b e"]:
        """Return the vectors of batches of frames and masks."""
        return np.concatenate([np.asarray(self._programs["video"].call(*b)) for b in batches])

    def embed_tokens(
        self, ids: Int[np.ndarray, "b n"], mask: Bool[np.ndarray, "b n"] | None = None
    ) -> Float[np.ndarray, "b e"]:
        """Embed rows of `max_words` token ids."""
        arch = self.arch
        given = inputs.check_ids(ids, mask, arch.vocab_size, self.max_words, self._mark_words)
        return np.asarray(self._programs["text"].call(*given))
