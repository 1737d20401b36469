"""The half of `Model` that writes: files of weights, adapters, and repositories."""

import dataclasses
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import jax

from tempme_jax.adapters.base import Adapter, Path
from tempme_jax.dial import Dial, list_changes
from tempme_jax.methods import find_plugins
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.backbones import make_network
from tempme_jax.networks.network import Network
from tempme_jax.parameters import find_shapes, flatten, list_pretrained_paths, split
from tempme_jax.reducers.base import Reducer
from tempme_jax.weights.errors import WeightsError, shorten
from tempme_jax.weights.files import save_weights
from tempme_jax.weights.layouts import check_params
from tempme_jax.weights.saved import TrainingFacts

if TYPE_CHECKING:
    from tempme_jax.model import Model


class Drawn(NamedTuple):
    """The paths of parameters that no file held, and the seed that they were drawn with."""

    seed: int = 0
    paths: frozenset[Path] = frozenset()


class ModelFiles:
    """A model that can be written. `Model` says what its attributes are."""

    network: Network
    params: dict
    method: str
    num_frames: int
    max_words: int
    drawn: Drawn
    options: dict[str, Any]
    adapter_folded: bool
    base: str
    trained: TrainingFacts | None
    dialed: Dial | None
    vocabulary: str

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

    def fold(self) -> "Model":
        """Return a model that computes the same, what was learned added to the frozen weights.

        An adapter that cannot be added stays as it is.
        """
        raise NotImplementedError

    def save(
        self, file: str | os.PathLike, *, layout: str = "tempme_jax", backbone: bool = False
    ) -> None:
        """Write all parameters to a safetensors file, whole or not at all.

        Args:
            file: path of the file, ending in .safetensors; a file there is replaced.
            layout: names of the arrays. "tempme_jax" holds every method; "openai" and
                "huggingface" hold plain CLIP, "siglip" plain SigLIP; "published" also holds what
                TempMe trains. Every
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
            expected = find_shapes(make_network(self.arch), 1)
            if left := ["/".join(path) for path in flat.keys() - expected.keys()]:
                raise WeightsError(
                    f"method {self.method!r} learned what has no place in a plain "
                    f"{self.arch.backbone} model: {shorten(left)}. Write the whole model, "
                    "without backbone: it holds that, too"
                )
            check_params(flat, expected, may_lack=set())
            return save_weights(file, flat, self.arch, layout=layout, vocabulary=self.vocabulary)
        flat, settings = flatten(jax.device_get(self.params)), self._describe_settings()
        save_weights(
            file, flat, self.arch, layout=layout, settings=settings, vocabulary=self.vocabulary
        )

    def save_adapter(self, file: str | os.PathLike) -> None:
        """Write only what was learned to a safetensors file, whole or not at all.

        `tempme_jax.load(base, adapter=file)` opens it, with method, options and preprocessing, but
        only together with the weights that it was learned with.

        Args:
            file: path of the file, ending in .safetensors; a file there is replaced.

        Raises:
            ValueError: if nothing was learned beside the backbone, or it was folded in; or if the
                name of the file ends otherwise.

        >>> import pathlib, tempfile, tempme_jax
        >>> model = tempme_jax.load("tiny-tempme")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder) / "adapter.safetensors"
        ...     model.save_adapter(file)
        ...     tempme_jax.load("tiny-tempme", adapter=file).method
        'tempme'
        """
        from tempme_jax.weights.adapter_files import save_adapter_file

        learned, frozen = map(flatten, split(self.network, jax.device_get(self.params)))
        self._require_adapter(learned)
        save_adapter_file(
            file, learned, frozen, self.arch, base=self.base, settings=self._describe_settings(),
            vocabulary=self.vocabulary,
        )  # fmt: skip

    def push_to_hub(
        self,
        repository: str,
        *,
        whole: bool = False,
        private: bool | None = None,
        license: str | None = None,
        message: str | None = None,
        token: str | None = None,
    ) -> str:
        """Publish the model in a Hugging Face repository, with a model card.

        `tempme_jax.load(repository)` opens it. The card says what is known: the method and its
        options, the data, the protocol and the scores, the base model and its licence. A card that
        somebody else wrote stays as it is.

        Args:
            repository: its name, "user/name"; it is made if it is not there.
            whole: whether to upload the backbone, too, and not only what was learned.
            private: whether a new repository is private; None = as your account has it.
            license: licence of what you publish, such as "mit"; default: that of the base model.
            message: message of the commit.
            token: your token for the Hub; default: the one that `hf auth login` stored.

        Returns:
            The address of the commit.

        Raises:
            ValueError: if the name is not one of a repository, or, unless `whole`, nothing was
                learned beside the backbone.
            PublishingError: if the Hub refuses, or is out of reach.
        """
        from tempme_jax.weights.publishing import Publication, publish

        learned = flatten(split(self.network, self.params)[0])
        if not whole:
            self._require_adapter(learned)
        about = Publication(
            repository=repository, settings=self._describe_settings(), arch=self.arch,
            base=self.base, trained=self.trained, whole=whole, license=license,
            learned=sum(array.size for array in learned.values()),
        )  # fmt: skip
        save = self.save if whole else self.save_adapter
        return publish(about, save, private=private, message=message, token=token)

    def _require_adapter(self, learned: dict[Path, Any]) -> None:
        """Raise a ValueError unless what was learned is something beside the backbone."""
        backbone = list_pretrained_paths(self.arch)
        if self.adapter_folded:
            problem = "what was learned is folded into the backbone's weights"
        elif not learned:
            problem = f"method {self.method!r} learns nothing"
        elif len(learned.keys() & backbone) > len(backbone) / 2:
            problem = f"method {self.method!r} trains the backbone itself"
        else:
            return
        raise ValueError(
            f"there is no adapter to write: {problem}; write the whole model, with save(FILE) or "
            "push_to_hub(REPOSITORY, whole=True)"
        )

    def _describe_settings(self) -> dict[str, Any]:
        """Return the settings that files record, see `Weights`.

        With its dial turned, a model is written as it is, without what its training says of it.
        """
        changed = list_changes(self.dialed.trained, self.reducer) if self.dialed else {}
        late = {"tau": float(self.network.compute_tau(self.params))} if self.network.tau else {}
        return {
            "method": self.method,
            "options": dataclasses.asdict(self.adapter) | dataclasses.asdict(self.reducer),
            "given": self.options | changed,
            "folded": self.adapter_folded,
            "num_frames": self.num_frames,
            "max_words": self.max_words,
            "drawn": {"seed": self.drawn.seed, "paths": sorted(map(list, self.drawn.paths))},
            "plugins": [os.path.basename(one) for one in find_plugins(self.method)],
            "base": self.base,
            "trained": None if self.dialed else self.trained,
            **late,
        }
