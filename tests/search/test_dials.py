"""The speed of an index: how a setting is chosen, what its header says, and what may be mixed."""

import dataclasses
import json

import pytest
import toy_index

from tempme_jax import text_encoder
from tempme_jax.fingerprint import compute_fingerprint, describe_model
from tempme_jax.search import dials, speeds
from tempme_jax.search.arguments import parse_speed
from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.index import VideoIndex
from tempme_jax.search.speeds import DialCurve, DialPoint

AS_MEASURED = {"R@1": 50.0, "R@5": 80.0, "R@10": 90.0}


@pytest.fixture(scope="module")
def model():
    return toy_index.make_model()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of the user."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def make_curve(model, *rows):
    """A curve of rows of options, speed, R@1 and least cosine; the first is as trained."""
    points = [
        DialPoint(
            options=options, is_trained=not number, tokens=1, gmacs=1.0, videos_per_second=1.0,
            speed=speed, counted=9.0, over_plain=1.0, text_to_video=AS_MEASURED | {"R@1": recall},
            video_to_text=AS_MEASURED, cosine_mean=1.0, cosine_least=cosine,
        )
        for number, (options, speed, recall, cosine) in enumerate(rows)
    ]  # fmt: skip
    return DialCurve(
        model="toy", method=model.method, fingerprint=compute_fingerprint(describe_model(model)),
        device=speeds.name_device(model), date="2026-01-31", version="0", dataset="toys",
        split="test", videos=1, texts=1, id_hash="", batch=1, rounds=1, points=points,
    )  # fmt: skip


OWN = {"r": 1, "keep_cross": 0.7, "keep_intra": 0.9}
FASTER = {"r": 1, "keep_cross": 0.5, "keep_intra": 0.9}
FASTEST = {"r": 1, "keep_cross": 0.5, "keep_intra": 0.5}


@pytest.mark.parametrize("text", ["0", "-1", "fast", "", "2y", "1e9", "101x", "nan", True])
def test_what_is_no_speed(text):
    with pytest.raises(ValueError, match="above 0 and at most 100; write it like 2x"):
        parse_speed(text)


def test_without_a_curve_multiply_accumulates_are_counted(model):
    assert speeds.choose_setting(model, 1.0).options == {}
    choice = speeds.choose_setting(model, 1.01)
    counted = [one.speed for one in speeds.list_counted(model)]
    assert choice.speed == min(speed for speed in counted if speed >= 1.01)
    assert choice.cosine is None and "counted multiply-accumulates" in choice.words
    assert speeds.choose_setting(model, 0.01).speed == min(counted)
    most = speeds.round_down(max(counted))
    with pytest.raises(ValueError, match=f"{most} times as fast at the most, by r=.*not 50 times"):
        speeds.choose_setting(model, 50)
    plain = toy_index.make_model("clip")
    assert speeds.choose_setting(plain, 1.0).options == {}
    with pytest.raises(ValueError, match="method 'clip' has no option that merges more"):
        speeds.choose_setting(plain, 2.0)


def test_the_best_of_those_that_are_fast_enough_is_taken_as_measured(model, capsys):
    curve = make_curve(
        model, (OWN, 1.0, 50.0, 1.0), (FASTER, 1.6, 40.0, 0.9995), (FASTEST, 2.1, 45.0, 0.9)
    )
    file = speeds.keep_curve(curve)
    assert speeds.find_curve(model) == curve
    choice = speeds.choose_setting(model, 1.5)
    assert (choice.options, choice.speed, choice.cosine) == (FASTEST, 2.1, 0.9)
    assert choice.words == (
        "measured on 2026-01-31, R@1 45.0 on toys; the model's own setting has 50.0"
    )
    turned = dials.turn_to_speed(model, 1.5)
    assert (turned.reducer.keep_intra, turned.dialed.speed) == (0.5, 1.5)
    assert "Speed 1.5x: r=1 R_C=0.5 R_I=0.5, 2.10 times" in capsys.readouterr().err
    with pytest.raises(VideoIndexError, match="2.10 times as fast at the most"):
        dials.turn_to_speed(model, 2.2)
    other = toy_index.make_model(seed=1)
    assert speeds.find_curve(other) is None
    file.write_text(json.dumps({"model": 3}))
    assert speeds.find_curve(model) is None and "cannot be read" in capsys.readouterr().err


