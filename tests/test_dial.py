"""The dial: the same parameters at other settings of the reducer; as trained, the model itself."""

import jax
import numpy as np
import pytest
import toy_index

import tempme_jax
from tempme_jax import building, dial
from tempme_jax.networks.architecture import ARCHITECTURES
from tempme_jax.reducers.schedule import make_schedule
from tempme_jax.reducers.tome import ToMe


@pytest.fixture(scope="module")
def model():
    return toy_index.make_model()


@pytest.fixture(scope="module")
def frames():
    shape = (2, toy_index.FRAMES, toy_index.SIDE, toy_index.SIDE, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_the_dial_as_trained_is_the_model_itself_bit_for_bit(model, frames):
    assert model.dial() is model and model.dial(**model.reducer.scale(1.0)) is model
    turned = model.dial(keep_cross=0.5, keep_intra=0.6)
    back = turned.dial(keep_cross=0.7)
    assert back.dialed is None and back.network == model.network and back.params is model.params
    np.testing.assert_array_equal(back.embed_video(frames), model.embed_video(frames))


def test_another_setting_has_the_same_parameters_and_texts(model, frames, tmp_path):
    turned = model.dial(keep_cross=0.5)
    assert turned.params is model.params and turned.dialed.trained == model.reducer
    tokens = [sum(stage.out for stage in one.schedule) for one in (turned, model)]
    assert tokens[0] < tokens[1]
    moved = turned.embed_video(frames)
    assert not np.array_equal(moved, model.embed_video(frames))
    np.testing.assert_array_equal(turned.embed_text("a cat"), model.embed_text("a cat"))
    turned.save(tmp_path / "turned.safetensors")
    again = tempme_jax.load(tmp_path / "turned.safetensors")
    assert (again.reducer, again.dialed, again.trained) == (turned.reducer, None, None)
    assert again.options.keys() - model.options.keys() == {"keep_cross"}
    np.testing.assert_array_equal(again.embed_video(frames), moved)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"rank": 4}, "'rank' is an option of what was learned, which the dial leaves as it is"),
        ({"keep_cros": 0.5}, "unknown option of method 'tempme': 'keep_cros' .did you mean"),
        ({"keep_cross": 0}, "must be in .0, 1.: the share that is kept"),
        ({"keep_cross": "half"}, "keep_cross='half' must be a number"),
        ({"layers": (1,), "groups": (4,)}, "has not learned .*block_0/join_clips/clip_position"),
        ({"layers": (0, 7)}, "must lie in 0..1, the blocks of the tower"),
        ({"clip_positions": False}, "the dial takes only options that need no others"),
    ],
)
def test_what_does_not_fit_is_refused(model, options, told):
    with pytest.raises(ValueError, match=told):
        model.dial(**options)


def test_a_model_that_keeps_every_token_has_no_dial():
    plain = toy_index.make_model("clip")
    assert plain.dial() is plain and dial.list_settings(plain.network, 4) == []
    with pytest.raises(ValueError, match="keeps every token, so it has no dial"):
        plain.dial(r=2)


def assemble(method, backbone="ViT-B/32"):
    """A model without parameters."""
    return building.assemble(
        ARCHITECTURES[backbone], method=method, num_frames=12, max_words=None, options={},
        dtype="float32",
    )  # fmt: skip


@pytest.mark.parametrize("method", ["tempme", "tome", "testa", "evit"])
def test_the_ladder_goes_from_slow_to_fast_through_the_trained_setting(method):
    network = assemble(method).network
    settings = dial.list_settings(network, 12)
    speeds = [dial.count_speed(network, 12, options) for options in settings]
    assert speeds == sorted(set(speeds)) and speeds[settings.index(network.reducer.scale(1))] == 1
    assert 4 <= len(settings) <= 10 and speeds[0] < 0.8 and speeds[-1] > 1.2


def test_where_fewer_can_merge_than_asked_the_ladder_lists_them():
    network = assemble("tempme").network
    assert dial.fit_options(network, 12, 4.0) == {
        "r": (8, 8, 8, 8, 8, 4, 2, 1), "keep_cross": 0.5, "keep_intra": 0.6,
    }  # fmt: skip
    assert dial.count_speed(network, 12, dial.fit_options(network, 12, 4.0)) > 2
    assert dial.fit_options(assemble("sta").network, 12, 2.0) == {}


def test_a_list_of_r_is_one_number_for_each_block():
    def list_tokens(r):
        stages = make_schedule(ToMe(r=r), frames=2, tokens=50, depth=3)
        return [stage.out for stage in stages]

    assert list_tokens([4, 2]) == [46, 44, 44] and list_tokens((2, 2, 2)) == list_tokens(2)
    with pytest.raises(ValueError, match="one of r=-1 must be a whole number"):
        ToMe(r=(1, -1))
    with pytest.raises(ValueError, match="r=30 is too large for block 1"):
        list_tokens((2, 30))


def test_the_dial_goes_along_to_other_devices_and_dtypes(model):
    turned = model.dial(keep_cross=0.5)
    for changed in (turned.to(jax.devices()[0]), turned.to(dtype="bfloat16"), turned.fold()):
        assert changed.reducer == turned.reducer and changed.dialed == turned.dialed
        assert changed.dial().reducer == model.reducer
