"""The search page in a browser: found, played, opened, told apart, by mouse and by keys."""

import base64
import os
import re
import shutil
from pathlib import Path

import pytest
from fake_index import HOSTILE, UNPLAYABLE, FakeIndex, picture, serving

import tempme_jax
from tempme_jax.datasets.moving_shapes import write_samples
from tempme_jax.search.serve.server import create_application
from tempme_jax.video import workers
from tempme_jax.video.errors import VideoError

try:
    from axe_playwright_python.sync_playwright import Axe, AxeResults
except ImportError:
    Axe = None

api = pytest.importorskip("playwright.sync_api")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SHOTS = os.environ.get("TEMPME_SCREENSHOTS")
TIME = 20_000  # milliseconds
# Drawing takes most of the time, so the window is large only for screenshots.
SCREEN = {"width": 1280, "height": 860} if SHOTS else {"width": 800, "height": 500}
PHONE = {"width": 390, "height": 844}
# Where a moment of the fake index is worth playing, and where it ends.
AT, END = 3.0, 5.5


@pytest.fixture(scope="module")
def browser():
    """A browser, which every test of the page needs."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"there is no browser: none of {', '.join(BROWSERS)} is installed")
    arguments = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--mute-audio"]
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return FakeIndex(tmp_path_factory.mktemp("videos"))


def decode_all(requests, *, decode, **_):
    """Decode in this process, which saves starting others."""
    for request in requests:
        try:
            yield request, decode(request)
        except VideoError as error:
            yield request, error


@pytest.fixture(scope="module")
def address(index, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(workers, "decode_all", decode_all)
        with serving(create_application(index)) as port:
            yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A picture to search with."""
    file = tmp_path_factory.mktemp("photo") / "holiday.jpg"
    picture(3, "#78b7d9", "#e8503a").save(file)
    return file


@pytest.fixture(scope="module")
def usual(browser, address):
    """One page for most tests: a window of its own for each takes a second."""
    return new_page(browser, address, viewport=SCREEN)


def new_page(browser, address, **options):
    page = browser.new_context(base_url=address, **options).new_page()
    page.set_default_timeout(TIME)
    return page


@pytest.fixture
def open_page(browser, usual, address):
    """Open the page; errors in it and requests to other servers fail the test."""
    opened, troubles, strangers = [], [], []

    def open_page(path="/", *, expected=(), colours="light", motion="no-preference", **options):
        page = new_page(browser, address, **options) if options else usual

        def note(message):
            if message.type == "error" and not any(one in message.text for one in expected):
                troubles.append(message.text)

        listeners = {
            "console": note,
            "pageerror": lambda error: troubles.append(str(error)),
            "request": lambda r: r.url.startswith(address) or strangers.append(r.url),
        }
        for event, listener in listeners.items():
            page.on(event, listener)
        opened.append((page, listeners))
        page.emulate_media(color_scheme=colours, reduced_motion=motion)
        page.mouse.move(0, 0)
        page.goto(path)
        return page

    yield open_page
    for page, listeners in opened:
        for event, listener in listeners.items():
            page.remove_listener(event, listener)
    assert not troubles
    assert not strangers


def shot(page, name, wait=300):
    if SHOTS:
        Path(SHOTS).mkdir(parents=True, exist_ok=True)
        # Pictures below the fold load when they are scrolled to.
        page.wait_for_timeout(wait)
        page.screenshot(path=Path(SHOTS, f"{name}.png"))


def search(page, text):
    page.locator("#query").fill(text)
    page.keyboard.press("Enter")


def tiles(page):
    return page.locator("#results > li:not(.waiting)")


def text(page, selector):
    return page.locator(selector).inner_text()


def expect_tiles(page, count):
    api.expect(tiles(page)).to_have_count(count)


def time_of(page, selector):
    return page.evaluate("one => document.querySelector(one)?.currentTime ?? -1", selector)


def wait_for(page, condition, *arguments):
    # An expression would be given to eval, which the page forbids.
    condition = condition if "=>" in condition else f"() => {condition}"
    page.wait_for_function(condition, arg=list(arguments))


def open_results(open_page, path="/?q=y", count=6, **options):
    page = open_page(path, **options)
    expect_tiles(page, count)
    return page


