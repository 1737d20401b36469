"""`tempme bench dial` measures a model as its training did, and at other settings."""

import json

import numpy as np
import pytest
import toy_run
from click.testing import CliRunner

from tempme_jax.bench import dial
from tempme_jax.cli import main
from tempme_jax.loading import load
from tempme_jax.search import speeds
from tempme_jax.search.speeds import DialPoint
from tempme_jax.training.results import read_results

# ml_collections reads config files in a way that Python means to drop.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return toy_run.make_home(tmp_path_factory)


@pytest.fixture(scope="module")
def workdir(home):
    return toy_run.finish_whole(home)


def run(home, *words, code=0):
    places = [f"--config.{name}={value}" for name, value in toy_run.list_places(home).items()]
    given = ["bench", "dial", *words, f"--config={toy_run.FILE}", *places]
    result = CliRunner().invoke(main, list(map(str, given)), prog_name="tempme")
    assert result.exit_code == code, result.output
    return result


def test_the_trained_setting_is_what_training_measured(home, workdir, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    picture = tmp_path / "dial.png"
    result = run(
        home, workdir, "--settings", "keep_cross=0.5", "--plot", picture, "--save", "--json"
    )
    [curve] = json.loads(result.stdout)
    own, faster = curve["points"]
    assert (curve["videos"], curve["texts"], curve["model"]) == (8, 8, str(workdir))
    assert own["is_trained"] and (own["speed"], own["cosine_least"], own["counted"]) == (1, 1, 1)
    assert faster["options"] == {"keep_cross": 0.5} and faster["counted"] > 1
    assert 0 < faster["cosine_least"] <= faster["cosine_mean"] < 1
    assert faster["gmacs"] < own["gmacs"] and faster["tokens"] < own["tokens"]
    results = read_results(workdir / "results.json")
    for way in ("text_to_video", "video_to_text"):
        assert own[way] == pytest.approx({name: results[way][name] for name in own[way]})
    assert picture.read_bytes().startswith(b"\x89PNG")
    kept = speeds.find_curve(load(workdir))
    assert kept is not None and json.loads(json.dumps(curve["points"][1])) == vars(kept.points[1])


def test_mistakes(home, workdir):
    words = run(home, workdir, "--settings", "keep_cros=0.5", code=1).stderr
    assert "unknown option of method 'tempme': 'keep_cros' (did you mean 'keep_cross'" in words
    assert (
        "must name options and their values" in run(home, workdir, "--settings", "5", code=1).stderr
    )
    assert "there is no folder" in run(home, workdir, "--plot", "nowhere/a.png", code=1).stderr


def test_the_front():
    def make(counted, speed, recall):
        return DialPoint(
            options={}, is_trained=False, tokens=1, gmacs=1.0, videos_per_second=1.0, speed=speed,
            counted=counted, over_plain=1.0, text_to_video={"R@1": recall}, video_to_text={},
            cosine_mean=1.0, cosine_least=1.0,
        )  # fmt: skip

    points = dial.mark_front([make(3, 2.0, 40.0), make(1, 1.0, 50.0), make(2, 1.5, 40.0)])
    assert [point.counted for point in points] == [1, 2, 3]
    assert [point.on_front for point in points] == [True, False, True]


def test_cosines():
    rows = np.array([[1, 0], [0, 0], [3, 4]], np.float32)
    others = np.array([[1, 0], [0, 0], [4, 3]], np.float32)
    assert dial.compute_cosines(rows, others).tolist() == pytest.approx([1, 1, 0.96])
