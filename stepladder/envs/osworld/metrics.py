"""OSWorld's metrics: how far a result is what was expected, 0 to 1. Called as (result, expected, **options), or without expected.

Written anew from what the metrics of the public task files do; where theirs are at odds with themselves, as those do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from stepladder.envs.osworld.getters import Got
from stepladder.envs.osworld.lacking import Lacks

Metric = Callable[..., float]


def exact_match(result: Any, rules: Mapping[str, Any]) -> float:
    return float(result == rules["expected"])


def match_in_list(result: Any, rules: Mapping[str, Any]) -> float:
    return float(result in rules["expected"])


def check_include_exclude(result: str | None, rules: Mapping[str, Any]) -> float:
    if result is None:
        return 0.0
    return float(
        all(one in result for one in rules.get("include", [])) and all(one not in result for one in rules.get("exclude", []))
    )


def is_in_list(result: Sequence[Any], rules: Mapping[str, Any]) -> float:
    return float(result is not None and rules["expected"] in result)


def is_utc_0(result: str | None) -> float:
    """Whether `timedatectl status` tells a zone without an offset."""
    if result is None:
        return 0.0
    lines = result.split("\n")
    return float(len(lines) > 3 and lines[3].endswith("+0000)"))


def check_list(result: Got | None, rules: Mapping[str, Sequence[str]]) -> float:
    """Every pattern of `expect` in some line, none of `unexpect` in any."""
    if result is None:
        return 0.0
    lines = result.text().split("\n")
    missing = [one for one in rules.get("expect", []) if not any(re.search(one, line) for line in lines)]
    present = [one for one in rules.get("unexpect", []) if any(re.search(one, line) for line in lines)]
    return float(not missing and not present)


def file_contains(result: Got | None, config: Mapping[str, Any]) -> float:
    return float(result is not None and all(one in result.text() for one in config["expected"]))


def check_json(result: Got | None, rules: Mapping[str, Any], is_yaml: bool = False) -> float:
    if is_yaml:
        raise Lacks("metric check_json for YAML")
    found = _json(result)
    return float(found is not None and _matches(found, rules))


def check_direct_json_object(result: Any, rules: Mapping[str, Any]) -> float:
    """Every expected field of an object, or with `expect_in_result` a part of it."""
    if result is None or result == "":
        return 0.0
    try:
        found = json.loads(result.replace("'", '"')) if isinstance(result, str) else result
    except ValueError:
        return 0.0
    if not isinstance(found, dict):
        return 0.0
    expected = rules["expected"]
    if not rules.get("expect_in_result", False):
        return float(all(found.get(name) == value for name, value in expected.items()))
    for name, value in expected.items():
        wanted = value if isinstance(value, list) else [value]
        if not any(str(one) in str(found.get(name) or "") for one in wanted):
            return 0.0
    return 1.0


def check_json_settings(result: Got | None, rules: Mapping[str, Any]) -> float:
    found = _json(result)
    return float(isinstance(found, dict) and all(found.get(name) == value for name, value in rules["expected"].items()))


def compare_text_file(result: Got | None, expected: Got, **options: Any) -> float:
    if result is None:
        return 0.0
    first, second = result.text(), expected.text()
    if options.get("ignore_blanks", False):
        first, second = (re.sub(r"\s+", " ", re.sub(r"[\t\n]", " ", text).strip()) for text in (first, second))
    if options.get("ignore_case", False):
        first, second = first.lower(), second.lower()
    return float(first == second)


# ------------------------------------------------------------------------------------------------------------- applications


def is_expected_bookmarks(result: Any, rules: Mapping[str, Any]) -> float:
    """Names of folders or of pages on the bookmark bar, or what one of its folders holds."""
    if not result:
        return 0.0
    bar = result.get("bookmark_bar", {}).get("children", [])
    kind = rules["type"]
    if kind == "bookmark_bar_folders_names":
        return float({one["name"] for one in bar if one["type"] == "folder"} == set(rules["names"]))
    if kind == "bookmark_bar_websites_urls":
        return float({one["url"] for one in bar if one["type"] == "url"} == set(rules["urls"]))
    if kind == "liked_authors_websites_urls":
        folder = next((one for one in bar if one["type"] == "folder" and one["name"] == "Liked Authors"), None)
        if folder is None:
            return 0.0
        found = {one["url"] for one in folder["children"] if one["type"] == "url"}
        wanted = [one if isinstance(one, list) else [one] for one in rules["urls"]]
        chosen = {url for choices in wanted for url in choices if url in found}
        return float(found == chosen and all(any(url in found for url in choices) for choices in wanted))
    raise ValueError(f"bookmarks of the type {kind!r} are not known")


def check_font_size(result: Mapping[str, Any], rules: Mapping[str, Any]) -> float:
    size = result["default_font_size"]
    if rules["type"] == "value":
        return float(size == rules["value"])
    return float(rules["min"] < size < rules["max"])


def check_config_status(result: Got | None, rules: Mapping[str, Any]) -> float:
    """A value of gimp's settings."""
    if result is None:
        return 0.0
    for line in result.text().split("\n"):
        if line.startswith("#") or not line.strip():
            continue
        items = line.strip().lstrip("(").rstrip(")\n").split()
        key = rules["key"]
        if isinstance(key, str):
            if items and items[0] == key and items[-1] == rules["value"]:
                return 1.0
        elif len(items) >= 2 and items[0] == key[0] and items[1] == key[1] and items[-1] == rules["value"]:
            return 1.0
    return 0.0


