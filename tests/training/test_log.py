"""What a run writes down: whole lines, each step once, also after a kill."""

import contextlib
import json

from tempme_jax.training.log import Log, drop_later_lines

VALUES = {"loss": 1.25, "learning_rate": 1e-3}
SPEED = {"videos_per_second": 80.0, "waited": 0.25}


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_lines_are_json_as_soon_as_they_are_written(tmp_path):
    with contextlib.closing(Log(tmp_path, step=0, steps=9)) as log:
        log.write(1, "train", VALUES)
        assert lines_of(tmp_path) == [{"step": 1, "kind": "train", **VALUES}]
        log.write(2, "validation", {"R-Sum": 3.0})
    assert lines_of(tmp_path)[1] == {"step": 2, "kind": "validation", "R-Sum": 3.0}


def test_curves_are_written(tmp_path):
    with contextlib.closing(Log(tmp_path, step=0, steps=9)) as log:
        log.write(1, "train", VALUES)
    (file,) = tmp_path.glob("events.out.tfevents.*")
    assert b"train/loss" in file.read_bytes()


def test_later_steps_and_half_lines_are_dropped(tmp_path):
    file = tmp_path / "metrics.jsonl"
    whole = [json.dumps({"step": step, "kind": "train"}) + "\n" for step in (1, 2, 3)]
    file.write_text("".join(whole) + '{"step": 2, "ki')
    drop_later_lines(file, 2)
    assert file.read_text() == "".join(whole[:2])
    assert list(tmp_path.iterdir()) == [file]


def test_a_run_that_goes_on_appends(tmp_path):
    for first, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        with contextlib.closing(Log(tmp_path, step=first, steps=4)) as log:
            for step in steps:
                log.write(step, "train", VALUES)
    assert [line["step"] for line in lines_of(tmp_path)] == [1, 2, 3, 4]


def test_only_one_process_writes(tmp_path, capsys):
    with contextlib.closing(Log(tmp_path, step=0, steps=9, writes=False)) as log:
        log.write(1, "train", VALUES)
        log.show_progress(1, VALUES)
        log.say("something")
    assert list(tmp_path.iterdir()) == []
    assert "".join(capsys.readouterr()) == ""


def test_how_long_it_takes_is_said_from_the_second_report_on(tmp_path, capsys, monkeypatch):
    times = iter((100.0, 110.0, 120.0))  # the first one after it was compiled
    with contextlib.closing(Log(tmp_path, step=0, steps=41)) as log:
        monkeypatch.setattr("tempme_jax.training.log.time.monotonic", lambda: next(times))
        log.show_progress(1, VALUES)
        log.show_progress(11, VALUES | SPEED)
        log.show_progress(41, VALUES | SPEED)
        monkeypatch.undo()
    said = "loss 1.2500  lr 1.00e-03"
    fast = "  80.0 videos/s  waited 25% for data"
    assert capsys.readouterr().err.splitlines() == [
        f"step 1/41  {said}", f"step 11/41  {said}{fast}  0:30 left", f"step 41/41  {said}{fast}",
    ]  # fmt: skip
