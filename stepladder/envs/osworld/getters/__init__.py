"""OSWorld's getters: what of a machine's state, or of the task, a metric compares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepladder.envs.osworld.getters import addresses, days, files, profile, slides, system
from stepladder.envs.osworld.getters.state import Getter, Got, State
from stepladder.envs.osworld.lacking import Lacks
from stepladder.interfaces import EnvironmentFailure

__all__ = ["GETTERS", "Getter", "Got", "State", "get"]

GETTERS: dict[str, Getter] = {
    getter.__name__: getter
    for getter in (
        *(files.rule, files.vm_file, files.cloud_file, files.cache_file, files.content_from_vm_file, files.vlc_config),
        *(files.gimp_config_file, files.vscode_config, slides.audio_in_slide, slides.background_image_in_slide),
        *(days.rule_relativeTime, days.time_diff_range),
        *(system.vm_command_line, system.vm_command_error, system.vm_terminal_output, system.vm_screen_size),
        *(system.vm_window_size, system.vm_wallpaper, system.accessibility_tree, system.list_directory),
        system.default_video_player,
        *(profile.bookmarks, profile.cookie_data, profile.history, profile.enabled_experiments, profile.default_search_engine),
        *(profile.chrome_language, profile.chrome_font_size, profile.chrome_color_scheme, profile.chrome_appearance_mode_ui),
        *(profile.profile_name, profile.new_startup_page, profile.enable_do_not_track, profile.enable_safe_browsing),
        *(profile.enable_enhanced_safety_browsing, profile.data_delete_automacally, profile.find_unpacked_extension_path),
        *(profile.find_installed_extension_name, profile.shortcuts_on_desktop),
        *(addresses.active_url_from_accessTree, addresses.active_tab_url_parse, addresses.url_dashPart),
        *(addresses.macys_product_url_parse, addresses.url_path_parse, addresses.open_tabs_info),
    )
}


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
