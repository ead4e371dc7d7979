"""What OSWorld's tasks want of a machine, whatever it is: a pocket desktop, or a virtual machine with OSWorld's own server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from stepladder.types import Action


@dataclass(frozen=True)
class Executed:
    """What a command came to."""

    output: str
    error: str
    returncode: int


class Machine(Protocol):
    """A machine with the user `user` in /home/user. Everything raises EnvironmentFailure when the machine fails."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the screen, in pixels."""

    @property
    def password(self) -> str:
        """What `{CLIENT_PASSWORD}` in a command stands for."""

    async def execute(self, command: str | list[str], shell: bool, seconds: float = 120.0) -> Executed:
        """Run a command to its end; `python -c` may use pyautogui. Raises Lacks for one that cannot be run here."""

    async def launch(self, command: str | list[str], shell: bool) -> None:
        """Start a command and leave it running."""

    async def read(self, path: str) -> bytes | None:
        """The content of a file; None where there is none, or one that is too large to be read."""

    async def write(self, path: str, content: bytes) -> None:
        """Write a file whole."""

    async def act(self, action: Action) -> None:
        """Carry out a mouse or keyboard action, or a wait."""

    async def activate_window(self, name: str, strict: bool, by_class: bool) -> bool:
        """Raise the window with this title (a part of it unless `strict`); whether there is one."""

    async def close_window(self, name: str, strict: bool, by_class: bool) -> bool:
        """Close such a window; whether there is one."""

    async def screenshot(self) -> bytes:
        """The screen with the pointer, as PNG."""

    async def accessibility(self) -> str:
        """The accessibility tree in OSWorld's XML."""
