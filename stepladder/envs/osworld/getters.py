"""OSWorld's getters: what of a machine's state, or of the task, a metric compares."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stepladder.envs.osworld.cache import FileCache
from stepladder.envs.osworld.lacking import Lacks
from stepladder.envs.osworld.machine import Machine
from stepladder.interfaces import EnvironmentFailure

#: Where Chrome keeps its profile.
PROFILE = "/home/user/.config/google-chrome/Default"


@dataclass(frozen=True)
class Got:
    """A file of the machine or of the cache: metrics that compare files read its content. `name` is what the task calls it."""

    name: str
    content: bytes

    def text(self) -> str:
        """With plain ends of lines, whatever system wrote them."""
        return self.content.decode(errors="replace").replace("\r\n", "\n")


@dataclass(frozen=True)
class State:
    """What getters look at."""

    machine: Machine
    cache: FileCache


Getter = Callable[[State, Mapping[str, Any]], Awaitable[Any]]


async def get(state: State, described: Mapping[str, Any]) -> Any:
    """What a `result` or `expected` of a task describes. Raises Lacks for a getter that is not there."""
    kind = described.get("type")
    getter = GETTERS.get(str(kind))
    if getter is None:
        raise Lacks(f"getter {kind}")
    try:
        return await getter(state, described)
    except KeyError as error:
        raise EnvironmentFailure(f"the getter {kind} needs the field {error}") from error


async def rule(_: State, described: Mapping[str, Any]) -> Any:
    return described["rules"]


async def vm_file(state: State, described: Mapping[str, Any]) -> Got | list[Got | None] | None:
    """One file, or several with `multi`, of which `gives` says which are wanted (default: the first)."""
    if described.get("time_suffix"):
        raise Lacks("getter vm_file with time_suffix")
    if not described.get("multi"):
        return await _file(state, described["path"], described["dest"])
    paths, names = described["path"], described["dest"]
    wanted = described.get("gives", [0])
    found = [await _file(state, path, name) for path, name in zip(paths, names, strict=True)]
    chosen = [found[place] for place in wanted]
    return chosen[0] if len(chosen) == 1 else chosen


async def cloud_file(state: State, described: Mapping[str, Any]) -> Got | list[Got]:
    if not described.get("multi"):
        return Got(described["dest"], state.cache.cloud(described["path"], described["dest"]))
    found = [Got(name, state.cache.cloud(url, name)) for url, name in zip(described["path"], described["dest"], strict=True)]
    chosen = [found[place] for place in described.get("gives", [0])]
    return chosen[0] if len(chosen) == 1 else chosen


async def cache_file(state: State, described: Mapping[str, Any]) -> Got:
    content = state.cache.kept(described["path"])
    if content is None:
        raise EnvironmentFailure(f"no step of the task has kept {described['path']!r}")
    return Got(described["path"], content)


async def content_from_vm_file(state: State, described: Mapping[str, Any]) -> Any:
    """The last row of a spreadsheet, or the lines of a text."""
    found = await _file(state, described["path"], described["path"])
    if described.get("file_type") != "xlsx" or described.get("file_content") != "last_row":
        raise Lacks(f"getter content_from_vm_file for {described.get('file_type')} {described.get('file_content')}")
    if found is None:
        return None
    import io

    import openpyxl

    try:
        rows = list(openpyxl.load_workbook(io.BytesIO(found.content), data_only=True).active.iter_rows(values_only=True))
    except Exception:  # whatever the agent left under this name
        return None
    return [str(value) for value in rows[-1]] if rows else None


async def vm_command_line(state: State, described: Mapping[str, Any]) -> str:
    return (await state.machine.execute(described["command"], bool(described.get("shell", False)))).output


async def vm_command_error(state: State, described: Mapping[str, Any]) -> str:
    return (await state.machine.execute(described["command"], bool(described.get("shell", False)))).error


async def vm_screen_size(state: State, _: Mapping[str, Any]) -> dict[str, int]:
    width, height = state.machine.size
    return {"width": width, "height": height}


async def accessibility_tree(state: State, _: Mapping[str, Any]) -> str:
    return await state.machine.accessibility()


async def list_directory(state: State, described: Mapping[str, Any]) -> Any:
    """The tree below a directory, as OSWorld's server gives it."""
    script = (
        "import json,os,sys\n"
        "def tree(p):\n"
        "    n={'type':'directory' if os.path.isdir(p) else 'file','name':os.path.basename(p)}\n"
        "    if os.path.isdir(p): n['children']=[tree(os.path.join(p,c)) for c in sorted(os.listdir(p))]\n"
        "    return n\n"
        "print(json.dumps(tree(sys.argv[1])))"
    )
    ran = await state.machine.execute(["python3", "-c", script, described["path"]], False)
    return json.loads(ran.output) if ran.returncode == 0 else None