def focused(page):
    """The number of the tile that has the focus."""
    return page.evaluate("[...results.children].indexOf(document.activeElement.closest('li'))")


def test_a_search_shows_moments_and_keeps_its_address(open_page):
    page = open_page()
    assert page.evaluate("document.activeElement.id") == "query"
    api.expect(page.locator("#indexed")).to_have_text("6 videos, 1 hour")
    assert text(page, "#model") == "model a model"
    assert text(page, "#run").startswith("indexed Nov 28, 2026")
    assert page.locator("#bar").is_hidden()
    shot(page, "welcome")
    search(page, "a red disc")
    expect_tiles(page, 6)
    first = tiles(page).first
    assert first.locator("h3").inner_text() == "beach.mp4"
    assert first.locator(".time").inner_text() == "0:02–0:06"
    assert first.locator(".verdict").inner_text() == "Strong match"
    assert tiles(page).nth(2).locator(".verdict").inner_text() == "Possible match"
    title = first.locator(".verdict").get_attribute("title")
    assert title == "higher than 99.6\u00a0% of unrelated sentences (cosine 0.310)"
    assert "cosine" not in text(page, "main") and "%" not in text(page, "main")
    assert tiles(page).nth(2).locator(".copies").inner_text().strip() == "· 1 copy"
    assert first.locator(".date").inner_text() == "Jan 12, 2024"
    assert text(page, "#status").startswith("6 moments of 40 windows in ")
    assert page.url.endswith("/?q=a+red+disc") and page.title() == "a red disc – tempme"
    shot(page, "results-light")
    search(page, "something else")
    wait_for(page, "document.title.startsWith('something')")
    page.go_back()
    wait_for(page, "document.title.startsWith('a red')")
    assert page.locator("#query").input_value() == "a red disc"
    page.reload()
    expect_tiles(page, 6)


def test_names_are_text(open_page):
    page = open_results(open_page, "/?q=x&name=src%3Dx", count=1)
    hostile = tiles(page).first
    assert hostile.locator("h3").inner_text() == HOSTILE
    assert page.locator("#named mark").inner_text() == "x"
    assert page.locator("#named .text > span").first.inner_text() == HOSTILE
    hostile.locator("h3").click()  # wherever a tile is clicked, it opens
    assert text(page, "#viewer-name") == HOSTILE
    page.keyboard.press("Escape")
    page.locator("#failed").click()
    api.expect(page.locator("#failures strong")).to_have_text("<b>broken.mp4")
    assert text(page, "#failures li span") == "the file is cut short"
    shot(page, "failures")
    assert page.locator("img[src=x]").count() == 0 and page.title() == "x – tempme"


def test_files_and_folders_with_the_words_in_their_name(open_page):
    page = open_results(open_page, "/?q=beach")
    api.expect(page.locator("#named h2")).to_have_text("Named “beach”")
    shot(page, "named")
    page.locator("#named button").click()
    wait_for(page, "() => document.querySelector('#video').readyState >= 2")
    assert time_of(page, "#video") < AT and text(page, "#place") == "1 of 1"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.closest('#named') !== null")
    # What is said there is told apart from what is seen.
    assert text(page, "#said .name") == "“to the <beach>”"
    page.locator("#said button").click()
    assert text(page, "#viewer-match") == "“to the <beach>”"
    page.keyboard.press("Escape")
    search(page, "holiday")
    api.expect(page.locator("#named h2")).to_have_text("Named “holiday”")
    page.locator("#named button").click()
    expect_tiles(page, 3)
    assert "folder=" in page.url


def test_a_tile_plays_its_moment_while_the_mouse_is_on_it(open_page):
    page = open_results(open_page)
    picture = tiles(page).first.locator(".picture")
    picture.hover()
    wait_for(page, "() => document.querySelector('.playing video')?.currentTime > 0")
    began = time_of(page, ".playing video")
    assert AT <= began < END
    assert page.evaluate("document.querySelector('.playing video').muted")
    wait_for(page, "([t]) => document.querySelector('.playing video').currentTime > t + 0.3", began)
    shot(page, "playing")
    # At the end it begins again.
    page.evaluate("document.querySelector('.playing video').currentTime = 5.3")
    wait_for(page, "() => document.querySelector('.playing video').currentTime < 4")
    assert time_of(page, ".playing video") >= AT - 0.05
    tiles(page).nth(3).locator(".picture").hover()
    wait_for(page, "() => document.querySelectorAll('video[src]').length === 1")
    page.mouse.move(0, 0)
    wait_for(page, "() => !document.querySelector('.playing, .picture video')")