def check_play_and_exit(result: Got | None, rules: Mapping[str, Any]) -> float:
    return float(_vlc(result, "play-and-exit", "0") == str(rules["expected_play_and_exit"]))


def is_vlc_recordings_folder(result: Got | None, rules: Mapping[str, Any]) -> float:
    return float(_vlc(result, "input-record-path", "") == rules["recording_file_path"])


def check_one_instance_when_started_from_file(result: Got | None, rules: Mapping[str, Any]) -> float:
    wanted = str(rules["expected_one_instance_when_started_from_file"])
    return float(_vlc(result, "one-instance-when-started-from-file", "1") == wanted)


def check_qt_max_volume(result: Got | None, rules: Mapping[str, Any]) -> float:
    return float(_vlc(result, "qt-max-volume", "125") == str(rules["expected_qt_max_volume"]))


def check_qt_minimal_view(result: Got | None, rules: Mapping[str, Any]) -> float:
    return float(_vlc(result, "qt-minimal-view", "0") == str(rules["expected_qt_minimal_view"]))


def check_qt_bgcone(result: Got | None, rules: Mapping[str, Any]) -> float:
    wanted = rules["expected_qt_bgcone"]
    choices = wanted if isinstance(wanted, list) else [wanted]
    return float(_vlc(result, "qt-bgcone", "1") in [str(one) for one in choices])


def check_qt_slider_colours(result: Got | None, rules: Mapping[str, Any]) -> float:
    """The colours of VLC's volume slider: `blackish` and `whitish` are for all, `match` for the very text."""
    text = _vlc(result, "qt-slider-colours", "153;210;153;20;210;20;255;199;15;245;39;29")
    if rules["type"] == "match":
        return float(text == rules["expected_qt_slider_colours"])
    try:
        numbers = [int(one) for one in text.split(";")]
    except ValueError:
        return 0.0  # the agent left what is no colour
    colours = [numbers[start : start + 3] for start in range(0, len(numbers), 3)]
    if rules["type"] == "blackish":
        return float(all(max(colour) < 100 for colour in colours))
    if rules["type"] == "whitish":
        return float(all(min(colour) > 155 for colour in colours))
    raise ValueError(f"slider colours of the type {rules['type']!r} are not known")


def check_global_key_play_pause(result: Got | None, rules: Mapping[str, Any]) -> float:
    return float(("1" if _vlc(result, "global-key-play-pause", "") else "0") == str(rules["expected_global_key_play_pause"]))


def check_auto_saving_time(result: Got | None, rules: Mapping[str, Any]) -> float:
    """The minutes after which LibreOffice saves by itself."""
    if result is None:
        return 0.0
    try:
        root = ElementTree.fromstring(result.content)
    except ElementTree.ParseError:
        return 0.0
    for item in root:
        for prop in item:
            if any(name.endswith("name") and value == "AutoSaveTimeIntervall" for name, value in prop.attrib.items()):
                value = prop.find("value")
                return float(value is not None and value.text == str(rules["minutes"]))
    return 0.0


def _vlc(result: Got | None, name: str, default: str) -> str:
    """A setting of VLC: the last line that sets it, and its default when none does."""
    value = default
    for line in result.text().split("\n") if result is not None else []:
        key, separator, rest = line.partition("=")
        if separator and key.strip() == name:
            value = rest.strip()
    return value


def _json(result: Got | None) -> Any:
    try:
        return None if result is None else json.loads(result.content)
    except ValueError:
        return None


def _matches(found: Any, rules: Mapping[str, Any]) -> bool:
    """`expect` and `unexpect` are lists of {key, method, ref}."""
    for name, wanted in (("expect", True), ("unexpect", False)):
        for one in rules.get(name, []):
            value: Any = found
            try:
                for key in one["key"]:
                    value = value[key]
            except (KeyError, IndexError, TypeError):
                if wanted:
                    return False  # what is not there is as little as is expected
                continue
            if _by_method(value, one["method"], one["ref"]) != wanted:
                return False
    return True


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _by_method(value: Any, method: str, reference: Any) -> bool:
    if method == "re":
        return isinstance(value, str) and re.search(reference, value) is not None
    if method in ("eq", "ne", "lt", "le", "gt", "ge"):
        if value is None and method not in ("eq", "ne"):
            return False
        if method not in ("eq", "ne") and type(value) is not type(reference) and not (_number(value) and _number(reference)):
            return False
        comparisons: dict[str, Callable[[], bool]] = {
            "eq": lambda: value == reference,
            "ne": lambda: value != reference,
            "lt": lambda: value < reference,
            "le": lambda: value <= reference,
            "gt": lambda: value > reference,
            "ge": lambda: value >= reference,
        }
        return comparisons[method]()
    if method == "in":
        return value in reference
    raise ValueError(f"the method {method!r} is not known")


METRICS: dict[str, Metric] = {
    metric.__name__: metric
    for metric in (
        *(exact_match, match_in_list, check_include_exclude, is_in_list, is_utc_0, check_list, file_contains, check_json),
        *(check_direct_json_object, check_json_settings, compare_text_file, is_expected_bookmarks, check_font_size),
        *(check_config_status, check_play_and_exit, is_vlc_recordings_folder, check_one_instance_when_started_from_file),
        *(check_qt_max_volume, check_qt_minimal_view, check_qt_bgcone, check_qt_slider_colours, check_global_key_play_pause),
        check_auto_saving_time,
    )
}
