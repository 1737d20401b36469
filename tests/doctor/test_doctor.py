"""`tempme doctor` says what is ready on a machine, what is missing for what, and how to get it."""

import json
import resource
import shutil
import sys
import types

import jax
import pytest
from click.testing import CliRunner
from huggingface_hub import constants
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from toy_index import make_toy_index, write_films

from tempme_jax.cli import main
from tempme_jax.doctor import hardware, index, metadata, report, software, storage
from tempme_jax.doctor.finding import Finding, State
from tempme_jax.search import stats
from tempme_jax.weights import hub

NEEDS = (
    "good-one>=1",
    "old-one<3,>=2.1",
    "new-one<3",
    "absent-one>=1",
    "elsewhere>=1; sys_platform == 'nowhere'",
    "av>=18.1",
    "starlette>=0.49.1",
    "absent-ray>=2; extra == 'ray'",
    "torch==2.13.0; extra == 'torch'",
    "good-one>=1; extra == 'test'",
    "old-one>=5; extra == 'test'",
    "good-one[gpu]>=1; extra == 'cuda12'",
    "good-one[none]>=1; extra == 'tpu'",
)


@pytest.fixture
def libraries(tmp_path, monkeypatch):
    """Metadata that hides that of the libraries here: tempme-jax needs what NEEDS says."""
    extras = ("ray", "torch", "test", "cuda12", "cuda13", "tpu")
    needs = (*NEEDS, "good-one[gpu]>=1; extra == 'cuda13'")
    install(tmp_path, "tempme-jax", "0.1.0", *needs, extras=extras)
    plugin = "gpu-plugin>=1; extra == 'gpu'"
    install(tmp_path, "good-one", "1.5", plugin, "new-one; extra == 'none'")
    for name, version in [("old-one", "2.0"), ("new-one", "3.0"), ("av", "17.0"), ("torch", "2.1")]:
        install(tmp_path, name, version)
    install(tmp_path, "starlette", "0.40.0")
    monkeypatch.syspath_prepend(tmp_path)


def install(folder, name, version, *needs, extras=()):
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += ["Requires-Python: >=3.11", *(f"Provides-Extra: {extra}" for extra in extras)]
    lines += [f"Requires-Dist: {need}" for need in needs]
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("\n".join(lines) + "\n")


def test_versions_against_the_metadata(libraries):
    found = {library.name: library for library in metadata.list_required()}
    assert {name: library.fault for name, library in found.items()} == {
        "good-one": "",
        "old-one": "out of range",
        "new-one": "out of range",
        "absent-one": "missing",
        "av": "out of range",
        "starlette": "out of range",
    }
    assert [name for name, library in found.items() if library.unsafe] == ["av", "starlette"]
    assert metadata.compare_python("3.10.1").fault == "out of range"


def test_what_is_wrong_has_a_cure(libraries, monkeypatch):
    monkeypatch.setattr(software, "LINES", 4)
    ok, *lines, rest = software.check_libraries()
    assert (ok.state, ok.text) == (State.OK, "1 of 6 are in range: good-one 1.5")
    assert {line.state for line in (*lines, rest)} == {State.MISSING}
    assert [f"{line.text}: {line.cure}" for line in lines] == [
        "av 17.0 is out of range and has known security holes: pip install 'av>=18.1'",
        "starlette 0.40.0 is out of range and has known security holes: "
        "pip install 'starlette>=0.49.1'",
        "old-one 2.0 is out of range: pip install 'old-one>=2.1,<3'",
        "new-one 3.0 is out of range: pip install 'new-one<3'",
    ]
    assert rest.text.startswith("1 more are missing or out of range: absent-one")
    assert rest.values == {"absent-one": "missing"}


@pytest.mark.parametrize(
    ("version", "limits", "fault"),
    [
        ("2.13.0+cpu", "==2.13.0", ""),
        ("2.12.0", "==2.13.0", "out of range"),
        ("2.14.0", "==2.13.0", "out of range"),
        ("0.12.1.dev7", ">=0.10.2,<0.13", ""),
        ("1.5", ">=1,!=1.5", "out of range"),
        ("2.0", "~=1.4", "out of range"),
    ],
)
def test_faults(version, limits, fault):
    assert metadata.find_fault(Version(version), SpecifierSet(limits)) == fault


def test_extras_are_optional(libraries):
    here, *lines = software.check_extras()
    # good-one[none] wants new-one of any version, which is here.
    assert (here.state, here.text) == (State.OK, "complete for TPUs")
    assert {line.state for line in lines} == {State.OPTIONAL}
    assert [line.text for line in lines] == [
        "needed for `tempme index --ray`",
        "needed for the tests against PyTorch (torch 2.1 is out of range)",
        "needed for the tests (old-one 2.0 is out of range)",
        "needed for NVIDIA GPUs",
    ]
    assert lines[0].cure == software.make_install_command("ray")
    assert lines[3].values["cuda12"] == ["gpu-plugin>=1"]


