"""Server-sent events: how the answers of chat servers are streamed."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator


async def read_events(content: AsyncIterable[bytes]) -> AsyncIterator[tuple[str, str]]:
    """(event, data) of each whole event; event is "" where none is named. What stands after the last blank line is no event.

    Lines end with LF or CR LF and with nothing else: JSON text may hold other characters that Python takes for line ends.
    """
    event, rest = "", b""
    data: list[str] = []
    async for chunk in content:
        *lines, rest = (rest + chunk).split(b"\n")
        for raw in lines:
            line = raw.removesuffix(b"\r").decode("utf-8", "replace")
            if not line:
                if data:
                    yield event, "\n".join(data)
                event, data = "", []
                continue
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                data.append(value)
            elif name == "event":
                event = value


def write_event(data: str, event: str = "") -> str:
    """One event whose data is a single line."""
    return f"event: {event}\ndata: {data}\n\n" if event else f"data: {data}\n\n"
