"""Tasks in Chromium on pages of the home, without a network. What is sent from a page comes as a file into the folder Downloads."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from random import Random
from typing import Any

from stepladder.envs.desktop.actions import Move, click, done, press, wait, write
from stepladder.envs.desktop.desk.case import Case, Check, DeskTask, Opened
from stepladder.envs.desktop.desk.draw import word, words
from stepladder.envs.desktop.look import Look
from stepladder.words import WordPart

_STYLE = "<style>body { font: 16px sans-serif; margin: 2em } label { display: block; margin: .6em 0 } td { padding: 0 1em }</style>"
#: Sends a form's fields as a file, as a page without a server can.
_SEND = """<script>
function send(form, name) {
  const fields = Object.fromEntries(new FormData(form));
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([JSON.stringify(fields)], {type: 'application/json'}));
  link.download = name;
  link.click();
  document.title = 'Sent';
  return false;
}
</script>"""
_OPENED = (Opened("chromium", ("page.html",)),)


def _page(title: str, body: str) -> dict[str, bytes]:
    return {"page.html": f"<!doctype html><meta charset=utf-8><title>{title}</title>{_STYLE}{_SEND}{body}".encode()}


def _sent(name: str, wanted: dict[str, Any]) -> Check:
    async def check(look: Look) -> bool:
        content = await look.text(f"Downloads/{name}")
        try:
            return content is not None and json.loads(content) == wanted
        except (ValueError, RecursionError):
            return False

    return check


async def _arrived(look: Look, name: str) -> None:
    async def there() -> bool:
        return name in await look.names("Downloads")

    await look.until(there)


def _form(random: Random, part: WordPart) -> Case:
    name, city, kinds = word(random, part).capitalize(), word(random, part).capitalize(), words(random, part, 3)
    kind = random.choice(kinds)
    options = "".join(f"<label><input type=radio name=kind value={one}> {one}</label>" for one in kinds)
    body = (
        "<h1>Order</h1><form onsubmit=\"return send(this, 'order.json')\"><label>Name <input name=name></label>"
        f"<label>City <input name=city></label>{options}<button>Order now</button></form>"
    )

    async def solve(look: Look) -> AsyncIterator[Move]:
        yield click(await look.place("entry", "Name"), "Go to the field for the name.")
        yield write(name)
        yield press("tab", why="Go to the next field.")
        yield write(city)
        yield click(await look.place("radio button", kind), f"Choose {kind!r}.")
        yield click(await look.place("push button", "Order now"), "Send it.")
        await _arrived(look, "order.json")
        yield wait(why="Wait until it is sent.")
        yield done()

    instruction = f"On the open page, order one “{kind}” for {name} in {city}."
    return Case(instruction, _sent("order.json", {"name": name, "city": city, "kind": kind}), solve, _page("Order", body), _OPENED)


def _lookup(random: Random, part: WordPart) -> Case:
    items = words(random, part, 10)
    prices = random.sample(range(10, 999), 10)
    chosen = random.randrange(10)
    rows = "".join(f"<tr><td>{item}<td>{price}" for item, price in zip(items, prices, strict=True))
    body = (
        f"<h1>Prices</h1><table>{rows}</table>"
        "<form onsubmit=\"return send(this, 'answer.json')\"><label>Price <input name=price></label><button>Answer</button></form>"
    )

    async def solve(look: Look) -> AsyncIterator[Move]:
        yield click(await look.place("entry", "Price"), "Go to the field.")
        yield write(str(prices[chosen]))
        yield click(await look.place("push button", "Answer"), "Send it.")
        await _arrived(look, "answer.json")
        yield wait(why="Wait until it is sent.")
        yield done()

    instruction = f"Look up the price of “{items[chosen]}” on the open page, write it into the field and send the answer."
    return Case(instruction, _sent("answer.json", {"price": str(prices[chosen])}), solve, _page("Prices", body), _OPENED)


def _download(random: Random, part: WordPart) -> Case:
    names = words(random, part, 6)
    chosen = random.choice(names)
    links = "".join(f'<p><a href="data:text/plain,content%20of%20{name}" download="{name}.txt">Report {name}</a>' for name in names)

    async def check(look: Look) -> bool:
        there = await look.names("Downloads")
        return there == [f"{chosen}.txt"] and await look.text(f"Downloads/{chosen}.txt") == f"content of {chosen}"

    async def solve(look: Look) -> AsyncIterator[Move]:
        yield click(await look.place("link", f"Report {chosen}"), "Download it.")
        await _arrived(look, f"{chosen}.txt")
        yield wait(why="Wait until it is there.")
        yield done()

    instruction = f"Download the report “{chosen}” from the open page, and no other."
    return Case(instruction, check, solve, _page("Reports", f"<h1>Reports</h1>{links}"), _OPENED)


def _bookmark(random: Random, part: WordPart) -> Case:
    title = " ".join(words(random, part, 2)).capitalize()

    async def check(look: Look) -> bool:
        content = await look.text(".config/chromium/Default/Bookmarks")
        try:
            kept = _bookmarks(json.loads(content or "{}"))
        except (ValueError, RecursionError):
            return False
        return any(str(node.get("url", "")).endswith("/page.html") for node in kept)

    async def solve(look: Look) -> AsyncIterator[Move]:
        yield press("ctrl", "d", why="Bookmark the page.")
        yield wait(why="Wait for the dialog.")
        yield press("enter", why="Confirm.")
        await look.until(lambda: check(look), 10.0)
        yield wait(why="Wait until it is kept.")
        yield done()

    return Case("Bookmark the open page.", check, solve, _page(title, f"<h1>{title}</h1><p>Nothing else."), _OPENED)


def _bookmarks(tree: Any) -> list[dict[str, Any]]:
    """All entries of Chromium's file of bookmarks."""
    if isinstance(tree, dict):
        inner = [entry for value in tree.values() for entry in _bookmarks(value)]
        return [tree, *inner] if tree.get("type") == "url" else inner
    return [entry for value in tree for entry in _bookmarks(value)] if isinstance(tree, list) else []


TASKS = (
    DeskTask("web-form", _form, ("chromium",), tags=("web",)),
    DeskTask("web-lookup", _lookup, ("chromium",), tags=("web", "reading")),
    DeskTask("web-download", _download, ("chromium",), tags=("web",)),
    DeskTask("web-bookmark", _bookmark, ("chromium",), tags=("web", "settings")),
)
