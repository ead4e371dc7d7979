"""Metrics of texts: what commands print, plain files, CSV, source code, a database."""

from __future__ import annotations

import csv
import difflib
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rapidfuzz import fuzz

from stepladder.envs.osworld.database import NoDatabase, rows
from stepladder.envs.osworld.getters.state import Got
from stepladder.envs.osworld.metrics.reading import decoded
from stepladder.envs.osworld.metrics.rules import records_match

_CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)")
_FIRST_LINES_OF_SOURCE = ("#!", "# -*- coding:", "# coding:", "# coding=")


def exact_match(result: Any, rules: Mapping[str, Any]) -> float:
    return float(result == rules["expected"])


def match_in_list(result: Any, rules: Mapping[str, Any]) -> float:
    return float(result in rules["expected"])


def compare_answer(result: Any, rules: Mapping[str, Any]) -> float:
    return float(bool(result) and result == rules["expected"])


def literal_match(result: Any, expected: Any, **options: Any) -> float:
    """Whether the two are written alike: as one text (`type` is str), or item by item (list)."""
    kind = options.get("type", "str")
    if kind not in ("str", "list"):
        raise ValueError(f"literal_match of the type {kind!r} is not known; it is 'str' or 'list'")
    if kind == "list" and not (isinstance(result, (list, tuple)) and isinstance(expected, (list, tuple))):
        return 0.0
    first, second = ([str(result)], [str(expected)]) if kind == "str" else ([*map(str, result)], [*map(str, expected)])
    if options.get("ignore_case", False):
        first, second = [one.lower() for one in first], [one.lower() for one in second]
    return float(first == second)


def fuzzy_match(result: str | None, rules: Mapping[str, Any]) -> float:
    """The share of the two texts that is alike, 0 to 1."""
    return 0.0 if result is None else fuzz.ratio(result, rules["expected"]) / 100


def check_include_exclude(result: str | None, rules: Mapping[str, Any]) -> float:
    if result is None:
        return 0.0
    return float(
        all(one in result for one in rules.get("include", [])) and all(one not in result for one in rules.get("exclude", []))
    )


def is_in_list(result: Sequence[Any] | None, rules: Mapping[str, Any]) -> float:
    return float(result is not None and rules["expected"] in result)


def is_in_vm_clickboard(config: Mapping[str, Any], terminal_output: str | None) -> float:
    """Whether the clipboard, as a command has printed it, holds what is expected: one text, or each of several."""
    wanted = config["expected"] if isinstance(config["expected"], list) else [config["expected"]]
    return float(terminal_output is not None and all(one in terminal_output for one in wanted))


def is_utc_0(result: str | None) -> float:
    """Whether `timedatectl status` tells a zone without an offset."""
    if result is None:
        return 0.0
    lines = result.split("\n")
    return float(len(lines) > 3 and lines[3].endswith("+0000)"))


def check_text_enlarged(result: str | None) -> float:
    """Whether GNOME's factor of text sizes is above 1."""
    try:
        return float(result is not None and float(result) > 1.0)
    except ValueError:
        return 0.0


def check_gnome_favorite_apps(result: str | None, rules: Mapping[str, Any]) -> float:
    """Whether gsettings prints these desktop entries, in whatever order."""
    found = re.findall(r"'([^']*)'", result or "")
    return float(len(found) == len(rules["expected"]) and set(found) == set(rules["expected"]))


def check_moved_jpgs(result: Mapping[str, Any] | None, rules: Mapping[str, Any]) -> float:
    """Whether a directory holds these names and no others."""
    names = [one["name"] for one in (result or {}).get("children", [])]
    return float(result is not None and len(names) == len(rules["expected"]) and set(names) == set(rules["expected"]))


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


def check_line_number(result: Got | None, rules: Mapping[str, Any]) -> float:
    """Whether so many lines hold a time of the day."""
    if result is None:
        return 0.0
    return float(sum(_CLOCK.search(line) is not None for line in result.text().split("\n")) == int(rules["expected"]))


def compare_text_file(result: Got | None, expected: Got, **options: Any) -> float:
    if result is None:
        return 0.0
    first, second = result.text(), expected.text()
    if options.get("ignore_blanks", False):
        first, second = (re.sub(r"\s+", " ", re.sub(r"[\t\n]", " ", text).strip()) for text in (first, second))
    if options.get("ignore_case", False):
        first, second = first.lower(), second.lower()
    return float(first == second)


