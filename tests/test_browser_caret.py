"""Equal states look equal, however much time has passed: the caret of a text field does not blink."""

from collections.abc import Iterator

import pytest
from pages import Browser, browser_fixture


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    yield from browser_fixture()


@pytest.mark.parametrize("html", ["<input>", "<textarea></textarea>", "<div contenteditable style='height:40px'>x</div>"])
def test_the_caret_is_seen_and_does_not_blink(browser: Browser, html: str) -> None:
    before = browser.open(html)
    seen = [browser.act("click", x=20, y=10)] + [browser.act("wait", seconds=0.3) for _ in range(5)]
    assert before.screenshot != seen[0].screenshot
    assert {observation.screenshot for observation in seen[1:]} == {seen[1].screenshot}
