"""Demonstrators for the email pages."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from stepladder.envs.browser.oracles.reading import match, quoted
from stepladder.envs.browser.oracles.screen import Oracle, OracleError, Screen, Turn, quote


@dataclass(frozen=True)
class Request:
    """What is to be done with the email by `sender`: "delete", "star", "reply" (with `content`) or "forward" (to `content`)."""

    action: str
    sender: str
    content: str = ""


def read_request(instruction: str) -> Request:
    sender = match(r"email by ([\w.'-]+)", instruction)[1].rstrip(".")
    if "trash icon" in instruction:
        return Request("delete", sender)
    if "star icon" in instruction:
        return Request("star", sender)
    if "reply to them" in instruction:
        return Request("reply", sender, quoted(instruction)[0])
    return Request("forward", sender, match(r"forward that email to ([\w'-]+)", instruction)[1])


async def read_free_request(screen: Screen) -> Request:
    """Free wording: the page itself says what its sentence means (`core.currentFields`)."""
    fields = await screen.evaluate("core.currentFields")
    action = fields.get("task", "forward")
    return Request(action, fields["by"], fields.get("message") or fields.get("to") or "")


def thread(sender: str) -> str:
    """The email in the list, without regard to what is scrolled out of view."""
    return f"all('#main .email-thread').find((e) => text(e.querySelector('.email-sender')) === {quote(sender)})"


async def carry_out(screen: Screen, request: Request) -> AsyncIterator[Turn]:
    if await screen.evaluate("!!all('#search-cancel')[0]"):
        yield await screen.click("all('#search-cancel')[0]", "The list of emails is behind this search.", "Click the back arrow.")
    sender = request.sender
    email = thread(sender)
    shown = await screen.evaluate("((e) => e ? text(e) : null)(all('#email .email-sender')[0])")
    if shown is not None and shown != sender:
        yield await screen.click("all('#close-email')[0]", f"This email is not by {sender}.", "Click the back arrow.")
        shown = None
    if request.action in ("delete", "star"):
        icon, name = (".trash", "trash") if request.action == "delete" else (".star", "star")
        target = f"{email}.querySelector('{icon}')" if shown is None else f"all('#email {icon}')[0]"
        why = f"The email by {sender} is {'in the list' if shown is None else 'open'}."
        async for turn in screen.reach(target, why, f"Click the {name} icon of {sender}.", f"email by {sender}"):
            yield turn
        return
    if not await screen.evaluate("!!all('#email, #reply, #forward')[0]"):
        target = f"{email}.querySelector('.email-sender')"
        why = f"The email by {sender} is in the list."
        async for turn in screen.reach(target, why, f"Click the email by {sender}.", f"email by {sender}"):
            yield turn
    async for turn in reply(screen, request.content) if request.action == "reply" else forward(screen, request.content):
        yield turn


async def reply(screen: Screen, content: str) -> AsyncIterator[Turn]:
    async for turn in screen.reach("all('.email-reply .icon')[0]", "The email is open.", 'Click "Reply".', '"Reply" icon'):
        yield turn
    async for turn in screen.fill("all('#reply-text')[0]", content, "message field"):
        yield turn
    yield await screen.click("all('#send-reply')[0]", "The reply is written.", "Click the send icon.")


async def forward(screen: Screen, receiver: str) -> AsyncIterator[Turn]:
    async for turn in screen.reach("all('.email-forward .icon')[0]", "The email is open.", 'Click "Forward".', '"Forward" icon'):
        yield turn
    async for turn in screen.fill("all('.forward-sender')[0]", receiver, '"to" field'):
        yield turn
    yield await screen.click("all('#send-forward')[0]", "The receiver is written.", "Click the send icon.")


async def email_inbox(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    async for turn in carry_out(screen, read_request(instruction)):
        yield turn


async def email_inbox_free(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    request = await read_free_request(screen)
    if not re.search(re.escape(request.sender), instruction):
        raise OracleError(f"{instruction!r} does not name {request.sender!r}")
    async for turn in carry_out(screen, request):
        yield turn


ORACLES: dict[str, Oracle] = {
    "email-inbox": email_inbox,
    "email-inbox-noscroll": email_inbox,
    "email-inbox-delete": email_inbox,
    "email-inbox-important": email_inbox,
    "email-inbox-reply": email_inbox,
    "email-inbox-forward": email_inbox,
    "email-inbox-star-reply": email_inbox,
    "email-inbox-nl-turk": email_inbox_free,
    "email-inbox-forward-nl": email_inbox_free,
    "email-inbox-forward-nl-turk": email_inbox_free,
}
