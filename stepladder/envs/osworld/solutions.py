"""How a person would do some of OSWorld's public tasks, by the first part of their ids: for demonstrations, and to see that setup,
machine and grading fit together. What cannot be done is given up.

Places in dialogs without an accessibility tree are told relative to their window, which is of the same size on every screen.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from stepladder.envs.desktop.actions import Move, click, done, press, wait, write
from stepladder.envs.desktop.desktop import Settling
from stepladder.envs.desktop.look import Look
from stepladder.interfaces import EnvironmentFailure

Solution = Callable[[Look], AsyncIterator[Move]]
#: When a dialog that has just come, or changed all its colours, counts as painted.
_PAINTED = Settling(quiet=0.3, longest=6.0)


async def _within(look: Look, title: str, x: int, y: int, why: str) -> Move:
    """A click at a place of a window."""
    left, top, _, _ = (await look.window(title)).box
    return click((left + x, top + y), why)


async def _terminal(look: Look, *commands: str) -> AsyncIterator[Move]:
    yield press("ctrl", "alt", "t", why="Open a terminal.")
    await look.window("xterm")
    yield wait(why="Wait for the prompt.")
    for command in commands:
        yield write(f"{command}\n", f"Run {command!r}.")
    yield wait(1.0, "Wait until it is done.")
    yield done()


async def _page(look: Look, address: str, title: str) -> AsyncIterator[Move]:
    """Goes to one of Chrome's own pages."""
    yield press("ctrl", "l", why="Go to the address bar.")
    yield write(f"{address}\n", "Go to the settings.")
    await look.window(title)
    yield wait(why="Wait for the page.")


async def rename_directory(look: Look) -> AsyncIterator[Move]:
    async for move in _terminal(look, "mv Desktop/todo_list_Jan_1 Desktop/todo_list_Jan_2"):
        yield move


async def default_player(look: Look) -> AsyncIterator[Move]:
    kinds = "$(grep -ho 'video/[^;]*' /usr/share/applications/vlc.desktop)"
    async for move in _terminal(look, f"xdg-mime default vlc.desktop {kinds}"):
        yield move


async def full_volume(look: Look) -> AsyncIterator[Move]:
    async for move in _terminal(look, "pactl set-sink-volume @DEFAULT_SINK@ 100%"):
        yield move


async def _kept(seconds: float = 3.0) -> AsyncIterator[Move]:
    """Chrome writes its settings and bookmarks some seconds after they were changed."""
    yield wait(seconds, "Wait until the change is kept.")
    yield done()


async def _clicks(look: Look, *places: tuple[str, str]) -> AsyncIterator[Move]:
    """Clicks on what has these roles and names, one after the other."""
    for role, name in places:
        yield click(await look.place(role, name), f"Click the {role} {name!r}.")


def _setting(address: str, title: str, *places: tuple[str, str]) -> Solution:
    """One of Chrome's own pages, clicks on it, and done."""

    async def solve(look: Look) -> AsyncIterator[Move]:
        for part in (_page(look, address, title), _clicks(look, *places), _kept()):
            async for move in part:
                yield move

    return solve


do_not_track = _setting(
    "chrome://settings/cookies",
    "cookies",
    ("toggle button", 'Send a "Do Not Track" request with your browsing traffic'),
    ("push button", "Confirm"),
)
delete_on_close = _setting(
    "chrome://settings/content/siteData",
    "settings",
    ("radio button", "Delete data sites have saved to your device when you close all windows"),
)
bing = _setting(
    "chrome://settings/searchEngines",
    "settings",
    ("push button", "More actions for Microsoft Bing"),
    ("menu item", "Make default"),
)


async def bookmarks_folder(look: Look) -> AsyncIterator[Move]:
    for part in (
        _page(look, "chrome://bookmarks", "bookmarks"),
        _clicks(look, ("push button", "Organize"), ("menu item", "Add new folder")),
    ):
        async for move in part:
            yield move
    yield wait(why="Wait for the dialog.")
    yield press("ctrl", "a", why="Replace the name that is there.")
    yield write("Favorites")
    yield press("enter", why="Confirm.")
    async for move in _kept(4.0):
        yield move


