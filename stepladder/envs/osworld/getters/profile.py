"""Getters of the browser's profile: its files, as they are on the machine."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from typing import Any

from stepladder.envs.osworld.database import NoDatabase, rows
from stepladder.envs.osworld.getters.state import State
from stepladder.interfaces import EnvironmentFailure

#: Where Chrome keeps what is of all its profiles, and the first of them.
FOLDER = "/home/user/.config/google-chrome"
PROFILE = f"{FOLDER}/Default"
_DESKTOP = "/home/user/Desktop"
_SCHEMES = {0: "system", 1: "light", 2: "dark"}


async def bookmarks(state: State, _: Mapping[str, Any]) -> Any:
    content = await state.machine.read(f"{PROFILE}/Bookmarks")
    return [] if content is None else _json(content, "Bookmarks").get("roots", {})


async def cookie_data(state: State, _: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """The rows of the table of cookies; the second column is the domain. Without a file there are none."""
    return await _rows(state, "Cookies", "SELECT * FROM cookies")


async def history(state: State, _: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """(address, title, time of the last visit in microseconds since 1601) of each page. Without a file there are none."""
    return await _rows(state, "History", "SELECT url, title, last_visit_time FROM urls")


async def enabled_experiments(state: State, _: Mapping[str, Any]) -> list[str]:
    found = (await _local_state(state)).get("browser", {}).get("enabled_labs_experiments", [])
    return [str(one) for one in found]


async def enable_do_not_track(state: State, _: Mapping[str, Any]) -> str:
    return _flag(await _preference(state, "enable_do_not_track"))


async def enable_enhanced_safety_browsing(state: State, _: Mapping[str, Any]) -> str:
    return _flag(await _preference(state, "safebrowsing", "enhanced"))


async def enable_safe_browsing(state: State, _: Mapping[str, Any]) -> str:
    enabled, enhanced = await _preference(state, "safebrowsing", "enabled"), await _preference(state, "safebrowsing", "enhanced")
    return _flag(enabled or enhanced)


async def data_delete_automacally(state: State, _: Mapping[str, Any]) -> str:
    """Whether sites' data are deleted when the browser closes: the setting itself, not only that there is some such setting."""
    return _flag(await _preference(state, "profile", "default_content_setting_values", "cookies") == 4)


async def default_search_engine(state: State, _: Mapping[str, Any]) -> str:
    name = await _preference(state, "default_search_provider_data", "template_url_data", "short_name")
    return str(name) if name is not None else "Google"


async def chrome_language(state: State, _: Mapping[str, Any]) -> str:
    return str((await _local_state(state)).get("intl", {}).get("app_locale") or "en-US")


async def chrome_font_size(state: State, _: Mapping[str, Any]) -> Any:
    sizes = {"default_fixed_font_size": 13, "default_font_size": 16}
    return sizes | (await _preference(state, "webkit", "webprefs") or {})


async def chrome_color_scheme(state: State, _: Mapping[str, Any]) -> str:
    """ "light", "dark" or "system", as the browser's own windows are set."""
    theme = await _preference(state, "browser", "theme") or {}
    if await _preference(state, "extensions", "theme", "system_theme") in (0, "0", False):
        return "light"
    return _SCHEMES.get(theme.get("color_scheme2", theme.get("color_scheme", 0)), "system")


async def chrome_appearance_mode_ui(state: State, described: Mapping[str, Any]) -> str:
    """As the page of settings shows it, which is what the profile says."""
    return await chrome_color_scheme(state, described)


async def profile_name(state: State, _: Mapping[str, Any]) -> Any:
    return await _preference(state, "profile", "name")


async def new_startup_page(state: State, _: Mapping[str, Any]) -> str:
    """ "true" when Chrome opens a new tab at its start."""
    session = await _preference(state, "session")
    return _flag(session is None or session.get("restore_on_startup") == 5)


async def find_unpacked_extension_path(state: State, _: Mapping[str, Any]) -> list[str]:
    """The folders of all extensions."""
    return [str(one["path"]) for one in await _extensions(state) if "path" in one]


async def find_installed_extension_name(state: State, _: Mapping[str, Any]) -> list[str]:
    return [str(one["manifest"]["name"]) for one in await _extensions(state) if "name" in one.get("manifest", {})]


async def shortcuts_on_desktop(state: State, _: Mapping[str, Any]) -> dict[str, str]:
    """The content of the desktop entries on the desktop, by their names."""
    listed = await state.machine.execute(["find", _DESKTOP, "-maxdepth", "1", "-name", "*.desktop"], False)
    found = {posixpath.basename(path): await state.machine.read(path) for path in listed.output.splitlines()}
    return {name: content.decode(errors="replace") for name, content in found.items() if content is not None}


async def _extensions(state: State) -> list[Mapping[str, Any]]:
    """Newer versions keep settings of extensions in a file that says when it was tampered with."""
    found: dict[str, Any] = {}
    for name in ("Preferences", "Secure Preferences"):
        held = await _preference(state, "extensions", "settings", file=name)
        found |= held if isinstance(held, dict) else {}
    return [one for one in found.values() if isinstance(one, dict)]


async def _rows(state: State, name: str, question: str) -> list[tuple[Any, ...]]:
    content = await state.machine.read(f"{PROFILE}/{name}")
    if content is None:
        return []
    try:
        return rows(content, question)
    except NoDatabase as error:
        raise EnvironmentFailure(f"the browser's file {name} cannot be read: {error}") from error


async def _local_state(state: State) -> dict[str, Any]:
    content = await state.machine.read(f"{FOLDER}/Local State")
    return {} if content is None else _json(content, "Local State")


async def _preference(state: State, *path: str, file: str = "Preferences") -> Any:
    content = await state.machine.read(f"{PROFILE}/{file}")
    found: Any = {} if content is None else _json(content, file)
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _flag(value: Any) -> str:
    return "true" if value else "false"


def _json(content: bytes, name: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError as error:
        raise EnvironmentFailure(f"the browser's file {name} cannot be read: {error}") from error
    return found if isinstance(found, dict) else {}
