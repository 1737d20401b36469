"""A workdir and prepared frames belong to their data: no table is of other data than it says."""

import csv
import dataclasses
import json
import os
import pathlib
import shutil

import pytest
import toy_run

from tempme_jax.datasets.records import PreparationError
from tempme_jax.training import places
from tempme_jax.training.config import Config, DataSettings, ModelSettings
from tempme_jax.training.identity import check_data, describe_data
from tempme_jax.training.places import choose_workdir, make_builder, name_data
from tempme_jax.training.results import read_results
from tempme_jax.training.run import run
from tempme_jax.training.splits import prepare_data, prepare_here
from tempme_jax.training.workdir import WorkdirError, open_workdir

FEW = {"train": 3, "validation": 1, "test": 2}


def write_folder(folder, home, words="video {}", first=0):
    """A folder with six of the videos of the toy set."""
    folder.mkdir()
    splits = [split for split, count in FEW.items() for _ in range(count)]
    with (folder / "captions.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "caption", "split"])
        for number, split in enumerate(splits):
            name = f"{first + number:02}.mp4"
            os.link(home / "videos" / name, folder / name)
            rows.writerow([name, words.format(number), split])
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return toy_run.make_home(tmp_path_factory)


@pytest.fixture(scope="module")
def roots(home, tmp_path_factory):
    """Folders: A, B of other videos, C of A's videos with other captions."""
    folder = tmp_path_factory.mktemp("roots")
    return {
        "a": write_folder(folder / "a", home),
        "b": write_folder(folder / "b", home, first=20),
        "c": write_folder(folder / "c", home, "another text {}"),
    }


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The folder in which all commands of a module run."""
    return tmp_path_factory.mktemp("here")


@pytest.fixture(autouse=True)
def in_folder(here, monkeypatch):
    monkeypatch.chdir(here)


def settings_of(root, prepared="", **changes):
    config = toy_run.make_config(pathlib.Path("nowhere"), method="clip")
    data = dataclasses.replace(config.data, root=str(root), prepared=str(prepared), **changes)
    return dataclasses.replace(config, data=data)


def find_home(root):
    """The folder for prepared data that a root gets by itself."""
    return pathlib.Path(make_builder(settings_of(root).data).data_dir).parents[2]


def test_every_folder_has_places_of_its_own(roots, here):
    configs = [settings_of(roots[name]) for name in ("a", "b")]
    builders = [make_builder(config.data) for config in configs]
    assert builders[0].data_dir != builders[1].data_dir
    names = [name_data(config.data) for config in configs]
    assert [name[:9] for name in names] == ["folder-a-", "folder-b-"]
    assert str(here / "data" / "prepared" / names[0]) in str(builders[0].data_dir)
    assert choose_workdir(configs[0]) == pathlib.Path("workdir", f"{names[0]}-clip-42")
    linked = here / "linked"
    linked.symlink_to(roots["a"])
    assert name_data(settings_of(linked).data) == names[0]


def test_known_sets_stay_where_they_were_but_for_other_roots(here):
    data = DataSettings(name="msrvtt")
    assert name_data(data) == "msrvtt"
    assert str(here / "data/prepared/msrvtt/9k-") in str(make_builder(data).data_dir)
    assert name_data(dataclasses.replace(data, root=f"{here}/data/msrvtt/")) == "msrvtt"
    elsewhere = dataclasses.replace(data, root="/sets/MSR VTT")
    assert name_data(elsewhere).startswith("msrvtt-MSR_VTT-")
    assert name_data(elsewhere) in str(make_builder(elsewhere).data_dir)
    # This one renders the same videos below every root.
    assert name_data(DataSettings(name="moving_shapes", root="/x")) == "moving_shapes"
    given = make_builder(dataclasses.replace(elsewhere, prepared="mine"))
    assert str(here / "mine" / "msrvtt") in str(given.data_dir)


def test_the_hard_variant_has_a_workdir_of_its_own(here):
    data = DataSettings(name="moving_shapes", variant="hard")
    config = dataclasses.replace(Config(), data=data)
    end = f"{config.model.method}-{config.seed}"
    assert choose_workdir(config) == pathlib.Path("workdir", f"moving_shapes-hard-{end}")


@pytest.fixture(scope="module")
def finished(roots, here, tmp_path_factory):
    """The workdir of a finished run on A."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    before = os.getcwd()
    os.chdir(here)
    try:
        run(settings_of(roots["a"]), workdir)
    finally:
        os.chdir(before)
    return workdir


@pytest.mark.parametrize("evaluate_only", [False, True])
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("b", "its split 'test' now has other videos"),
        ("c", "its split 'test' now has other captions or groups of the same videos"),
    ],
)
def test_other_data_do_not_get_into_a_workdir(roots, finished, evaluate_only, name, problem):
    results = (finished / "results.json").read_bytes()
    with pytest.raises(WorkdirError, match=problem) as caught:
        run(settings_of(roots[name]), finished, evaluate_only=evaluate_only)
    assert "Choose another --workdir" in str(caught.value)
    assert f"`tempme evaluate {finished} --config=CONFIG`" in str(caught.value)
    assert (finished / "results.json").read_bytes() == results


