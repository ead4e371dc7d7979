"""Metrics of Thunderbird: preferences, filters, folders of messages."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from stepladder.envs.osworld.getters.state import Got
from stepladder.envs.osworld.metrics.reading import listed
from stepladder.envs.osworld.metrics.rules import holds, records_match

_PREFERENCE = re.compile(r'^user_pref\("((?:[^"\\]|\\.)+)", (.+)\);$')
_FILTER_FIELD = re.compile(r'^(name|enabled|type|action|actionValue|condition)="(.*)"$')
#: A condition is an operator with a triple in parentheses, whose last part may be a quoted text with any sign in it.
_CONDITION = re.compile(r'\b(?:AND|OR) \([\w ]+,[\w \']+,(?:"(?:[^"\\]|\\.)+"|[^)]+)\)|\bALL\b')
#: The line before a message in a folder, and the lines of its head that are Thunderbird's own.
_SEPARATOR = re.compile(r"^From(?: .*)?$\n?", re.MULTILINE)
_NOTES = re.compile(r"^X-Mozilla-(?:Status2?|Keys):.*$\n?", re.MULTILINE)


def check_thunderbird_prefs(result: Got | None, rules: Mapping[str, Any]) -> float:
    """`expect` and `unexpect` are rules by the names of preferences; one that is not written is as little as is expected."""
    if result is None:
        return 0.0
    expected, unexpected = rules.get("expect", {}), rules.get("unexpect", {})
    values: dict[str, Any] = {}
    for line in result.text().split("\n"):
        match = _PREFERENCE.match(line.strip())
        if match is not None:
            try:
                values[match[1]] = json.loads(match[2])
            except ValueError:
                continue  # no value that a program writes
    return float(
        all(name in values and holds(values[name], rule) for name, rule in expected.items())
        and not any(name in values and holds(values[name], rule) for name, rule in unexpected.items())
    )


def check_thunderbird_filter(result: Got | None, rules: Mapping[str, Any]) -> float:
    """`expect` and `unexpect` are records of a filter: name, enabled, type, action, actionValue, and condition as a list."""
    if result is None:
        return 0.0
    filters: list[dict[str, Any]] = []
    for line in result.text().split("\n"):
        match = _FILTER_FIELD.match(line.strip())
        if match is None:
            continue
        if match[1] == "name":
            filters.append({})
        if filters:
            value = match[2].replace('\\"', '"').replace("\\\\", "\\")
            filters[-1][match[1]] = _CONDITION.findall(value) if match[1] == "condition" else value
    return float(records_match([one for one in filters if "condition" in one], rules))


def check_thunderbird_folder(result: Any, expected: Any, **options: Any) -> float:
    """Whether folders hold the same messages, in whatever order. What Thunderbird notes of a message does not count: when it came
    into the folder, whether it was read, its labels.

    remove_deleted      without messages that are marked as deleted (default: true)
    remove_duplicate    each message once (default: true)
    """
    found, wanted = listed(result), listed(expected)
    if len(found) != len(wanted) or any(one is None for one in found):
        return 0.0
    return float(all(_messages(one, options) == _messages(other, options) for one, other in zip(found, wanted, strict=True)))


def _messages(folder: Got, options: Mapping[str, Any]) -> list[str]:
    found = []
    for message in _SEPARATOR.split(folder.text()):
        deleted = re.search(r"^X-Mozilla-Status: 000[89]", message, flags=re.MULTILINE)
        plain = _NOTES.sub("", message).strip()
        if plain and not (deleted and options.get("remove_deleted", True)):
            found.append(plain)
    return sorted(set(found) if options.get("remove_duplicate", True) else found)