def test_the_dialog_opens_at_the_moment(open_page):
    page = open_results(open_page)
    tiles(page).first.locator(".picture").click()
    wait_for(page, "() => document.querySelector('#video').readyState >= 2")
    assert AT <= time_of(page, "#video") < END
    assert text(page, "#place") == "1 of 6"
    assert text(page, "#viewer-match").startswith("Strong match: higher than 99.6")
    part = page.evaluate("document.querySelector('#time .part').style.cssText")
    assert "left: 25%" in part and "width: 43.75%" in part
    assert page.locator("#time rect").count() == 7  # of eight parts; one has no window
    assert re.search(r"/clip/0+\?start=2&end=5.5$", page.locator("#save").get_attribute("href"))
    shot(page, "dialog-light")
    page.keyboard.press("ArrowRight")
    assert text(page, "#place") == "2 of 6"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Escape")
    api.expect(page.locator("#viewer")).to_be_hidden()
    wait_for(page, "() => !document.querySelector('#video').hasAttribute('src')")
    assert focused(page) == 0


def test_what_the_browser_cannot_play_has_a_preview(open_page):
    page = open_results(open_page, f"/?q=y&name={UNPLAYABLE}", count=1)
    # A preview that was made before comes too soon to see the note.
    page.evaluate(
        """() => new MutationObserver(() => {
          window.noted ??= document.querySelector(".preparing .note")?.textContent;
        }).observe(document.body, { subtree: true, attributes: true })"""
    )
    tiles(page).first.locator(".picture").hover()
    wait_for(page, "() => document.querySelector('.playing video')?.currentTime > 1")
    assert page.evaluate("window.noted") == "preparing a preview…"
    tiles(page).first.locator(".picture").click()
    api.expect(page.locator("#explained")).to_contain_text("A preview")
    wait_for(page, "() => document.querySelector('#video').readyState >= 2")
    shot(page, "preview")
    # The moment is 2 to 5.5 s and worth playing from 3 s; the preview begins with the moment.
    assert AT - 2 <= time_of(page, "#video") < END - 2
    assert re.match("0:0[3-5], ", page.locator("#time").get_attribute("aria-valuetext"))
    # Before the moment there is another preview.
    page.locator("#time").press("Home")
    wait_for(page, "() => document.querySelector('#video').currentSrc.includes('start=0.000')")
    wait_for(page, "() => document.querySelector('#video').readyState >= 2")


def test_a_file_that_is_gone_is_called_gone(open_page, index, tmp_path):
    lecture = next(path for path in index.paths.values() if path.name == "lecture.mp4")
    page = open_page("/?q=y&name=lecture", expected=("status of 410",))
    expect_tiles(page, 1)
    away = lecture.rename(tmp_path / lecture.name)
    tiles(page).first.locator(".picture").click()
    api.expect(page.locator("#trouble strong")).to_have_text("The file is gone.")
    assert page.locator("#save").is_hidden()
    page.reload()
    api.expect(page.locator(".gone .note")).to_have_text("the file is gone")
    tiles(page).first.locator(".picture").click()
    api.expect(page.locator("#trouble")).to_contain_text("moved, renamed or deleted")
    shot(page, "gone")
    assert page.locator("#save").is_hidden()
    away.rename(lecture)


@pytest.mark.slow
def test_what_was_merged_is_shown_and_explained(open_page):
    page = open_results(open_page)
    tiles(page).first.locator(".picture").click()
    merged = page.locator("#viewer").get_by_role("button", name="What was merged")
    merged.click()
    wait_for(page, "() => document.querySelector('#merged img').naturalWidth > 1000")
    api.expect(page.locator("#explained")).to_contain_text("are one token")
    shot(page, "merged")
    merged.click()
    api.expect(page.locator("#video")).to_be_visible()
    api.expect(page.locator("#merged")).to_be_hidden()