def compare_result_files(result: Got | None, expected: Got) -> float:
    """The same text but for blanks around it, or a number: the same digits somewhere, or the same within 0.0001."""
    if result is None or not expected.content:
        return 0.0
    found, wanted = result.text().strip(), expected.text().strip()
    number = _number(wanted)
    if number is None:
        return float(found == wanted)
    other = _number(found)
    return float(wanted in found or (other is not None and abs(other - number) < 1e-4))


def compare_terminal_and_txt(result: Got | None, terminal_output: str | None) -> float:
    return float(result is not None and bool(terminal_output) and result.text() == terminal_output)


def diff_text_file(result: Got | None, expected: Got) -> float:
    """The share of the lines that are alike, 0 to 1."""
    if result is None:
        return 0.0
    return alike(result.text().splitlines(), expected.text().splitlines())


def alike(first: Sequence[str], second: Sequence[str]) -> float:
    """How much of two lists is alike, in order: 0 to 1."""
    return difflib.SequenceMatcher(a=first, b=second).ratio()


def compare_python_pure_text(result: Got | None, expected: Got | None) -> float:
    """The same lines of source: empty ones, blanks at ends and a first line that names interpreter or encoding do not count."""
    if result is None or expected is None:
        return 0.0
    return float(_source_lines(result.text()) == _source_lines(expected.text()))


def _source_lines(text: str) -> list[str]:
    lines = text.splitlines()
    start = 0
    while start < min(3, len(lines)) and lines[start].strip().startswith(_FIRST_LINES_OF_SOURCE):
        start += 1
    return [line.expandtabs(4).rstrip() for line in lines[start:] if line.strip()]


def compare_csv(result: Got | None, expected: Got | list[Got], **options: Any) -> float:
    """The same lines as the file, or as one of several. `strict` false: but for blanks around them; `ignore_case`: in any case."""
    if result is None:
        return 0.0
    found = _csv_lines(result.content, options)
    return float(any(found == _csv_lines(one.content, options) for one in ([expected] if isinstance(expected, Got) else expected)))


def _csv_lines(content: bytes, options: Mapping[str, Any]) -> list[str]:
    lines = decoded(content).splitlines()
    if not options.get("strict", True):
        lines = [line.strip() for line in lines]
    return [line.lower() for line in lines] if options.get("ignore_case", False) else lines


def check_csv(result: Got | None, rules: Mapping[str, Any]) -> float:
    """Every record of `expect` fits some row, none of `unexpect` any; the first row names the columns."""
    if result is None:
        return 0.0
    try:
        records: list[Mapping[str, Any]] = list(csv.DictReader(io.StringIO(result.text())))
    except csv.Error:  # what the agent left is no CSV
        return 0.0
    return float(records_match(records, rules))


def run_sqlite3(result: Got | None, rules: Mapping[str, Any]) -> float:
    """What a question of the task to a database that the agent left gives, as a number."""
    try:
        found = [] if result is None else rows(result.content, rules["sql"])
        return float(found[0][0] or 0) if found else 0.0
    except (NoDatabase, TypeError):  # what the agent left is no database, or not one of this program
        return 0.0


def check_direct_json_object(result: Any, rules: Mapping[str, Any]) -> float:
    """Every expected field of an object, or with `expect_in_result` a part of it."""
    if result is None or result == "":
        return 0.0
    try:
        found = json.loads(result.strip().replace("'", '"')) if isinstance(result, str) else result
    except ValueError:
        return 0.0
    if not isinstance(found, dict):
        return 0.0
    expected = rules["expected"]
    if rules.get("expect_in_result", False):
        return float(all(_has_part(found.get(name), value) for name, value in expected.items()))
    return float(all(found.get(name) == value for name, value in expected.items()))


def _has_part(found: Any, wanted: Any) -> bool:
    """One of several values, as a whole or within a list; or a text within a text."""
    if isinstance(wanted, list):
        return any(one in found if isinstance(found, list) else one == found for one in wanted)
    return isinstance(wanted, str) and isinstance(found, (str, list)) and wanted in found


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
