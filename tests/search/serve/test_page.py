"""The search page in a browser: found, played, opened, told apart, by mouse and by keys."""

import os
import re
import shutil
from pathlib import Path

import pytest
from fake_index import HOSTILE, UNPLAYABLE, FakeIndex, serving

import tempme_jax
from tempme_jax.datasets.moving_shapes import write_samples
from tempme_jax.search.serve.server import create_application

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
def address(tmp_path_factory):
    index = FakeIndex(tmp_path_factory.mktemp("videos"))
    with serving(create_application(index)) as port:
        yield f"http://127.0.0.1:{port}"


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
    page.wait_for_function(condition, arg=list(arguments))


def test_a_search_shows_moments_and_keeps_its_address(open_page):
    page = open_page()
    assert page.evaluate("document.activeElement.id") == "query"
    api.expect(page.locator("#indexed")).to_have_text("6 videos, 1 hour, 40 windows are indexed.")
    shot(page, "welcome")
    search(page, "a red disc")
    expect_tiles(page, 6)
    first = tiles(page).first
    assert first.locator("h3").inner_text() == "beach.mp4"
    assert first.locator(".time").inner_text() == "0:02–0:06"
    assert first.locator(".words").inner_text() == "better than 99.6 % of unrelated texts"
    assert first.locator(".match").get_attribute("title") == "cosine 0.310"
    assert "cosine" not in page.locator("main").inner_text()
    assert tiles(page).nth(2).locator(".copies").inner_text().strip() == "· 1 copy"
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
    page = open_page("/?q=x")
    expect_tiles(page, 6)
    hostile = tiles(page).nth(3)
    assert hostile.locator("h3").inner_text() == HOSTILE
    hostile.get_by_role("button", name="Open", exact=True).click()
    assert text(page, "#viewer-name") == HOSTILE
    assert page.locator("img[src=x]").count() == 0
    assert page.title() == "x – tempme"


def test_a_tile_plays_its_moment_while_the_mouse_is_on_it(open_page):
    page = open_page("/?q=x")
    expect_tiles(page, 6)
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
    page = open_page("/?q=x")
    expect_tiles(page, 6)
    tiles(page).first.locator(".picture").click()
    wait_for(page, "() => document.querySelector('#video').readyState >= 2")
    assert AT <= time_of(page, "#video") < END
    assert text(page, "#place") == "1 of 6"
    part = page.evaluate("document.querySelector('.part').style.cssText")
    assert "left: 25%" in part and "width: 43.75%" in part
    shot(page, "dialog-light")
    page.keyboard.press("ArrowRight")
    # The second is one that browsers cannot play.
    api.expect(page.locator("#unplayable")).to_be_visible()
    assert text(page, "#unplayable code").endswith(UNPLAYABLE)
    shot(page, "unplayable")
    page.keyboard.press("ArrowLeft")
    api.expect(page.locator("#video")).to_be_visible()
    page.keyboard.press("Escape")
    api.expect(page.locator("#viewer")).to_be_hidden()
    wait_for(page, "() => !document.querySelector('#video').hasAttribute('src')")
    assert page.evaluate("document.activeElement.closest('li') === results.firstElementChild")


def test_what_was_merged_is_shown_and_explained(open_page):
    page = open_page("/?q=x")
    expect_tiles(page, 6)
    tiles(page).first.get_by_role("button", name="What was merged").click()
    wait_for(page, "() => document.querySelector('#merged img').naturalWidth > 1000")
    api.expect(page.locator("#explained")).to_contain_text("are one token")
    shot(page, "merged")
    page.locator("#viewer").get_by_role("button", name="What was merged").click()
    api.expect(page.locator("#video")).to_be_visible()
    api.expect(page.locator("#merged")).to_be_hidden()


def test_more_like_this(open_page):
    page = open_page("/?q=x")
    expect_tiles(page, 6)
    tiles(page).nth(1).get_by_role("button", name="More like this").click()
    expect_tiles(page, 5)
    assert "similar=" in page.url and text(page, "#source p") == "More like this moment"
    assert tiles(page).first.locator(".words").inner_text() == "nothing to compare with"
    shot(page, "similar")
    page.locator("#forget").click()
    expect_tiles(page, 6)
    assert page.locator("#source").is_hidden()