def test_more_like_this_and_words_with_it(open_page, index):
    page = open_results(open_page)
    tiles(page).nth(1).get_by_role("button", name="More like this").click()
    expect_tiles(page, 5)
    assert "similar=" in page.url and page.locator("#given img").is_visible()
    title = tiles(page).first.locator(".verdict").get_attribute("title")
    assert title == "higher than 99.6\u00a0% of windows in other videos (cosine 0.310)"
    shot(page, "similar")
    search(page, "at night")
    wait_for(page, "location.search.includes('q=at+night')")
    api.expect(page.locator("#results")).not_to_have_attribute("aria-busy", "true")
    assert index.asked[-1][0] == "at night" and index.asked[-1][3] == 0.5
    page.locator("#forget").click()
    expect_tiles(page, 6)
    assert page.locator("#given").is_hidden() and page.url.endswith("/?q=at+night")


def test_all_moments_of_one_video_and_its_timeline(open_page):
    page = open_results(open_page)
    tiles(page).first.get_by_role("button", name="All of this video").click()
    expect_tiles(page, 3)
    assert "file=" in page.url and page.locator("#sort").input_value() == "time"
    assert [one.inner_text() for one in page.locator(".tile .time").all()] == [
        "0:00–0:02", "0:02–0:04", "0:04–0:06",
    ]  # fmt: skip
    assert text(page, "#whole-name") == "beach.mp4"
    shot(page, "whole")
    line = page.locator("#whole-time")
    box = line.bounding_box()
    line.click(position={"x": 0.75 * box["width"], "y": box["height"] / 2})
    wait_for(page, "() => document.querySelector('#video').readyState >= 2")
    assert 5.9 < time_of(page, "#video") < 8
    assert tiles(page).count() == int(text(page, "#place")[0])  # the last is the nearest
    slider = page.locator("#time")
    slider.press("Home")
    slider.press("ArrowRight")
    wait_for(page, "() => document.querySelector('#video').currentTime < 3")
    assert slider.get_attribute("aria-valuetext").endswith("match, of 0:08")
    assert text(page, "#place") == "3 of 3"  # on the timeline, arrows are those of a slider
    page.keyboard.press("Escape")
    wait_for(page, "document.activeElement.id === 'whole-time'")
    page.locator("#leave").click()
    expect_tiles(page, 6)


def test_the_second_that_fits_best_is_played_and_its_curve_drawn(open_page):
    page = open_page("/?q=by+frames")
    expect_tiles(page, 6)
    tiles(page).first.locator(".picture").click()
    wait_for(page, "() => document.querySelector('#video').readyState >= 2")
    assert 4.4 < time_of(page, "#video") < 6.5
    assert text(page, "#viewer-match").endswith("(score 0.310)")
    assert text(page, "#best") == "Frames of the best part; the best one at 0:04"
    slider = page.locator("#frames")
    heights = slider.evaluate(
        "one => [...one.querySelectorAll('rect')].map(r => +r.getAttribute('height'))"
    )
    assert len(heights) == 4 and max(heights) == heights[2]
    assert slider.locator("rect.strong").count() == 1
    check_with_axe(page)
    shot(page, "frames")
    slider.press("Home")
    assert slider.get_attribute("aria-valuetext") == "0:02, weak match, of 0:06"
    wait_for(page, "() => document.querySelector('#video').currentTime < 4")
    page.keyboard.press("Escape")
    search(page, "holiday")  # without vectors of frames
    expect_tiles(page, 6)
    tiles(page).first.locator(".picture").click()
    assert page.locator("#curve").is_hidden()
    page.keyboard.press("Escape")


