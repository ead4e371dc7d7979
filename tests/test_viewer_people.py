"""The viewer's pages are safe with hostile text, fit a phone, name what they show, and stand on no one else's files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page
from viewer_browser import Tab, chromium, served, trajectory
from viewer_run import HOSTILE, make_hostile_run, make_run

STATIC = Path(__file__).parent.parent / "stepladder/viewer/static"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served([make_run(tmp_path_factory.mktemp("runs") / "first", "first")]) as found:
        yield found


@pytest.fixture
def tab(browser: Browser, address: str) -> Iterator[Tab]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    tab = Tab(context.new_page(), address)
    yield tab
    context.close()
    assert tab.faults == []


def test_hostile_text_runs_nothing_on_any_page(browser: Browser, tmp_path: Path) -> None:
    name = HOSTILE.replace("/", "\u2215")
    directory = make_hostile_run(tmp_path / name[:120])
    run = quote(directory.name, safe="")
    one, two = (f"{run}/episodes/{quote(f'{HOSTILE} {index}', safe='')}" for index in range(2))
    whole = one.replace("/episodes/", "/trajectory/episodes/")
    pages = ["/", *(f"/run/{run}?view={view}" for view in ("metrics", "tasks", "trajectories", "groups", "about"))]
    parts = ("reply", "prompt", "tree", "timing", "episode", "feedback")
    pages += [f"/run/{whole}?step={step}&tab={part}" for step in ("1", "2", "end") for part in parts]
    pages += [f"/run/{run}/group/episodes/{quote(HOSTILE, safe='')}", f"/compare?a={quote(one, safe='')}&b={quote(two, safe='')}"]
    pages += [f"/live/{run}", f"/{quote(HOSTILE, safe='')}"]
    with served([directory]) as address:
        context = browser.new_context()
        tab = Tab(context.new_page(), address)
        for path in pages:
            page = tab.open(path) if path != pages[-1] else _goto(tab, path)
            page.wait_for_load_state("networkidle") if "/live/" not in path else page.wait_for_selector("h1")
            assert page.evaluate("globalThis.broken") is None, path
            assert page.evaluate("document.querySelectorAll('script').length") <= 1, path
            assert page.locator("img[src=x], [onload], [onerror]").count() == 0, path
            if path not in pages[-2:]:
                assert "globalThis.broken" in page.inner_text("body"), f"{path} does not show the text at all"
        context.close()
    assert [fault for fault in tab.faults if "404" not in fault] == []


def _goto(tab: Tab, path: str) -> Page:
    tab.page.goto(tab.address + path)
    return tab.page


@pytest.mark.parametrize("path", ["/", "/run/first", "/run/first?view=trajectories", trajectory("press-0-first-0"), "/live/first"])
def test_a_phone_is_wide_enough(browser: Browser, address: str, path: str) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page = Tab(context.new_page(), address).open(path)
    page.wait_for_selector("main h1")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    context.close()


def test_pages_are_named_for_those_who_cannot_see_them(tab: Tab) -> None:
    views = (f"/run/first?view={view}" for view in ("tasks", "trajectories", "groups", "about"))
    for path in ("/", *views, trajectory("press-0-first-0")):
        page = tab.open(path)
        page.wait_for_load_state("networkidle")
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("button, a[href], input, select, img, [role=grid], [role=tree]")]
                .filter((node) => !node.closest("[hidden]") && !node.hidden)
                .filter((node) => !(node.ariaLabel || node.hasAttribute("alt") || node.textContent.trim() || node.labels?.length))
                .map((node) => node.outerHTML)"""
        )
        assert nameless == [], path
        assert page.locator("main").count() == page.locator("header.topbar").count() == 1


def test_static_files_ask_for_nothing_outside_and_can_be_bundled() -> None:
    files = sorted(STATIC.rglob("*.*"))
    assert files
    for path in files:
        text = path.read_text()
        assert [word for word in ("innerHTML", "eval(", "document.write", "insertAdjacentHTML") if word in text] == [], path.name
        outside = re.findall(r"""["'(](?:https?:)?//[^"')]+""", text)
        assert [address for address in outside if "www.w3.org" not in address] == [], path.name
        for line in text.splitlines():
            if path.suffix == ".js" and line.startswith("import"):
                assert re.match(r'import \{(.* \} from "\./\w+\.js";)?$', line), f"{path.name}: {line}"
        assert path.suffix != ".js" or "import(" not in text, path.name
