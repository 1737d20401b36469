"""What methods merge is shown as it is: in a picture, in a film, on a page and by the command."""

import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser

import av
import numpy as np
import pytest
from click.testing import CliRunner

import tempme_jax
from tempme_jax.cli import main
from tempme_jax.datasets import shapes
from tempme_jax.datasets.moving_shapes import save_frames
from tempme_jax.visualize import merged as visualize
from tempme_jax.visualize.html import make_page
from tempme_jax.visualize.merged import MergedTokens, average_colours, number_tokens
from tempme_jax.visualize.picture import draw_picture, find_borders, paint_tokens
from tempme_jax.visualize.writing import write_tokens

RED, BLUE = (200, 0, 0), (0, 0, 100)
HOSTILE = '<b>"x".mp4'


def two_frames():
    """Frames of 2 x 2 patches of 3 x 3 pixels: red ones of one token, blue ones, and a pruned."""
    source = np.array([[[7, 7], [7, 4]], [[7, 9], [-1, 4]]], np.int32)
    frames = np.zeros((2, 6, 6, 3), np.uint8)
    frames[0], frames[0, 3:, 3:] = RED, BLUE
    frames[1], frames[1, 3:, 3:] = BLUE, (10, 20, 0)
    return MergedTokens("by hand", frames, source)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "red.mp4"
    motion = shapes.Motion("red", "circle", "right", "up")
    save_frames(path, shapes.draw(motion, np.random.default_rng(1), np.random.default_rng(2)))
    return path


@pytest.fixture(scope="module")
def shown(video):
    return visualize.trace_methods("tiny-clip", video, methods=["tempme", "tome"], num_frames=8)


@pytest.fixture(scope="module")
def pruned(shown):
    source = shown[0].source.copy()
    source[2, 1:, 2] = -1
    return dataclasses.replace(shown[0], method="cut", source=source)


def test_tokens_are_numbered_from_the_largest():
    number = number_tokens(np.array([[[9, 7], [3, 3]], [[7, -1], [5, 7]]]))
    np.testing.assert_array_equal(number, [[[2, 0], [1, 1]], [[0, -1], [3, 0]]])
    np.testing.assert_array_equal(two_frames().counts, [4, 2, 1])


def test_mean_colours():
    merged = two_frames()
    # Three red patches and a blue one; a blue one and a dark one; a blue one.
    expected = [(150, 0, 25), (5, 10, 50), BLUE]
    np.testing.assert_array_equal(average_colours(merged.frames, merged.number), expected)


def test_borders_follow_a_token_around_its_corners():
    number = np.array([[0, 0], [0, 1]]).repeat(3, axis=0).repeat(3, axis=1)
    drawn = ["".join(" #"[int(edge)] for edge in row) for row in find_borders(number[None], 1)[0]]
    assert drawn == ["######", "#    #", "# ####", "# ####", "# ## #", "######"]


def test_colours_of_patches_as_painted():
    merged = two_frames()
    pixels = paint_tokens(merged, 4)  # patches of 12 x 12, with borders of 1
    inside = pixels.reshape(2, 2, 12, 2, 12, 3).swapaxes(2, 3)[:, :, :, 2:-2, 2:-2]
    for frame, row, column in np.argwhere(merged.source >= 0):
        colour = merged.means[merged.number[frame, row, column]]
        assert (inside[frame, row, column] == colour).all()
    edges = pixels[0, 0, 0], pixels[0, 23, 0], pixels[1, 0, 0]
    assert len({tuple(edge) for edge in edges}) == 1
    assert tuple(pixels[1, 0, 23]) == visualize.ALONE
    assert len({tuple(edge) for edge in visualize.choose_edge_colours(np.full(50, 2))}) == 50


def test_pruned_patches_are_dark_and_stroked():
    patch = paint_tokens(two_frames(), 4)[1, 12:, :12]
    strokes = (patch == 235).all(axis=-1)
    assert (patch[~strokes] == (0, 0, 30)).all()
    assert strokes[0, 11] and strokes[11, 0] and not strokes[0, 0] and not strokes[11, 11]


def test_nothing_is_left():
    merged = two_frames()
    nothing = dataclasses.replace(merged, source=np.full_like(merged.source, -1))
    assert nothing.summary == "by hand: 0 tokens of 8 patches, 8 pruned"
    assert draw_picture([nothing]).size[0] > 0 and '"tokens":[]' in make_page([nothing], "x")