def test_filters_and_order(open_page, index):
    page = open_results(open_page, expected=("status of 422",))
    page.locator("#toggle").click()
    panel = page.locator("#filters")
    shot(page, "filters")
    work = panel.locator("[name=folder] option").filter(has_text=re.compile(r"/work$"))
    api.expect(work).to_have_count(1)  # Folders come after the moments, by a request of their own.
    panel.locator("[name=folder]").select_option(work.inner_text())
    expect_tiles(page, 3)
    panel.locator("[name=length]").select_option("short")
    expect_tiles(page, 2)
    panel.locator("[name=length]").select_option("medium")
    api.expect(page.locator("#banner h2")).to_have_text("Nothing found")
    shot(page, "nothing")
    page.locator("#retry").click()
    expect_tiles(page, 6)
    panel.locator("[name=name]").fill("*.mp4")  # no Enter is needed
    expect_tiles(page, 5)
    panel.locator("[name=after]").fill("2024-04-12")
    expect_tiles(page, 3)
    panel.locator("[name=before]").fill("2024-05-12")
    expect_tiles(page, 2)
    panel.locator("[name=without]").fill("people, snow")
    wait_for(page, "document.querySelectorAll('#chips button').length === 4")
    assert text(page, "#toggle") == "Filters (4)"
    assert text(page, "#chips").splitlines()[0] == "name: *.mp4"
    shot(page, "chips")
    wait_for(page, "!document.querySelector('#results[aria-busy]')")
    assert index.asked[-1][2] == ("people", "snow")
    page.get_by_role("button", name="Remove the filter from Apr 12, 2024").click()
    expect_tiles(page, 4)
    panel.locator("[name=after]").fill("2025-01-01")
    api.expect(page.locator("#banner")).to_contain_text("Clear the filters")
    page.locator("#clear").click()
    expect_tiles(page, 6)
    assert page.url.endswith("/?q=y")
    panel.locator("[name=verdict]").select_option("strong")
    expect_tiles(page, 2)
    panel.locator("[name=verdict]").select_option("")
    page.locator("#sort").select_option("date")
    api.expect(tiles(page).first.locator("h3")).to_have_text("grüße 東京.mp4")
    panel.locator("[name=name]").press("Escape")
    assert panel.is_hidden() and "sort=date" in page.url
    page.goto("/?q=y&verdict=other&length=other")
    api.expect(page.locator("#banner")).to_contain_text("Clear the filters")
    assert "matches: other" in text(page, "#chips")


def drop(page, kind, data, name="dropped.jpg"):
    """Drag a file over the page, or drop it there."""
    page.evaluate(
        """([kind, data, name]) => {
          const bytes = Uint8Array.from(atob(data), one => one.charCodeAt(0));
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([bytes], name, { type: "image/jpeg" }));
          const given = { dataTransfer, clipboardData: dataTransfer };
          const what = { bubbles: true, cancelable: true, ...given };
          const Kind = kind === "paste" ? ClipboardEvent : DragEvent;
          document.body.dispatchEvent(new Kind(kind, what));
        }""",
        [kind, base64.b64encode(data).decode(), name],
    )


def test_a_picture_as_the_query(open_page, index, photo):
    page = open_page(expected=("status of 422", "status of 410"))
    drop(page, "dragover", photo.read_bytes())
    api.expect(page.locator("#drop")).to_be_visible()
    shot(page, "drop")
    drop(page, "drop", photo.read_bytes())
    expect_tiles(page, 6)
    assert page.locator("#drop").is_hidden() and re.search(r"\?query=[0-9a-f]{32}$", page.url)
    assert page.locator("#given img").get_attribute("alt") == "dropped.jpg"
    wait_for(page, "() => document.querySelector('#given img').naturalWidth > 10")
    assert index.asked[-1][0] == ""
    shot(page, "given")
    search(page, "with snow")
    wait_for(page, "location.search.includes('q=with+snow')")
    page.locator("#toggle").click()
    page.locator("[name=weight]").fill("0.8")
    wait_for(page, "location.search.includes('weight=0.8')")
    wait_for(page, "!document.querySelector('#results[aria-busy]')")
    assert index.asked[-1][0] == "with snow" and index.asked[-1][3] == 0.8
    before = page.url
    page.locator("#file").set_input_files(photo)
    wait_for(page, "([url]) => location.href !== url", before)
    drop(page, "paste", b"no picture", "broken.jpg")
    api.expect(page.locator("#banner p")).to_contain_text("broken.jpg cannot be read")
    shot(page, "refused")
    page.goto("/?query=" + "0" * 32)
    api.expect(page.locator("#banner p")).to_contain_text("choose the file again")


