"""Demonstrators for tasks with text fields: entering, logging in, copying, dates and times."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator

from stepladder.envs.browser.actions import NOTCH
from stepladder.envs.browser.oracles.reading import match, ordinal, quoted
from stepladder.envs.browser.oracles.screen import Oracle, OracleError, Screen, Turn, press, say, type_text
from stepladder.types import Action


async def enter_text(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    async for turn in screen.fill("all('#area input')[0]", quoted(instruction)[0], "text field"):
        yield turn
    async for turn in screen.submit("The text is in the field."):
        yield turn


async def enter_text_2(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    word = quoted(instruction)[0]
    async for turn in screen.fill(
        "all('#area input')[0]", word.upper() if "upper case" in instruction else word.lower(), "text field"
    ):
        yield turn
    async for turn in screen.submit("The text is in the field."):
        yield turn


async def enter_password(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    password = quoted(instruction)[0]
    for index, name in enumerate(("password field", "second password field")):
        async for turn in screen.fill(f"all('#area input')[{index}]", password, name):
            yield turn
    async for turn in screen.submit("Both fields are filled."):
        yield turn


async def login_user(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    user, password = quoted(instruction)
    for identifier, content, name in (("username", user, "username field"), ("password", password, "password field")):
        async for turn in screen.fill(f"document.getElementById('{identifier}')", content, name):
            yield turn
    async for turn in screen.submit("Both fields are filled."):
        yield turn


async def login_user_popup(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    user, password = quoted(instruction)
    for identifier, content, name in (("username", user, "username field"), ("password", password, "password field")):
        field = f"document.getElementById('{identifier}')"
        while await screen.evaluate(f"{field}.value") != content:
            if await screen.evaluate("!!document.getElementById('popup-cancel')"):
                yield await screen.click(
                    "document.getElementById('popup-cancel')",
                    "The message is in the way and OK would leave the page.",
                    'Click the "Cancel" button.',
                )
            elif not await screen.evaluate(f"document.activeElement === {field}"):
                yield await screen.click(field, f"The text belongs into the {name}.", f"Click the {name}.")
            else:
                async for turn in screen.fill(field, content, name):
                    yield turn
    async for turn in screen.submit("Both fields are filled.", "OK"):
        yield turn


async def enter_date(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    """The field has three parts; what is typed goes into the part that was clicked and on to the next."""
    month, day, year = match(r"(\d\d)/(\d\d)/(\d{4})", instruction).groups()
    async for turn in type_in_parts(screen, month + day + year, "date field", f"{year}-{month}-{day}"):
        yield turn


async def enter_time(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    hour, minute, half = match(r"(\d+):(\d\d)\s?([AP]M)", instruction).groups()
    wanted = f"{int(hour) % 12 + (12 if half == 'PM' else 0):02d}:{minute}"
    async for turn in type_in_parts(screen, f"{int(hour):02d}{minute}{half}", "time field", wanted):
        yield turn


async def type_in_parts(screen: Screen, keys: str, name: str, wanted: str) -> AsyncIterator[Turn]:
    field = "document.getElementById('tt')"
    if await screen.evaluate(f"{field}.value") != wanted:
        left, top, _, height = await screen.box(field)
        x, y = int(left) + 9, int(top + height / 2)
        yield (
            say(f"The {name} is filled from its first part on.", f"Click the first part of the {name}."),
            Action("click", x=x, y=y),
        )
        yield type_text(keys, f"The first part of the {name} is selected.")
    async for turn in screen.submit():
        yield turn


async def copy_paste(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    """With the keyboard, as a person would. What was pasted is compared, and the copy repeated if it differs."""
    index = ordinal(instruction) - 1 if "area below and paste" in instruction else 0
    source = f"all('#area textarea')[{index}]"
    target = "document.getElementById('answer-input')"
    name = f"{ordinal(instruction)}. text area" if index or "1st" in instruction else "text area"
    for _ in range(5):
        if await screen.evaluate(f"{target}.value === {source}.value"):
            break
        yield await screen.click(source, "This is the text to copy.", f"Click the {name}.")
        yield press("ctrl", "a", why="All of it must be copied.", what="Select all text.")
        yield press("ctrl", "c", why="The text is selected.", what="Copy it.")
        yield await screen.click(target, "The text belongs into this field.", "Click the text field.")
        if await screen.evaluate(f"{target}.value"):
            yield press("ctrl", "a", why="The text field holds wrong text.", what="Select all text in the field.")
        yield press("ctrl", "v", why="The field is selected and the text is in the clipboard.", what="Paste it.")
    async for turn in screen.submit("The text is in the field."):
        yield turn


async def find_word(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    words = re.findall(r"[A-Za-z]+", await screen.evaluate("text(document.querySelector('#area p'))"))
    async for turn in answer(screen, words[ordinal(instruction) - 1], "#answer-input"):
        yield turn


async def read_table(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    key = match(r"value of (.*) into", instruction)[1]
    rows = dict(await screen.evaluate(ROWS))
    async for turn in answer(screen, rows[key], "#tt"):
        yield turn


async def read_table_2(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    rows = dict(await screen.evaluate(ROWS))
    for number in (1, 2):
        key = (await screen.evaluate(f"text(document.getElementById('ll{number}'))")).rstrip(":")
        async for turn in screen.fill(f"document.getElementById('tt{number}')", rows[key], f'field "{key}"'):
            yield turn
    async for turn in screen.submit("Both fields are filled."):
        yield turn


ROWS = "all('#area tr').map((e) => [text(e.children[0]), text(e.children[1])])"


async def answer(screen: Screen, content: str, selector: str) -> AsyncIterator[Turn]:
    """Type the answer into the only text field and submit it."""
    async for turn in screen.fill(f"all('{selector}')[0]", content, "text field"):
        yield turn
    async for turn in screen.submit("The answer is in the field."):
        yield turn


async def text_transform(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    letters = await screen.evaluate("text(document.getElementById('captcha'))")
    async for turn in answer(screen, letters, "#tt"):
        yield turn


async def scroll_text(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    async for turn in scroll_to_end(screen, "document.getElementById('text-area')", "bottom"):
        yield turn
    words = (await screen.evaluate("document.getElementById('text-area').value")).split()
    async for turn in answer(screen, re.sub(r"[^A-Za-z0-9]", "", words[-1]), "#answer-input"):
        yield turn


async def scroll_text_2(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    async for turn in scroll_to_end(screen, "document.getElementById('text-area')", match("to the (bottom|top)", instruction)[1]):
        yield turn
    async for turn in screen.submit("The text is scrolled."):
        yield turn


async def scroll_to_end(screen: Screen, area: str, end: str) -> AsyncIterator[Turn]:
    for _ in range(40):
        rest = await screen.evaluate(f"((e) => [e.scrollTop, e.scrollHeight - e.clientHeight - e.scrollTop])({area})")
        distance = rest[1] if end == "bottom" else rest[0]
        if distance < 2:
            return
        x, y = await screen.at(area)
        amount = min(5.0, math.ceil(distance / NOTCH))
        direction = "down" if end == "bottom" else "up"
        why = f"The {end} of the text is not visible yet."
        yield say(why, f"Scroll {direction}."), Action("scroll", x=x, y=y, amount=-amount if end == "bottom" else amount)
    raise OracleError(f"{area} does not scroll to its {end}")


async def multi_layouts(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    genre, director, year = match(r"Search for (\w+) movies directed by (.+) from year (\d+)", instruction).groups()
    for label, content in (("Genre", genre), ("Director", director), ("Year|Date", year)):
        field = f"all('#area p, #area .row, #area tr, #area .field, #area .ui-entry').find((e) => /{label}/.test(text(e)))"
        name = await screen.evaluate(f"text({field}).replace(':', '')")
        async for turn in screen.fill(f"{field}.querySelector('input')", content, f'field "{name}"'):
            yield turn
    button = "all('#area button, #area .final, #area .ui-submit')[0]"
    name = await screen.evaluate(f"text({button})")
    async for turn in screen.reach(button, "All fields are filled.", f'Click the "{name}" button.', f'"{name}" button'):
        yield turn


async def terminal(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    ending = re.search(r"extension (\.\S+)$", instruction)
    yield await screen.click("document.getElementById('terminal-header')", "The terminal must be active.", "Click the terminal.")
    yield type_text("ls\n", "The names of the files are not known yet.", 'Type "ls" and press Enter.')
    files = (await screen.evaluate("text([...document.querySelectorAll('.terminal-output')].pop())")).split()
    wanted = [name for name in files if (name.endswith(ending[1]) if ending else "." not in name)]
    if not wanted:
        raise OracleError(f"no file fits {instruction!r}: {files}")
    yield type_text(f"rm {wanted[0]}\n", f"{wanted[0]} is such a file.", f'Type "rm {wanted[0]}" and press Enter.')


ORACLES: dict[str, Oracle] = {
    "enter-text": enter_text,
    "enter-text-dynamic": enter_text,
    "enter-text-2": enter_text_2,
    "enter-password": enter_password,
    "login-user": login_user,
    "login-user-popup": login_user_popup,
    "enter-date": enter_date,
    "enter-time": enter_time,
    "copy-paste": copy_paste,
    "copy-paste-2": copy_paste,
    "find-word": find_word,
    "read-table": read_table,
    "read-table-2": read_table_2,
    "text-transform": text_transform,
    "scroll-text": scroll_text,
    "scroll-text-2": scroll_text_2,
    "multi-layouts": multi_layouts,
    "multi-orderings": multi_layouts,
    "terminal": terminal,
}
