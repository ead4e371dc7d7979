"""Short ways to say the actions that solutions are made of."""

from __future__ import annotations

from stepladder.types import Action

#: What was thought, and what is done.
Move = tuple[str, Action]


def press(*keys: str, why: str = "") -> Move:
    """Keys pressed together."""
    return why or f"Press {'+'.join(keys)}.", Action("key", keys=keys)


def write(text: str, why: str = "") -> Move:
    return why or f"Type {text!r}.", Action("type", text=text)


def click(place: tuple[int, int], why: str = "", kind: str = "click") -> Move:
    x, y = place
    return why or f"Click at ({x}, {y}).", Action(kind, float(x), float(y))  # type: ignore[arg-type]


def wait(seconds: float = 0.5, why: str = "") -> Move:
    return why or "Wait a moment.", Action("wait", seconds=seconds)


def call(name: str, why: str = "", **arguments: object) -> Move:
    return why or f"Call {name}.", Action("call", name=name, args=arguments)


def done(answer: str = "") -> Move:
    return "Everything is done.", Action("done", text=answer)


def give_up(reason: str) -> Move:
    return reason, Action("fail", text=reason)