async def auto_save(look: Look) -> AsyncIterator[Move]:
    yield press("alt", "f12", why="Open the options.")
    await look.window("options")
    yield wait(1.0, "Wait for the dialog.")
    yield await _within(look, "options", 19, 347, "Open what is below Load/Save.")
    yield wait()
    yield await _within(look, "options", 68, 372, "Choose General.")
    yield wait(1.0, "Wait for the page.")
    yield await _within(look, "options", 326, 145, "Switch the saving on.")
    yield await _within(look, "options", 608, 145, "Go to the minutes.")
    yield press("ctrl", "a", why="Replace what is there.")
    yield write("3")
    yield press("tab", why="Leave the field.")
    yield click(await look.place("push button", "OK"), "Confirm.")
    yield wait(2.0, "Wait until the setting is kept.")
    yield done()


def _player_setting(name: str, value: str) -> Solution:
    """A setting of VLC, written where VLC keeps it: its dialogs have no accessibility tree, and their places change from one
    version to the next."""

    async def solve(look: Look) -> AsyncIterator[Move]:
        # Whether the player has read its settings depends on which was quicker: it is ended before the file changes.
        yield press("ctrl", "q", why="End the player.")
        yield wait(1.0, "Wait until it has ended.")
        kept = ".config/vlc/vlcrc"
        async for move in _terminal(look, f"sed -i '/^#*{name}=/d' {kept}", f"echo '{name}={value}' >> {kept}"):
            yield move

    return solve


keep_playing = _player_setting("play-and-exit", "0")
recordings_folder = _player_setting("input-record-path", "/home/user/Desktop")
dark_slider = _player_setting("qt-slider-colours", ";".join(["0"] * 12))


async def _preferences_of_gimp(look: Look) -> AsyncIterator[Move]:
    yield press("alt", "e", why="Open the menu Edit.")
    # Two entries have this letter, so that it only goes from one to the next.
    yield press("p", why="Go to Paste.")
    yield press("p", why="Go to Preferences.")
    yield press("enter", why="Open the preferences.")
    await look.window("preferences")
    await look.desktop.settle(_PAINTED)


async def _confirm_in_gimp(look: Look) -> AsyncIterator[Move]:
    yield press("alt", "o", why="Confirm.")

    async def closed() -> bool:
        return "Preferences" not in await look.titles()

    if not await look.until(closed):
        raise EnvironmentFailure("GIMP's preferences do not close")
    yield done()


async def light_theme(look: Look) -> AsyncIterator[Move]:
    async for move in _preferences_of_gimp(look):
        yield move
    yield await _within(look, "preferences", 93, 243, "Choose Theme.")
    yield await _within(look, "preferences", 280, 203, "Choose Light.")
    # All windows are painted anew.
    await look.desktop.settle(_PAINTED)
    async for move in _confirm_in_gimp(look):
        yield move


async def undo_steps(look: Look) -> AsyncIterator[Move]:
    async for move in _preferences_of_gimp(look):
        yield move
    yield press("alt", "u", why="Go to the number of undo levels.")
    yield press("ctrl", "a", why="Replace what is there.")
    yield write("100")
    yield press("tab", why="Leave the field.")
    async for move in _confirm_in_gimp(look):
        yield move


SOLUTIONS: dict[str, Solution] = {
    "28cc3b7e": full_volume,
    "e0df059f": rename_directory,
    "937087b6": default_player,
    "030eeff7": do_not_track,
    "2ad9387a": bookmarks_folder,
    "99146c54": delete_on_close,
    "bb5e4c0d": bing,
    "7767eef2": light_theme,
    "7b7617bd": undo_steps,
    "2cd43775": auto_save,
    "5ac2891a": keep_playing,
    "8ba5ae7a": recordings_folder,
    "d06f0d4d": dark_slider,
}
