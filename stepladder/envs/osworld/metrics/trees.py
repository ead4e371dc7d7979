"""Metrics of trees: the accessibility tree, web pages, VLC's status."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import lxml.etree
import lxml.html
from lxml.cssselect import CSSSelector
from rapidfuzz import fuzz

from stepladder.envs.osworld.getters.state import Got
from stepladder.envs.osworld.metrics.reading import both, left, xml_root

#: Prefixes of the accessibility tree in selectors and paths of the task files.
NAMESPACES = {
    prefix: f"https://accessibility.ubuntu.example.org/ns/{path}"
    for prefix, path in {
        **{"st": "state", "attr": "attributes", "cp": "component", "doc": "document"},
        **{"docattr": "document/attributes", "txt": "text", "val": "value", "act": "action"},
    }.items()
}
_PLAYED_FILE = ("filename", "title", "uri", "location", "name")
_PLAYED_ADDRESS = ("url", "URI", "location", "title", "filename")


def check_accessibility_tree(result: str, rules: Sequence[Mapping[str, Any]], osname: str = "ubuntu") -> float:
    """Every rule finds an element by `xpath` or else by CSS `selectors`. With `text`, its text must be that, or how far it is
    alike counts when `exact` is false: the score is the product over the rules."""
    if osname != "ubuntu":
        raise ValueError(f"the accessibility tree of {osname!r} is not known; known: ubuntu")
    root = lxml.etree.fromstring(result.encode())
    score = 1.0
    for rule in rules:
        if "xpath" in rule:
            found = root.xpath(rule["xpath"], namespaces=NAMESPACES)
        else:
            found = CSSSelector(", ".join(rule["selectors"]), namespaces=NAMESPACES)(root)
        if not found:
            return 0.0
        if "text" in rule:
            score *= max(_alike(rule["text"], one.text or "", bool(rule.get("exact", True))) for one in found)
    return score


def check_left_panel(result: str) -> float:
    """Whether LibreOffice Impress shows its panel of slides."""
    root = lxml.etree.fromstring(result.encode())
    return float(any(one.get("name") == "Slides View" for one in root.iter("document-frame")))


def compare_htmls(result: Got | None, expected: Got, ignore_sdnum: bool = False) -> float:
    """Element for element, as far as the shorter page goes: names, texts, attributes (`ignore_sdnum`: but for `sdnum`)."""
    pages = both(result, expected, lambda file: lxml.html.document_fromstring(file.getvalue().decode("utf-8")))
    if pages is None:
        return 0.0
    first, second = (_elements(page, ignore_sdnum) for page in pages)
    return float(all(one == other for one, other in zip(first, second, strict=False)))


def is_vlc_playing(result: Got | None, rules: Mapping[str, Any]) -> float:
    """Whether VLC's status says that it plays this file or address."""
    if rules["type"] not in ("file_name", "url"):
        raise ValueError(f"what plays is a file_name or a url, not {rules['type']!r}")
    root = left(result, xml_root)
    if root is None or root.findtext("state") != "playing":
        return 0.0
    fields = _PLAYED_FILE if rules["type"] == "file_name" else _PLAYED_ADDRESS
    texts = [root.findtext(f'information/category[@name="meta"]/info[@name="{one}"]') for one in fields]
    found = next((text for text in texts if text), None)
    if found is None:
        return 0.0
    if rules["type"] == "file_name":
        return float(found.endswith(rules["file_name"]))
    wanted, played = urlsplit(rules["url"]), urlsplit(found)
    return float(
        rules["url"] in found
        or found == posixpath.basename(wanted.path)
        or ("://" in found and wanted.netloc == played.netloc and wanted.path in played.path)
    )


def is_vlc_fullscreen(window: Mapping[str, int] | None, screen: Mapping[str, int] | None) -> float:
    """Whether a window is as large as the screen."""
    if window is None or screen is None:
        return 0.0
    return float(all(window[side] == screen[side] for side in ("width", "height")))


def _alike(wanted: str, text: str, exact: bool) -> float:
    return float(wanted == text) if exact else fuzz.ratio(wanted, text) / 100


def _elements(page: Any, ignore_sdnum: bool) -> Iterator[tuple[str, str, dict[str, str]]]:
    for element in page.iter(lxml.etree.Element):
        attributes = {name: value for name, value in element.attrib.items() if not (ignore_sdnum and name == "sdnum")}
        yield element.tag, element.text_content().strip(), attributes