def test_filters(open_page):
    page = open_page("/?q=x")
    expect_tiles(page, 6)
    work = page.locator("#folder option").filter(has_text=re.compile(r"/work$"))
    api.expect(work).to_have_count(1)  # Folders come after the moments, by a request of their own.
    page.select_option("#folder", work.inner_text())
    expect_tiles(page, 3)
    page.select_option("#length", "short")
    expect_tiles(page, 2)
    page.select_option("#length", "long")
    expect_tiles(page, 1)
    assert "length=long" in page.url
    page.select_option("#length", "medium")
    api.expect(page.locator("#banner h2")).to_have_text("Nothing found")
    page.locator("#retry").click()
    expect_tiles(page, 6)
    assert page.locator("#length").input_value() == ""


def test_weak_empty_and_failed_answers_say_so(open_page):
    page = open_page(expected=("status of 500", "ERR_INTERNET_DISCONNECTED"))
    search(page, "gibberish")
    expect_tiles(page, 6)
    assert text(page, "#banner h2") == "No confident match"
    assert text(page, "#banner p").startswith("38 % of unrelated texts match better. Below")
    picture = tiles(page).last.locator("img")
    assert float(picture.evaluate("one => getComputedStyle(one).opacity")) < 0.6
    shot(page, "weak")
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
    search(page, "x")
    expect_tiles(page, 6)
    assert page.locator("#banner").is_hidden()


def test_a_slow_answer_has_a_placeholder(open_page):
    page = open_page()
    page.route("**/api/search**", lambda route: page.wait_for_timeout(400) or route.continue_())
    search(page, "x")
    api.expect(page.locator(".tile.waiting").first).to_be_visible()
    shot(page, "waiting", wait=0)
    expect_tiles(page, 6)


def test_keys(open_page):
    page = open_page("/?q=x")
    expect_tiles(page, 6)
    press = page.keyboard.press
    number = "() => [...results.children].indexOf(document.activeElement.closest('li'))"
    press("ArrowDown")  # from the box
    assert page.evaluate(number) == 0
    press("ArrowRight")
    press("ArrowDown")
    columns = page.evaluate("getComputedStyle(results).gridTemplateColumns.split(' ').length")
    assert page.evaluate(number) == 1 + columns
    press("ArrowUp")
    press("ArrowLeft")
    assert page.evaluate(number) == 0
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
    press("/")
    assert page.evaluate("document.activeElement.id") == "query"
    page.keyboard.type("/?m")
    assert page.locator("#query").input_value() == "/?m"
    press("ArrowDown")
    press("m")
    expect_tiles(page, 5)


def test_path_and_time_are_copied(open_page, address):
    page = open_page("/?q=x")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
    expect_tiles(page, 6)
    tiles(page).first.get_by_role("button", name="Copy").click()
    api.expect(page.locator("#told")).to_have_text("Copied path and time")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.endswith("/holiday/beach.mp4 0:02–0:06")


def test_dark_and_light(open_page):
    ground = "getComputedStyle(document.body).backgroundColor"
    page = open_page("/?q=x", colours="dark")
    expect_tiles(page, 6)
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


def test_on_a_phone(open_page):
    page = open_page("/?q=x", viewport=PHONE, has_touch=True, is_mobile=True)
    expect_tiles(page, 6)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    shot(page, "phone")
    picture = tiles(page).first.locator(".picture")
    picture.tap()
    wait_for(page, "() => document.querySelector('.playing video')")
    assert page.locator("#viewer").is_hidden()
    picture.tap()
    api.expect(page.locator("#viewer")).to_be_visible()
    wait_for(page, "() => document.querySelector('#video').readyState >= 2")
    shot(page, "phone-dialog")


def test_calm_for_those_who_want_it(open_page):
    page = open_page("/?q=x", motion="reduce")
    expect_tiles(page, 6)
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
    page.goto("/")
    search(page, "a red circle moves right then up")
    tiles(page).first.wait_for()
    assert "00-00.mp4" in tiles(page).first.inner_text()
    shot(page, "samples", wait=1500)
    tiles(page).first.get_by_text("What was merged").click()
    picture = page.locator("#merged img")
    picture.wait_for()
    page.wait_for_function("document.querySelector('#merged img').naturalWidth > 0")
    shot(page, "samples-merged")
