"""Metrics of programs' settings: JSON and YAML, gimp, VLC, VS Code, LibreOffice."""

from __future__ import annotations

import fnmatch
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

import yaml

from stepladder.envs.osworld.getters.state import Got
from stepladder.envs.osworld.metrics.reading import left, xml_root
from stepladder.envs.osworld.metrics.rules import holds

_REGISTRY = "{http://openoffice.org/2001/registry}"

# ------------------------------------------------------------------------------------------------------------ JSON and YAML


def check_json(result: Got | None, rules: Mapping[str, Any], is_yaml: bool = False) -> float:
    """`expect` and `unexpect` are lists of {key, method, ref}; `key` leads through objects and lists."""
    found = left(result, yaml.safe_load if is_yaml else json.load)
    return float(found is not None and _matches(found, rules))


def check_json_settings(result: Got | None, rules: Mapping[str, Any]) -> float:
    found = left(result, json.load)
    return float(isinstance(found, dict) and all(found.get(name) == value for name, value in rules["expected"].items()))


def check_json_keybindings(result: Got | None, rules: Mapping[str, Any]) -> float:
    """Whether a list holds this entry; VS Code writes a comment above it."""
    for reader in (json.load, _below_the_first_line):
        found = left(result, reader)
        if isinstance(found, list):
            return float(rules["expected"] in found)
    return 0.0


def compare_config(result: Got | None, rules: Mapping[str, Any], containment_ok: bool = True) -> float:
    """JSON with the fields of `expected` and maybe more, or another text that holds it; with `containment_ok` false just that."""
    if result is None or not rules.get("expected"):
        return 0.0
    found, wanted = result.text(), str(rules["expected"])
    first, second = _parsed(found), _parsed(wanted)
    if not containment_ok:
        return float(found == wanted or (first is not None and first == second))
    if first is None or second is None:
        return float(wanted.strip() in found)
    return float(_contains(first[0], second[0]))


def is_extension_installed(result: str | None, rules: Mapping[str, Any]) -> float:
    if rules["type"] not in ("contain", "not_contain"):
        raise ValueError(f"extensions of the type {rules['type']!r} are not known")
    return float(result is not None and (rules["expected"] in result) == (rules["type"] == "contain"))


def is_included_all_json_objects(expected: Got | None, result: Got | None) -> float:
    """Whether the second object has every field of the first."""
    wanted, found = left(expected, json.load), left(result, json.load)
    if not isinstance(wanted, dict) or not isinstance(found, dict):
        return 0.0
    return float(all(name in found and found[name] == value for name, value in wanted.items()))


def _below_the_first_line(file: io.BytesIO) -> Any:
    file.readline()
    return json.load(file)


def _parsed(text: str) -> tuple[Any] | None:
    try:
        return (json.loads(text),)
    except ValueError:
        return None


def _contains(found: Any, wanted: Any) -> bool:
    if not isinstance(wanted, dict):
        return bool(found == wanted)
    return isinstance(found, dict) and all(name in found and _contains(found[name], value) for name, value in wanted.items())


def _matches(found: Any, rules: Mapping[str, Any]) -> bool:
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
            if holds(value, one) != wanted:
                return False
    return True


# --------------------------------------------------------------------------------------------------------------------- gimp


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


# ---------------------------------------------------------------------------------------------------------------------- VLC


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


def _vlc(result: Got | None, name: str, default: str) -> str:
    """A setting of VLC: the last line that sets it, and its default when none does."""
    value = default
    for line in result.text().split("\n") if result is not None else []:
        key, separator, rest = line.partition("=")
        if separator and key.strip() == name:
            value = rest.strip()
    return value


# -------------------------------------------------------------------------------------------------------------- LibreOffice


def check_auto_saving_time(result: Got | None, rules: Mapping[str, Any]) -> float:
    """The minutes after which LibreOffice saves by itself."""
    values = _registry(result, "", "AutoSaveTimeIntervall")
    return float(bool(values) and values[0] == str(rules["minutes"]))


def check_presenter_console_disable(result: Got | None) -> float:
    """Whether LibreOffice shows slides without its presenter console."""
    values = _registry(result, "/org.openoffice.Office.Impress/Misc/Start", "EnablePresenterScreen")
    return float(bool(values) and (values[0] or "").lower() == "false")


def find_default_font(result: Got | None, rules: Mapping[str, Any]) -> float:
    """The font in which LibreOffice Writer starts a document."""
    values = _registry(result, "/org.openoffice.Office.Writer/DefaultFont", "Standard")
    return float(bool(values) and values[-1] == rules["font_name"])


def check_libre_locale(result: Got | None, rules: Mapping[str, Sequence[str]]) -> float:
    """LibreOffice's locale, as one of several patterns."""
    values = _registry(result, "L10N", "ooSetupSystemLocale") or _registry(result, "L10N", "ooLocale")
    return float(bool(values) and any(fnmatch.fnmatchcase(values[0] or "", one) for one in rules["locale_set"]))


def _registry(result: Got | None, path: str, name: str) -> list[str | None]:
    """The values of a property in LibreOffice's settings, of the items whose path ends so."""
    root = left(result, xml_root)
    items = [] if root is None else [one for one in root.iter("item") if one.get(f"{_REGISTRY}path", "").endswith(path)]
    properties: list[ElementTree.Element] = [one for item in items for one in item.iter("prop")]
    found = [one.find("value") for one in properties if one.get(f"{_REGISTRY}name") == name]
    return [one.text for one in found if one is not None]