def test_a_root_that_is_not_there_is_an_error(roots, finished):
    lost = roots["a"] / "nowhere"
    for prepared in ("", find_home(roots["a"])):
        with pytest.raises(PreparationError, match=f"{lost}: no such folder"):
            run(settings_of(lost, prepared), finished, evaluate_only=True)


def test_moved_data_are_the_same(roots, finished, tmp_path, capsys):
    moved = shutil.copytree(roots["a"], tmp_path / "elsewhere")
    before = read_results(finished)["id_hash"]
    # Prepared anew at their new place, and with the frames from the place before.
    for prepared in ("", find_home(roots["a"])):
        assert run(settings_of(moved, prepared), finished)["id_hash"] == before
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if line != "Opening the model..."] == ["Preparing folder"]


def test_frames_of_another_root_are_not_taken(roots):
    prepare_here(settings_of(roots["a"]).data)
    home = find_home(roots["a"])
    with pytest.raises(PreparationError, match=rf"prepared from {roots['a']} before the split"):
        prepare_here(settings_of(roots["b"], home).data)


def test_edited_captions_and_replaced_videos_are_noticed(roots, tmp_path):
    root = shutil.copytree(roots["a"], tmp_path / "mine")
    data = settings_of(root).data
    prepare_here(data)
    captions = (root / "captions.csv").read_text()
    (root / "captions.csv").write_text(captions.replace("video 5", "video five"))
    with pytest.raises(PreparationError, match="'test' changed .*Delete that folder to prepare"):
        prepare_here(data)
    (root / "captions.csv").write_text(captions)
    prepare_here(data)
    video = (root / "00.mp4").read_bytes()
    os.utime(root / "00.mp4")  # the same file at another time
    prepare_here(data)
    (root / "00.mp4").unlink()  # it shares its bytes with others
    for other in ((roots["b"] / "20.mp4").read_bytes(), video[:-9] + bytes(9)):
        (root / "00.mp4").write_bytes(other)
        with pytest.raises(PreparationError, match=r"1 video with another file, such as 00.mp4"):
            prepare_here(data)


def test_other_videos_under_the_same_names_and_captions(roots, finished, tmp_path):
    root = shutil.copytree(roots["b"], tmp_path / "b")
    for number in range(6):
        (root / f"{20 + number}.mp4").rename(root / f"{number:02}.mp4")
    shutil.copy(roots["a"] / "captions.csv", root)
    with pytest.raises(WorkdirError, match="'train' now has other files under the same names"):
        run(settings_of(root), finished)


