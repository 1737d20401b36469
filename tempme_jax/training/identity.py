"""The data that a workdir belongs to, by hashes of the ids and captions of its splits.

Where the data lie may change between attempts, what they are may not.
"""

import hashlib
import json
import os
import pathlib
import sys
from collections.abc import Iterator

import jax
from jax.experimental import multihost_utils

from tempme_jax.datasets import DATASETS
from tempme_jax.datasets.prepared import Prepared
from tempme_jax.datasets.questions import QuestionSet, hash_answers, list_questions
from tempme_jax.files import write_text
from tempme_jax.training.config import DataSettings
from tempme_jax.training.overlap import Files, list_files, write_trained_on
from tempme_jax.training.places import make_builder
from tempme_jax.training.results import RESULTS, read_results
from tempme_jax.training.splits import open_split
from tempme_jax.training.workdir import (
    CONFIG,
    IDENTITY,
    Identity,
    SplitIdentity,
    WorkdirError,
    hash_file,
    is_begun,
    read_identity,
)


def check_data(folder: pathlib.Path, data: DataSettings) -> None:
    """Check that the prepared data are those of a workdir, and note them in a new one.

    Raises:
        WorkdirError: they are others; it says which split differs, and what to do.
    """
    now, was = describe_data(data), read_identity(folder)
    if is_begun(folder):
        require_same_data(folder, was, now)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("data are looked at")
    if jax.process_index() == 0 and not (was and "trained_on" in was and is_begun(folder)):
        if is_begun(folder) and not was:
            print(
                f"{folder} was begun by an earlier version, which did not note its data: that "
                "these are the same could not be checked; from now on it is",
                file=sys.stderr,
            )
        kept = was["data"] if was and is_begun(folder) else {}
        content: Identity = {
            "config": hash_file(folder / CONFIG),
            "data": kept | now,
            "trained_on": write_trained_on(folder, list_split_files(data, data.train)),
        }
        write_text(folder / IDENTITY, json.dumps(content, indent=1) + "\n")


def require_same_data(
    folder: str | os.PathLike, was: Identity | None, now: dict[str, SplitIdentity]
) -> None:
    """Raise a WorkdirError if a workdir belongs to other data than these."""
    changes = list(list_changes(was["data"], now) if was else list_changed_results(folder, now))
    if changes:
        raise WorkdirError(
            f"{folder} is the workdir of a run on other data: {'; '.join(changes)}. Choose another "
            "--workdir to train on these data, or give those that it was begun with (data.root). "
            f"`tempme evaluate {folder} --config=CONFIG` measures its model on other data"
        )


def describe_data(data: DataSettings) -> dict[str, SplitIdentity]:
    """Return what distinguishes the splits that the settings name from those of other data."""
    builder, found = make_builder(data), {}
    for name in dict.fromkeys((data.train, data.validation, data.test)):
        prepared = open_split(data, name)
        found[name] = describe_split(prepared, rendered=DATASETS[data.name].MAKES_ITSELF)
        if isinstance(builder, QuestionSet):
            by_video = list_questions(builder, prepared)
            asked = [question for questions in by_video for question in questions]
            found[name]["answers"] = hash_answers(asked, builder.read_answers())
    return found


def list_split_files(data: DataSettings, name: str) -> Files:
    """List the videos of a split by hashes of their ids and files."""
    return list_files(open_split(data, name), rendered=DATASETS[data.name].MAKES_ITSELF)


def describe_split(prepared: Prepared, *, rendered: bool = False) -> SplitIdentity:
    """Return what distinguishes a split from others; the order counts, training follows it.

    The files of `rendered` videos do not count, as they differ with the version of the encoder.
    """
    texts = list(zip(prepared.captions, prepared.groups, strict=True))
    found: SplitIdentity = {
        "videos": len(prepared),
        "captions": sum(map(len, prepared.captions)),
        "ids": hash_value(prepared.ids),
        "texts": hash_value(texts),
        "id_hash": prepared.id_hash,
    }
    if all(prepared.files) and not rendered:
        found["files"] = hash_value(prepared.files)
    return found


def hash_value(value: list) -> str:
    """Return the SHA-256 of a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def list_changes(was: dict[str, SplitIdentity], now: dict[str, SplitIdentity]) -> Iterator[str]:
    """Yield a line for every split that is not what it was."""
    for name in now:
        before, after = was.get(name), now[name]
        if before is None:
            continue
        counts = [f"{one['videos']} videos with {one['captions']} captions"
                  for one in (before, after)]  # fmt: skip
        if counts[0] != counts[1]:
            yield f"its split {name!r} had {counts[0]}, now it has {counts[1]}"
        elif before["ids"] != after["ids"]:
            yield f"its split {name!r} now has other videos, or in another order"
        elif before["texts"] != after["texts"]:
            yield f"its split {name!r} now has other captions or groups of the same videos"
        elif before.get("files", "") not in ("", after.get("files", before.get("files"))):
            yield f"its split {name!r} now has other files under the same names of videos"
        elif before.get("answers", "") not in ("", after.get("answers", before.get("answers"))):
            yield f"its split {name!r} now has other answers, or another list of answers"


def list_changed_results(folder: str | os.PathLike, now: dict[str, SplitIdentity]) -> Iterator[str]:
    """Yield a line if results of an earlier version are of other test videos."""
    try:
        results = read_results(pathlib.Path(folder) / RESULTS)
    except (OSError, ValueError):
        return  # there are none, or they will be written anew
    after = now.get(results["split"])
    before = (results["id_hash"], results["videos"], results["texts"])
    if after and before != (after["id_hash"], after["videos"], after["captions"]):
        yield (
            f"its results are of {results['videos']} videos with {results['texts']} captions of "
            f"the split {results['split']!r} (ids {results['id_hash']}), now it has "
            f"{after['videos']} with {after['captions']} (ids {after['id_hash']})"
        )
