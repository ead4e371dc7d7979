"""The accessibility tree as a table of text, one element a line, as OSWorld shows it.

tag⇥name⇥text⇥class⇥description⇥position (top-left x&y)⇥size (w&h)
push-button⇥Save⇥""⇥⇥⇥(12, 40)⇥(80, 24)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from stepladder.types import Box, Element

HEADER = "tag\tname\ttext\tclass\tdescription\tposition (top-left x&y)\tsize (w&h)"
#: The tags that OSWorld keeps of a desktop's tree, by how they end and whole.
_ENDINGS = (
    *("item", "button", "heading", "label", "scrollbar", "searchbox", "textbox", "link", "tabelement", "textfield"),
    *("textarea", "menu"),
)
_TAGS = {
    *("alert", "canvas", "check-box", "combo-box", "entry", "icon", "image", "paragraph", "scroll-bar", "section", "slider"),
    *("static", "table-cell", "terminal", "text"),
}
#: Their like in the tree of a browser and of other desktops.
_MORE_TAGS = {
    *("cell", "checkbox", "columnheader", "combobox", "gridcell", "img", "listbox", "option", "page-tab", "password-text"),
    *("radio", "rowheader", "spin-button", "spinbutton", "statictext", "switch", "tab"),
}


def shown_elements(tree: Sequence[Element]) -> list[Element]:
    """The elements that an agent is shown: those of a kind that can be used or read, on the screen, enabled, with a name or
    text."""
    return [element for element in tree if _is_shown(element)]


def whole_pixels(box: Box) -> Box:
    """A box in whole pixels."""
    left, top, width, height = (round(number) for number in box)
    return left, top, width, height


def tree_text(tree: Sequence[Element] | None, characters: int, units: Callable[[Box], Box] = whole_pixels) -> str:
    """The table. Of a longer one the first `characters` are shown, and "[...]" says so. No tree is an empty table. `units` turns a
    box in pixels into the numbers that are shown."""
    text = "\n".join([HEADER, *(_line(element, units) for element in shown_elements(tree or ()))])
    return text if len(text) <= characters else text[:characters] + "[...]\n"


def tag(element: Element) -> str:
    """The role as OSWorld writes it: "push-button"."""
    return re.sub(r"\s+", "-", element.role.strip()).lower() or "unknown"


def one_line(text: str) -> str:
    """A name or text without the tabs and line ends that would break the table."""
    return re.sub(r"\s+", " ", text).strip()


def _is_shown(element: Element) -> bool:
    kind = tag(element)
    if not (kind in _TAGS or kind in _MORE_TAGS or kind.endswith(_ENDINGS) or kind.startswith("document")):
        return False
    if "disabled" in element.states or not (element.name.strip() or element.value.strip()):
        return False
    return element.box is not None and element.box[0] >= 0 and element.box[1] >= 0 and element.box[2] > 0 and element.box[3] > 0


def _line(element: Element, units: Callable[[Box], Box]) -> str:
    assert element.box is not None
    left, top, width, height = units(element.box)
    value = one_line(element.value)
    if not value:
        value = '""'
    elif '"' in value:
        value = '"' + value.replace('"', '""') + '"'
    return f"{tag(element)}\t{one_line(element.name)}\t{value}\t\t\t({left}, {top})\t({width}, {height})"