def test_fewer_videos_do_not_replace_results(roots, finished, tmp_path):
    root = shutil.copytree(roots["a"], tmp_path / "mine")
    (root / "05.mp4").unlink()
    with pytest.raises(WorkdirError, match="'test' had 2 videos with 2 captions, now it has 1 vid"):
        run(settings_of(root, missing="skip"), finished, evaluate_only=True)


def test_a_set_that_was_prepared_by_an_earlier_version_is_taken(roots, here, tmp_path, capsys):
    """At the place that all folders shared; only the folder that it is of takes it."""
    root, shared = shutil.copytree(roots["c"], tmp_path / "old"), here / "data" / "prepared"
    prepare_here(settings_of(root, shared).data)
    [source] = (shared / "folder").rglob("source.json")
    source.unlink()
    assert find_home(root) != shared
    prepare_here(settings_of(root).data)
    assert find_home(root) == shared != find_home(roots["b"])
    prepare_here(settings_of(roots["b"]).data)
    told = capsys.readouterr().err.splitlines()
    assert "was prepared by an earlier version" in told[1]
    assert told[::2] == ["Preparing folder"] and len(told) == 2


def test_a_workdir_of_an_earlier_version_gets_its_hashes(roots, finished, tmp_path, capsys):
    old = shutil.copytree(finished, tmp_path / "old")
    (old / "identity.json").unlink()
    # Its results tell other videos.
    with pytest.raises(WorkdirError, match=r"its results are of 2 videos .* \(ids "):
        run(settings_of(roots["b"]), old, evaluate_only=True)
    run(settings_of(roots["a"]), old)
    assert "that these are the same could not be checked" in capsys.readouterr().err
    assert (old / "identity.json").read_bytes() == (finished / "identity.json").read_bytes()
    with pytest.raises(WorkdirError, match="now has other captions"):
        run(settings_of(roots["c"]), old)


def test_a_workdir_without_a_checkpoint_takes_other_data(roots, tmp_path):
    for name in ("a", "b"):
        config = settings_of(roots[name])
        prepare_data(config.data)
        folder = open_workdir(tmp_path / "run", config)
        check_data(folder, config.data)
        assert json.loads((folder / "identity.json").read_text())["data"] == describe_data(
            config.data
        )


def test_a_run_of_an_earlier_version_stays_at_its_default_place(roots, here):
    configs = [settings_of(roots[name]) for name in ("a", "b")]
    former = here / "workdir" / "folder-clip-42"
    open_workdir(former, configs[0])
    (former / "last" / "4").mkdir(parents=True)
    assert [choose_workdir(config).name == former.name for config in configs] == [True, False]
    (former / "config.json").write_text("{")
    assert choose_workdir(configs[0]).name != former.name
    shutil.rmtree(former)


def test_names_of_data_are_names_of_files():
    config = Config(model=ModelSettings(weights="x"))
    for root in ("/", "/a b/ü\n", "/" + "x" * 200, "."):
        data = dataclasses.replace(config.data, name="folder", root=root)
        name = name_data(data)
        assert len(name) < 60 and "/" not in name and "\n" not in name and " " not in name
    assert places.name_data(dataclasses.replace(config.data, name="folder")) != "folder"


def test_other_data_than_those_of_a_workdir_whose_settings_are_the_same(roots, tmp_path):
    """The data set is replaced under the same path: neither frames nor results are taken."""
    root = shutil.copytree(roots["a"], tmp_path / "set")
    config, workdir = settings_of(root), tmp_path / "run"
    run(config, workdir)
    shutil.rmtree(root)
    shutil.copytree(roots["b"], root)
    with pytest.raises(PreparationError, match="list other videos"):
        run(config, workdir, evaluate_only=True)
    shutil.rmtree(find_home(root))
    with pytest.raises(WorkdirError, match="is the workdir of a run on other data"):
        run(config, workdir, evaluate_only=True)
