"""Demonstrators for tasks with text fields: entering, logging in, copying, dates and times."""

from __future__ import annotations

from collections.abc import AsyncIterator

from stepladder.envs.browser.oracles.reading import quoted
from stepladder.envs.browser.oracles.screen import Oracle, Screen, Turn


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


ORACLES: dict[str, Oracle] = {
    "enter-text": enter_text,
    "enter-text-dynamic": enter_text,
    "enter-text-2": enter_text_2,
    "enter-password": enter_password,
    "login-user": login_user,
    "login-user-popup": login_user_popup,
}