# ------------------------------------------------------------------------------------------------------------- applications


async def vlc_config(state: State, described: Mapping[str, Any]) -> Got | None:
    return await _file(state, "/home/user/.config/vlc/vlcrc", described["dest"])


async def gimp_config_file(state: State, described: Mapping[str, Any]) -> Got | None:
    return await _file(state, f"/home/user/.config/GIMP/2.10/{described['file_name']}", described["dest"])


async def vscode_config(state: State, described: Mapping[str, Any]) -> Got | None:
    if described.get("vscode_extension_command"):
        raise Lacks("getter vscode_config with vscode_extension_command")
    return await _file(state, described["path"], described["dest"])


async def default_video_player(state: State, _: Mapping[str, Any]) -> str:
    """The desktop entries of the players of several kinds of videos, one a line."""
    found = []
    for kind in (
        "3gp",
        "3gpp",
        "3gpp2",
        "avi",
        "divx",
        "dv",
        "fli",
        "flv",
        "mp2t",
        "mp4",
        "mp4v-es",
        "mpeg",
        "mpeg-system",
        "msvideo",
    ):
        ran = await state.machine.execute(["xdg-mime", "query", "default", f"video/{kind}"], False)
        if ran.output.strip():
            found.append(ran.output.strip())
    players = list(dict.fromkeys(found))
    return players[0] if len(players) == 1 else "\n".join(players)


async def bookmarks(state: State, _: Mapping[str, Any]) -> Any:
    content = await state.machine.read(f"{PROFILE}/Bookmarks")
    return [] if content is None else _json(content, "Bookmarks").get("roots", {})


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
    content = await state.machine.read("/home/user/.config/google-chrome/Local State")
    language = None if content is None else _json(content, "Local State").get("intl", {}).get("app_locale")
    return str(language or "en-US")


async def chrome_font_size(state: State, _: Mapping[str, Any]) -> Any:
    return await _preference(state, "webkit", "webprefs") or {"default_fixed_font_size": 13, "default_font_size": 16}


async def profile_name(state: State, _: Mapping[str, Any]) -> Any:
    return await _preference(state, "profile", "name")


async def new_startup_page(state: State, _: Mapping[str, Any]) -> str:
    """ "true" when Chrome opens a new tab at its start."""
    session = await _preference(state, "session")
    return _flag(session is None or session.get("restore_on_startup") == 5)


async def _preference(state: State, *path: str) -> Any:
    content = await state.machine.read(f"{PROFILE}/Preferences")
    found: Any = {} if content is None else _json(content, "Preferences")
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


async def _file(state: State, path: str, name: str) -> Got | None:
    content = await state.machine.read(path)
    return None if content is None else Got(name, content)


GETTERS: dict[str, Getter] = {
    getter.__name__: getter
    for getter in (
        *(rule, vm_file, cloud_file, cache_file, content_from_vm_file, vm_command_line, vm_command_error, vm_screen_size),
        *(accessibility_tree, list_directory, vlc_config, gimp_config_file, vscode_config, default_video_player, bookmarks),
        *(enable_do_not_track, enable_enhanced_safety_browsing, enable_safe_browsing, data_delete_automacally),
        *(default_search_engine, chrome_language, chrome_font_size, profile_name, new_startup_page),
    )
}