def most_frames(merged):
    """In how many frames the token that is in most of them holds patches."""
    tokens = range(len(merged.counts))
    return max((merged.number == token).any(axis=(1, 2)).sum() for token in tokens)


def test_traced(shown, video):
    tempme, tome = shown
    for one in shown:
        assert one.counts.sum() == one.source.size == 8 * 16
        assert one.frames.shape == (8, 64, 64, 3) and (one.frames == tempme.frames).all()
        # 24 frames of 12 a second, of which every third from the second on is taken.
        np.testing.assert_allclose(one.seconds, (1 + 3 * np.arange(8)) / 12)
    assert (len(tome.counts), most_frames(tome)) == (8 * (16 - 6), 1)
    assert len(tempme.counts) < len(tome.counts) and most_frames(tempme) == 8
    largest = f"{tempme.counts[0]} patches in 8 frames"
    assert tempme.summary.endswith(f" tokens of 128 patches; the largest holds {largest}")


def test_traced_frames(shown):
    model = tempme_jax.load("tiny-clip", method="tome", num_frames=8)
    assert (visualize.trace(model, shown[1].frames).source == shown[1].source).all()
    few = visualize.trace(model, shown[1].frames[:3])
    assert few.seconds is None and (few.source == shown[1].source[:3]).all()
    with pytest.raises(ValueError, match="2 seconds are given for 8 frames"):
        visualize.trace(model, shown[1].frames, seconds=[0.0, 1.0])
    with pytest.raises(ValueError, match=r"one video is uint8 \[t, h, w, 3\]"):
        visualize.trace(model, shown[1].frames[None])


def test_picture_holds_frames_and_tokens(shown):
    for columns in (8, 3):
        sheet = draw_picture(shown, columns=columns)
        pixels = np.asarray(sheet).tobytes()
        tiles = [shown[0].frames.repeat(3, axis=1).repeat(3, axis=2)]
        for tile in (*tiles, *(paint_tokens(one, 3) for one in shown)):
            assert all(row.tobytes() in pixels for frame in tile for row in frame[::16])
    assert draw_picture(shown, columns=3).width < draw_picture(shown).width
    assert draw_picture(shown, columns=3).height > 2 * draw_picture(shown).height
    short = dataclasses.replace(shown[1], frames=shown[1].frames[:4])
    with pytest.raises(ValueError, match="tome was traced on other frames than tempme"):
        draw_picture([shown[0], short])
    with pytest.raises(ValueError, match="nothing to show"):
        draw_picture([])


def test_a_legend_tells_what_pruned_means(shown, pruned):
    assert draw_picture([pruned]).height == draw_picture([shown[0]]).height
    last = [np.asarray(draw_picture([one]))[-60:] for one in (shown[0], pruned)]
    assert (last[1] < 200).any(axis=2).sum() > 1.2 * (last[0] < 200).any(axis=2).sum()


@pytest.mark.parametrize("count", [1, 4])
def test_film(shown, count, tmp_path):
    methods = [dataclasses.replace(shown[0], method=f"method {i}") for i in range(count)]
    write_tokens(methods, tmp_path / "film.mp4", title="")
    with av.open(tmp_path / "film.mp4") as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 2 and len(frames) == 8
    assert all(length % 2 == 0 for length in frames[0].shape[:2])
    # The circle is in another place in every frame, and the first panel shows it.
    red = [frame[:, :360, 0].astype(int) - frame[:, :360, 2] > 90 for frame in frames]
    places = [np.argwhere(here).mean(axis=0) for here in red]
    assert places[-1][0] < places[0][0] - 50 and places[-1][1] > places[0][1] + 50