def test_how_it_is_installed(monkeypatch, tmp_path):
    root = report.__file__.removesuffix("/tempme_jax/doctor/report.py")
    monkeypatch.chdir(tmp_path)
    assert software.make_install_command("ray") == f"pip install -e '{root}[ray]'"
    monkeypatch.chdir(root)
    assert software.make_install_command() == "pip install -e ."
    monkeypatch.setattr(software, "__file__", str(tmp_path / "lib/tempme_jax/doctor/software.py"))
    assert software.make_install_command("ray") == "pip install 'tempme-jax[ray]'"


def broken():
    yield Finding("of it", State.OK, "half")
    raise OSError("a [broken]\nlibrary")


def test_a_probe_that_fails_is_a_line():
    found = report.examine({"memory": broken})
    assert [finding.text for finding in found.findings] == [
        "half",
        "the check failed: OSError: a [broken] library",
    ]
    assert found.findings[1].state == State.UNKNOWN and found.ready
    assert not report.examine({"devices": broken}).ready


@pytest.mark.parametrize("state", list(State))
def test_json_says_what_the_screen_says(state, monkeypatch):
    finding = Finding("disk", state, "full \udcff", "buy one", {"free": 1})
    found = report.examine({"disk": lambda: [finding]})
    monkeypatch.setattr(report, "examine", lambda probes: found)
    shown = CliRunner().invoke(main, ["doctor"])
    told = CliRunner().invoke(main, ["doctor", "--json"])
    assert shown.exit_code == told.exit_code == (1 if state == State.MISSING else 0)
    assert "disk       full \\udcff: buy one\n" in shown.stdout
    assert ("MISSING" in shown.stdout) == (state == State.MISSING)
    values = json.loads(told.stdout)
    assert values["ready"] == found.ready
    assert values["findings"] == [vars(finding)]


def test_a_bad_machine_fits_a_screen():
    long = "a long text " * 12
    bad = [Finding("libraries", State.MISSING, long, "pip install one") for _ in range(8)]
    lacking = [Finding("extras", State.OPTIONAL, "ray", "pip install ray") for _ in range(9)]
    lines = report.format_text(report.examine({"all": lambda: bad + lacking})).splitlines()
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 100
    assert lines[-3:] == [
        "More optional parts that are missing: tempme doctor --json",
        "",
        "Not ready: see the lines that begin with MISSING.",
    ]
    assert lines.count(" " * 22 + "pip install one") == 8
    needed = [Finding("extras", State.OPTIONAL, f"needed for {n}", f"pip {n}") for n in range(40)]
    lines = report.format_text(report.examine({"all": lambda: needed})).splitlines()
    assert len(lines) == 30  # a full screen, from the first on
    assert lines[2] == "optional extras     needed for 0: pip 0" and "for 24" in lines[-4]


def test_this_machine():
    found = report.examine()
    topics = [finding.topic for finding in found.findings]
    assert {"libraries", "decoders", "devices", "cpus", "compiled", "weights"} <= {*topics}
    assert len(report.format_text(found).splitlines()) <= 30
    by_topic = {finding.topic: finding for finding in found.findings}
    assert by_topic["devices"].values["platform"] == "cpu"
    assert by_topic["decoders"].values["h264"] is True
    assert by_topic["compiled"].state == State.PROBLEM  # tests switch it off
    assert by_topic["compiled"].cure == "unset JAX_ENABLE_COMPILATION_CACHE"


def test_a_decoder_that_is_not_there(monkeypatch):
    monkeypatch.setitem(software.DECODERS, "hevc", ("no-such-decoder",))
    assert list(software.check_decoders())[1].state == State.PROBLEM
    monkeypatch.setitem(software.DECODERS, "h264", ("no-such-decoder",))
    found, lost = software.check_decoders()
    assert "h264" not in found.text and found.values["vp9"]
    assert (lost.state, lost.text) == (State.MISSING, "h264, hevc cannot be decoded here")