def test_vectors_of_two_dials_are_mixed_only_if_they_agree(model):
    def make_header(options, cosine):
        turned = model.dial(**options)
        if turned.dialed:
            dialed = dataclasses.replace(turned.dialed, speed=2.0, cosine=cosine)
            turned = dataclasses.replace(turned, dialed=dialed)
        return {"model": describe_model(turned)} | dials.describe_dial(turned)

    own, near, far, unknown = (
        make_header(*one)
        for one in ((OWN, 1.0), (FASTER, 0.9995), (FASTEST, 0.9985), (FASTEST, None))
    )
    assert "dial" not in own and dials.strip_dial(near) == own
    assert near["dial"]["options"] == {"keep_cross": 0.5}
    assert near["dial"]["trained"] == {"keep_cross": 0.7}
    for made, ours in ((own, own), (far, far), (far, unknown), (own, near), (near, own)):
        dials.refuse_other_dial(made, ours, "here")
    with pytest.raises(VideoIndexError, match="only to a cosine of 0.9985, where 0.999 is needed"):
        dials.refuse_other_dial(own, far, "here")
    # The angles of the two to the trained setting's vectors may add up.
    with pytest.raises(VideoIndexError, match="only to a cosine of 0.9963"):
        dials.refuse_other_dial(near, far, "here")
    with pytest.raises(VideoIndexError, match="as trained, and this speed means .*not known how"):
        dials.refuse_other_dial(own, unknown, "here")


def test_the_header_keeps_the_dial(model, tmp_path, monkeypatch, capsys):
    toy_index.decode_here(monkeypatch)
    monkeypatch.setattr(text_encoder, "is_caching_allowed", lambda: False)
    folder = toy_index.write_films(tmp_path / "films", {"a.mp4": "1"})
    weights = tmp_path / "model.safetensors"
    model.save(weights)
    made = VideoIndex(folder, model=weights, speed="1.05x")
    made.add(folder, quiet=True)
    assert "Speed 1.05x: " in capsys.readouterr().err
    options = made.header["dial"]["options"]
    assert options and made.model.reducer == model.dial(**options).reducer != model.reducer
    again = VideoIndex(folder)
    toy_index.write_films(folder, {"b.mp4": "2"})
    assert again.add(folder, quiet=True).embedded == 1
    assert again.model.dialed == made.model.dialed
    assert again.stats().speed == 1.05
    assert VideoIndex(folder, speed=1.05).model.reducer == made.model.reducer
    assert VideoIndex(folder, model=model).model.reducer == made.model.reducer
    with pytest.raises(VideoIndexError, match="and this speed means as trained.*--rebuild"):
        VideoIndex(folder, speed=1).add(folder, quiet=True)
    entry = text_encoder.TextEncoder.__new__(text_encoder.TextEncoder)
    entry.description = describe_model(model)  # as of an index without a dial
    monkeypatch.setattr(text_encoder, "find", lambda source: entry)
    assert again._request.open_text_encoder(again.header) is entry


def test_vectors_of_another_speed_are_added_if_the_curve_allows_it(tmp_path, monkeypatch):
    toy_index.decode_here(monkeypatch)
    monkeypatch.setattr(text_encoder, "is_caching_allowed", lambda: False)
    model = toy_index.make_model()
    folder = toy_index.write_films(tmp_path / "films", {"a.mp4": "1"})
    made = VideoIndex(folder, model=model)
    made.add(folder, quiet=True)
    speeds.keep_curve(make_curve(model, (OWN, 1.0, 50.0, 1.0), (FASTER, 1.6, 40.0, 0.9995)))
    toy_index.write_films(folder, {"b.mp4": "2"})
    again = VideoIndex(folder, model=model, speed=1.5)
    assert again.add(folder, quiet=True).embedded == 1
    assert again.model.reducer == model.dial(**FASTER).reducer
    assert again.header == made.header and "dial" not in made.header