class Page(HTMLParser):
    """Tags with their attributes, and the text in each."""

    def __init__(self, text):
        super().__init__()
        self.found, self.text = [("", {})], {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        tag, attributes = self.found[-1]
        self.text.setdefault(attributes.get("id", tag), data)

    def attributes(self, name):
        return [attributes[name] for _, attributes in self.found if name in attributes]


def test_page_holds_the_source_maps(shown, pruned):
    parsed = Page(make_page([*shown, pruned], HOSTILE))
    data = json.loads(parsed.text["data"])
    assert data["seconds"] == list(shown[0].seconds)
    for one, written in zip([*shown, pruned], data["methods"], strict=True):
        assert written["name"] == one.method
        np.testing.assert_array_equal(written["source"], one.source)
        ids = np.array([token["id"] for token in written["tokens"]])
        assert (ids[one.number[one.number >= 0]] == one.source[one.number >= 0]).all()
        assert written["tokens"][0]["mean"] == "#" + bytes(one.means[0]).hex()
    assert parsed.attributes("value") == ["tempme", "tome", "cut"]


def test_page_escapes_what_it_is_given(shown):
    hostile = dataclasses.replace(shown[0], method='</script><img src="x">')
    text = make_page([hostile], HOSTILE)
    parsed = Page(text)
    assert parsed.text["h1"] == HOSTILE and parsed.text["title"].startswith(HOSTILE)
    assert "<b>" not in text and text.count("</script>") == 2
    assert parsed.attributes("value") == [hostile.method]
    assert json.loads(parsed.text["data"])["methods"][0]["name"] == hostile.method
    make_page(shown, "name \udcff.mp4").encode()  # no valid Unicode


def test_page_asks_nothing_of_a_network(shown):
    text = make_page(shown, HOSTILE)
    parsed = Page(text)
    assert len(parsed.attributes("src")) == 8
    assert all(
        address.startswith("data:image/jpeg;base64,") for address in parsed.attributes("src")
    )
    rest = re.sub(r"data:image/jpeg;base64,[\w+/=]+", "", text).replace("http-equiv", "")
    assert not re.search(r"http|//[\w]|url\(|@import|href|fetch|XMLHttp", rest)
    [policy] = [a["content"] for tag, a in parsed.found if "http-equiv" in a]
    assert policy.startswith("default-src 'none'; img-src data:;") and "unsafe" not in policy
    for part in ("style", "script"):
        [source] = re.findall(rf"<{part}>(.*?)</{part}>", text, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{part}-src 'sha256-{digest}'" in policy
    assert not parsed.attributes("style") and not parsed.attributes("onclick")


def run(*arguments, exit_code=0):
    result = CliRunner().invoke(main, ["visualize", *map(str, arguments)], prog_name="tempme")
    assert result.exit_code == exit_code, result.output
    return result


def test_command(video, shown, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--weights", "tiny-clip", "--frames", 8]
    assert run(video, *options).stdout == f"{shown[0].summary}\nred.merged.png: written\n"
    assert (tmp_path / "red.merged.png").read_bytes().startswith(b"\x89PNG")
    assert "red.merged.png exists" in run(video, *options, exit_code=1).stderr
    files = ["--out", "a.mp4", "--out", "a.HTML", "--out", "red.merged.png", "--overwrite"]
    out = run(video, *options, "--methods", "tome, tempme", *files).stdout.splitlines()
    assert out[:2] == [shown[1].summary, shown[0].summary] and len(out) == 5
    assert (tmp_path / "a.HTML").read_text("utf-8") == make_page(shown[::-1], "red.mp4")
    write_tokens(shown[::-1], tmp_path / "b.mp4", title="")
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_command_help():
    text = run("--help").stdout
    names = ["VIDEO", "--weights", "--methods", "--frames", "--out", "--overwrite"]
    assert [name for name in names if name not in text] == []


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["none.mp4"], 2, "'none.mp4' does not exist"),
        (["VIDEO", "--methods", "tempm"], 1, "unknown method: 'tempm' (did you mean 'tempme'?)"),
        (["VIDEO", "--out", "a.gif"], 1, "a.gif must end in .png, .mp4 or .html"),
        (["VIDEO", "--out", "none/a.png"], 1, "there is no folder none to write a.png to"),
        (["VIDEO", "--frames", "0"], 2, "0 is not in the range x>=1"),
        (["note.mp4"], 1, "note.mp4: not a video"),
    ],
)
def test_command_says_what_is_wrong(arguments, exit_code, message, video, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "note.mp4").write_text("no video at all")
    result = run(*[video if word == "VIDEO" else word for word in arguments], exit_code=exit_code)
    assert message in result.stderr and result.stdout == ""


def test_a_training_knows_its_method(video, monkeypatch):
    monkeypatch.setattr(visualize, "is_workdir", lambda weights: True)
    with pytest.raises(ValueError, match="a training, which sets the method and the frames"):
        visualize.trace_methods("workdir/run", video, methods=["tome"])