def test_weak_empty_and_failed_answers_say_so(open_page):
    page = open_page(expected=("status of 500", "ERR_INTERNET_DISCONNECTED"))
    search(page, "gibberish")
    expect_tiles(page, 3)
    assert text(page, "#banner h2") == "Nothing clearly shows this"
    assert text(page, "#banner p").endswith("Below is what comes nearest.")
    assert tiles(page).first.locator(".verdict").inner_text() == "Weak match"
    picture = tiles(page).last.locator("img")
    assert picture.evaluate(
        "one => [getComputedStyle(one).opacity, getComputedStyle(one).filter]"
    ) == ["1", "none"]
    shot(page, "weak")
    page.locator("#more").click()
    expect_tiles(page, 6)
    assert focused(page) == 3
    search(page, "nothing at all")
    api.expect(page.locator("#banner h2")).to_have_text("Nothing found")
    expect_tiles(page, 0)
    search(page, "broken")
    api.expect(page.locator("#banner h2")).to_have_text("That did not work")
    assert page.locator("#banner").get_attribute("role") == "alert"
    shot(page, "failed")
    page.context.set_offline(True)
    page.locator("#retry").click()
    api.expect(page.locator("#banner p")).to_contain_text("Is it still running?")
    page.context.set_offline(False)
    search(page, "y")
    expect_tiles(page, 6)
    assert page.locator("#banner").is_hidden()


@pytest.mark.slow
def test_a_slow_answer_has_a_placeholder(open_page):
    page = open_page()
    page.route("**/api/search**", lambda route: page.wait_for_timeout(400) or route.continue_())
    search(page, "y")
    api.expect(page.locator(".tile.waiting").first).to_be_visible()
    shot(page, "waiting", wait=0)
    expect_tiles(page, 6)
    page.unroute("**/api/search**")


def test_keys(open_page):
    page = open_results(open_page)
    press = page.keyboard.press
    press("ArrowDown")  # from the box
    assert focused(page) == 0
    press("ArrowRight")
    press("ArrowDown")
    columns = page.evaluate("getComputedStyle(results).gridTemplateColumns.split(' ').length")
    assert focused(page) == 1 + columns
    # The Tab key stops at one tile: its picture and its three buttons.
    for _ in range(4):
        press("Tab")
    assert page.evaluate("document.activeElement.id") == "failed"
    press("Shift+Tab")
    assert focused(page) == 1 + columns
    press("End")
    assert focused(page) == 5
    press("Home")
    assert focused(page) == 0
    wait_for(page, "() => document.querySelector('.playing video')")  # what has the focus plays
    press("Space")
    assert page.locator(".playing").count() == 0
    press("Space")
    wait_for(page, "() => document.querySelector('.playing video')")
    press("Enter")
    api.expect(page.locator("#viewer")).to_be_visible()
    press("Escape")
    press("?")
    api.expect(page.locator("#keys")).to_be_visible()
    shot(page, "keys")
    press("Escape")
    api.expect(page.locator("#keys")).to_be_hidden()
    press("f")
    assert page.evaluate("document.activeElement.name") == "name"
    press("Escape")
    press("/")
    assert page.evaluate("document.activeElement.id") == "query"
    page.keyboard.type("/?m")
    assert page.locator("#query").input_value() == "/?m"
    press("ArrowDown")
    press("v")
    expect_tiles(page, 3)
    page.keyboard.press("ArrowDown")
    press("m")
    expect_tiles(page, 5)
    page.locator(".skip").focus()
    press("Enter")
    assert focused(page) == 0 and "#" not in page.url


def test_path_and_time_are_copied(open_page, address):
    page = open_results(open_page)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
    tiles(page).first.get_by_role("button", name="Copy").click()
    api.expect(page.locator("#told")).to_have_text("Copied path and time")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.endswith("/holiday/beach.mp4 0:02–0:06")


def test_dark_and_light(open_page):
    ground = "getComputedStyle(document.body).backgroundColor"
    page = open_results(open_page, colours="dark")
    dark = page.evaluate(ground)
    shot(page, "results-dark")
    tiles(page).first.locator(".picture").click()
    wait_for(page, "() => document.querySelector('#video').readyState >= 2")
    shot(page, "dialog-dark")
    page.keyboard.press("Escape")
    page.locator("#theme").click()
    assert page.locator("#theme").inner_text() == "Light"
    assert page.evaluate(ground) != dark
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.evaluate("localStorage.clear()")


