"""Where the data and the workdir of a run lie, unless its settings or the user say it.

Data that the user brings get places of their own: two folders of videos never share prepared
frames or a workdir.
"""

import hashlib
import os
import pathlib

from tempme_jax.checks import require_one_of
from tempme_jax.datasets import DATASETS, find_data_set
from tempme_jax.datasets.base import Storage
from tempme_jax.datasets.prepare import VideoText
from tempme_jax.datasets.records import read_source
from tempme_jax.datasets.unchanged import is_made_from
from tempme_jax.training.config import Config, DataSettings
from tempme_jax.training.workdir import WorkdirError, is_begun, read_config

DATA = pathlib.Path("data")
WORKDIRS = pathlib.Path("workdir")
# The place of the sets in data/NAME; that of all sets before each root got one of its own.
SHARED = DATA / "prepared"
# Characters of the root's name, and of the hash of its path, in the name of its places.
NAME, HASH = 32, 8


def locate_root(data: DataSettings) -> pathlib.Path:
    """Return the folder with the user's annotations and videos."""
    return pathlib.Path(data.root) if data.root else DATA / data.name


def name_data(data: DataSettings) -> str:
    """Return a name for the data: that of the set, followed by the root unless it is data/NAME.

    The videos of `folder` are another set in every root, so its name always has the root.
    """
    kind = find_data_set(data.name)
    root = os.path.realpath(locate_root(data))
    usual = data.name != "folder" and root == os.path.realpath(DATA / data.name)
    if kind.MAKES_ITSELF or usual:
        return data.name
    letters = "".join(c if c.isalnum() or c in "-_" else "_" for c in os.path.basename(root))
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()
    return "-".join(filter(None, (data.name, letters[:NAME], digest[:HASH])))


def make_builder(data: DataSettings) -> VideoText:
    """Return the builder of the data set, with its settings for storage.

    Raises:
        ValueError: if there is no such data set, variant or split.
    """
    kind = find_data_set(data.name)
    for splits in (data.train, data.validation, data.test):
        for split in splits.split("+"):
            require_one_of(split, kind.SPLITS, f"split of {data.name}")
    if data.prepared:
        return make_builder_in(data, data.prepared)
    name, shared = name_data(data), make_builder_in(data, SHARED)
    if name == data.name or read_source(pathlib.Path(shared.data_dir)) == get_real(data):
        return shared
    return make_builder_in(data, SHARED / name)


def make_builder_in(data: DataSettings, home: str | os.PathLike) -> VideoText:
    """Return the builder of the data set that prepares into a folder."""
    root = locate_root(data)
    return DATASETS[data.name](data_dir=home, root=root, config=make_storage(data))


def make_storage(data: DataSettings) -> Storage:
    """Return how the frames are stored; an empty variant becomes the first of the data set."""
    return Storage(
        variant=data.variant or DATASETS[data.name].VARIANTS[0],
        size=data.size,
        resize=data.resize,
        fps=data.fps,
        least=data.least,
        most=max(data.least, data.most),
    )


def get_real(data: DataSettings) -> str:
    """Return the path of the root with all links resolved."""
    return os.path.realpath(locate_root(data))


def find_former(data: DataSettings) -> VideoText | None:
    """Return the builder of frames that an earlier version prepared from this root, if there are.

    They lie at the place of all roots, and preparing there again gives them to this root.
    """
    if data.prepared or make_builder(data).is_prepared() or not locate_root(data).is_dir():
        return None
    shared = make_builder_in(data, SHARED)
    is_free = shared.is_prepared() and read_source(pathlib.Path(shared.data_dir)) is None
    return shared if is_free and is_made_from(shared) else None


def choose_workdir(config: Config) -> pathlib.Path:
    """Return the workdir of a run that was given none: workdir/DATA-METHOD-SEED.

    A run of this root that an earlier version began at the place of all roots stays there. The
    hard variant of the built-in set has a name of its own, as people train on both.
    """
    end = f"{config.model.method}-{config.seed}"
    former = WORKDIRS / f"{config.data.name}-{end}"
    name = name_data(config.data)
    if name != config.data.name and is_begun(former):
        try:
            root = read_config(former)["data"]["root"] or DATA / config.data.name
            if os.path.realpath(root) == get_real(config.data):
                return former
        except (WorkdirError, KeyError, TypeError):
            pass  # whose it is cannot be said
    return WORKDIRS / f"{name}{'-hard' if config.data.variant == 'hard' else ''}-{end}"