@pytest.mark.parametrize(
    ("said", "extra"),
    [
        ("NVIDIA H100, 580.95.05, 9.0", "cuda13"),
        ("NVIDIA H100, 550.54.15, 9.0", "cuda12"),
        ("NVIDIA H100, 580.95.05, 7.0", "cuda12"),
        ("NVIDIA H100, 580.95.05, [N/A]", "cuda12"),
    ],
)
def test_a_gpu_that_is_not_used(said, extra, tmp_path, monkeypatch):
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\necho '{said}'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(hardware.importlib.util, "find_spec", lambda name: None)
    (found,) = hardware.explain_idle_gpu(None)
    assert (found.state, found.cure) == (State.PROBLEM, software.make_install_command(extra))
    assert found.text == "NVIDIA H100 is here, but JAX does not use it"
    (found,) = hardware.explain_idle_gpu("cpu")
    assert found.cure == "unset JAX_PLATFORMS"


def test_devices_of_one_kind_are_one_line(monkeypatch):
    stats = {"bytes_limit": 60 * 2**30}
    gpu = types.SimpleNamespace(platform="gpu", device_kind="H100", memory_stats=lambda: stats)
    monkeypatch.setattr(jax, "devices", lambda: [gpu] * 8)
    (found,) = hardware.check_devices()
    assert found.text == "JAX computes on 8 gpu: H100, 60.0 GiB each that JAX may use"
    assert found.values["memory"] == [60 * 2**30] * 8


def test_no_device(monkeypatch):
    def devices():
        raise RuntimeError("Unable to initialize backend")

    monkeypatch.setattr(jax, "devices", devices)
    assert next(hardware.check_devices()).text.startswith(
        "JAX finds no device: Unable to initialize"
    )
    assert not report.examine({"devices": hardware.check_devices}).ready


def test_clip_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    (found,) = storage.check_weights()
    assert found.state == State.OPTIONAL and "no CLIP" in found.text
    for name in ("models--openai--clip-one", "models--google--bert", "datasets--my--clips"):
        (tmp_path / name / "snapshots" / "abc").mkdir(parents=True)
        (tmp_path / name / "snapshots" / "abc" / "model.safetensors").write_bytes(bytes(1000))
    (found,) = storage.check_weights()
    assert (found.state, found.values["clip"]) == (State.OK, {"openai/clip-one": 1000})
    assert "openai/clip-one" in found.text
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    place = hub.find_kept_folder("openai/clip-two")
    place.mkdir(parents=True)
    (place / "model.safetensors").write_bytes(bytes(500))
    (found,) = storage.check_weights()
    assert found.values["clip"] == {"openai/clip-one": 1000, "openai/clip-two": 500}


def test_a_system_without_what_unix_has(monkeypatch):
    """It says what works there all the same."""
    assert not list(hardware.check_system())
    monkeypatch.setattr(hardware.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(hardware.platform, "system", lambda: "Windows")
    (found,) = hardware.check_system()
    assert found.state == State.PROBLEM and found.cure.startswith("wsl --install")
    assert "on Windows itself, models and `tempme search`, `serve`" in found.text
    assert found.values == {"missing": ["resource", "fcntl", "termios"]}


def test_limits_only_where_they_are_a_problem(monkeypatch):
    def limited(files, shared, encoding):
        usage = types.SimpleNamespace(total=shared)
        monkeypatch.setattr(resource, "getrlimit", lambda which: (files, files))
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
        monkeypatch.setattr(sys, "getfilesystemencoding", lambda: encoding)
        monkeypatch.setattr(storage.pathlib.Path, "is_dir", lambda folder: True)
        return {finding.topic: finding for finding in storage.check_limits()}

    assert limited(resource.RLIM_INFINITY, 2**30, "utf-8") == {}
    found = limited(256, 64 * 2**20, "ascii")
    assert found.keys() == {"names", "files", "shared"}
    assert found["files"].text.startswith("only 256 files ")
    assert found["files"].cure == "ulimit -n 1024"
    assert {finding.state for finding in found.values()} == {State.PROBLEM}


def test_files_of_an_index_that_an_older_version_read(tmp_path, monkeypatch):
    folder = write_films(tmp_path / "my videos", {"a.mp4": "1", "b.mp4": "2"})
    (folder / "bad.mp4").write_bytes(b"no video")
    make_toy_index(folder)
    [found] = index.check_index(str(folder))
    assert found.state == State.OK
    assert found.text == f"{folder}/.tempme: 2 videos, 2 windows, 1 failed"
    assert list(index.check_index()) == []
    monkeypatch.chdir(folder)
    assert list(index.check_index()) == [found]
    monkeypatch.setattr(stats, "READING_VERSION", stats.READING_VERSION + 1)
    [found] = index.check_index()
    assert found.state == State.PROBLEM and f"3 files of {folder} were read by an old" in found.text
    assert found.cure == f"tempme index '{folder}'"
    [found] = index.check_index(str(tmp_path / "nowhere"))
    assert "there is no index at" in found.text
