"""`tempme bench device` measures what there is, in the time it is given, and says what it left."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from click.testing import CliRunner

import tempme_jax
from tempme_jax.bench import device, device_programs
from tempme_jax.bench.device_cases import Case, list_cases, list_problems
from tempme_jax.cli import main

ENCODE = Case("encode", "ViT-B/32", "tempme", "float32", 2)
TRAIN = Case("train", "ViT-B/32", "tempme", "float32", 2)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """A tiny model in place of all others, and small products."""
    model = tempme_jax.load("tiny-tempme")
    for module in (device, device_programs):
        monkeypatch.setattr(module, "make_model", lambda *_: model)
    monkeypatch.setattr(device, "SIDE", {"cpu": 64})
    monkeypatch.setattr(device, "ROUNDS", 2)
    monkeypatch.setattr(device, "list_cases", lambda platform: [ENCODE])


def run(*words):
    result = CliRunner().invoke(main, ["bench", "device", *words], prog_name="tempme")
    assert result.exit_code == 0, result.output
    return result


def test_the_figures_and_the_table(monkeypatch):
    found = json.loads(run("--json").stdout)
    [encode] = found["speeds"]
    assert (found["platform"], found["is_reduced"], found["left"]) == ("cpu", True, [])
    assert encode["share"] == pytest.approx(encode["gmacs_per_second"] / found["matrix"]["float32"])
    assert encode["videos_per_second"] == pytest.approx(2 / encode["seconds"])
    assert encode["program_mib"] > 0 and encode["compile_seconds"] > 0

    def fail(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    monkeypatch.setattr(device_programs, "prepare_encoding", fail)
    result = run()
    assert "too little memory" in result.stdout and "A reduced set" in result.stdout
    assert "1 of 1: encode ViT-B/32 tempme, float32, batch 2" in result.stderr


@pytest.mark.slow
def test_a_training_step():
    [program] = device_programs.compile_together([TRAIN])
    speed, _ = device.measure_program(program, 1.0)
    assert speed.videos_per_second == pytest.approx(2 / speed.seconds)
    assert speed.program_mib > 0 and (speed.share, speed.problem) == (0, "")


def test_when_the_time_is_up():
    found = device.measure_device(limit=0.0)
    assert (found.speeds, found.left) == ([], [ENCODE])
    notes = list(list_problems(found))
    assert notes[-1].startswith("No time was left for 1 case: encode ViT-B/32 tempme")


def test_agreement_with_the_cpu():
    """That of the CPU with itself is perfect."""
    [program] = device_programs.compile_together([ENCODE])
    speed, vectors = device.measure_program(program, 1.0)
    assert device.is_compared(speed)
    parity = device.compare_with_cpu(ENCODE, np.asarray(vectors))
    assert parity.largest < 1e-6 and parity.cosine == pytest.approx(1, abs=1e-6)


def test_programs_compiled_together():
    """They are measured one by one, each as if it had been compiled alone."""
    programs = device_programs.compile_together([ENCODE, dataclasses.replace(ENCODE, batch=4)])
    vectors = [device.measure_program(program, 1.0)[1] for program in programs]
    assert [len(one) for one in vectors] == [2, 4]


def test_the_cases_of_an_accelerator():
    cases = list_cases("gpu")
    assert len(cases) == len(set(cases))
    assert {case.batch for case in cases if case.what == "encode"} == {1, 4, 16, 64, 256}
    assert {case.batch for case in cases if case.what == "train"} == {128}
    for which in ("backbone", "method", "dtype"):  # the first cases show each at least once
        assert len({getattr(case, which) for case in cases[:16]}) > 1