def check_with_axe(page, *, dark=False):
    """Check what is on the screen by the rules of axe, if it is installed.

    With `dark` contrast is checked in dark colours, too; other rules do not depend on colours.
    """
    if Axe is None:
        return
    if not page.evaluate("'axe' in window"):
        page.evaluate(Axe().axe_script)
    options = {"resultTypes": ["violations"], "elementRef": False}
    run_axe(page, options)
    if dark:
        page.emulate_media(color_scheme="dark")
        run_axe(page, options | {"runOnly": ["color-contrast"]})
        page.emulate_media(color_scheme="light")


def run_axe(page, options):
    found = AxeResults(page.evaluate("options => axe.run(options)", options))
    assert not found.violations_count, found.generate_report()


@pytest.mark.skipif(Axe is None, reason="axe-playwright-python is not installed")
@pytest.mark.parametrize("dark", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_everybody_can_use_it(open_page, dark):
    page = open_page()
    check_with_axe(page, dark=dark)
    search(page, "holiday")
    expect_tiles(page, 6)
    page.locator("#toggle").click()
    page.locator("[name=name]").fill("*.mp4")
    expect_tiles(page, 5)
    check_with_axe(page, dark=dark)
    tiles(page).first.locator(".picture").click()
    wait_for(page, "() => document.querySelector('#video').readyState >= 2")
    check_with_axe(page, dark=dark)
    page.locator("#viewer").get_by_role("button", name="All of this video").click()
    expect_tiles(page, 3)
    check_with_axe(page, dark=dark)


def test_on_a_phone(open_page):
    page = open_page("/?q=holiday", viewport=PHONE, has_touch=True, is_mobile=True)
    expect_tiles(page, 6)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    shot(page, "phone")
    page.locator("#toggle").tap()
    shot(page, "phone-filters")
    check_with_axe(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.locator("#toggle").tap()
    tiles(page).first.locator(".picture").tap()  # one tap opens
    api.expect(page.locator("#viewer")).to_be_visible()
    wait_for(page, "() => document.querySelector('#video').readyState >= 2")
    shot(page, "phone-dialog")
    check_with_axe(page)
    page.set_viewport_size({"width": 320, "height": 600})
    page.goto(f"/?q=y&name={'a long name ' * 9}")
    api.expect(page.locator("#banner h2")).to_have_text("Nothing found")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.context.close()


@pytest.mark.slow
def test_calm_for_those_who_want_it(open_page):
    page = open_results(open_page, motion="reduce")
    tiles(page).first.locator(".picture").hover()
    page.wait_for_timeout(300)
    assert page.locator(".picture video").count() == 0
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    wait_for(page, "() => document.querySelector('.playing video')")


@pytest.fixture
def samples(tmp_path):
    """The sample videos, indexed with the model that comes with the package, and served."""
    write_samples(tmp_path / "videos" / "samples")
    index = tempme_jax.VideoIndex(tmp_path / "videos" / "samples", model="tiny-tempme")
    index.add(tmp_path / "videos" / "samples", quiet=True)
    with serving(create_application(index)) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.mark.slow
def test_the_samples_are_found(browser, samples):
    page = new_page(browser, samples, viewport={"width": 1280, "height": 700})
    page.set_default_timeout(3 * TIME)  # the model is compiled on the way
    page.goto("/?q=a+square")
    tiles(page).first.wait_for()
    search(page, "a red circle moves right then up")
    wait_for(page, "document.title.startsWith('a red') && !document.querySelector('[aria-busy]')")
    assert "00-00.mp4" in tiles(page).first.inner_text()
    shot(page, "samples", wait=1500)
    tiles(page).first.locator(".picture").click()
    page.locator("#viewer").get_by_role("button", name="What was merged").click()
    picture = page.locator("#merged img")
    picture.wait_for()
    page.wait_for_function("document.querySelector('#merged img').naturalWidth > 0")
    shot(page, "samples-merged")
