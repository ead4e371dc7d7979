"""Accessibility trees of desktops: as Stepladder's elements, and as the XML that OSWorld's agents read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from stepladder.types import Element

#: AT-SPI states that say something to an agent, and what `Element` calls them.
_STATES = {
    "focused": "focused",
    "checked": "checked",
    "pressed": "pressed",
    "selected": "selected",
    "expanded": "expanded",
    "read-only": "readonly",
    "modal": "modal",
    "indeterminate": "mixed",
}
#: Roles that can be disabled; of others the absence of "sensitive" says nothing.
_WIDGETS = frozenset(
    [
        "push button",
        "toggle button",
        "check box",
        "radio button",
        "menu item",
        "check menu item",
        "radio menu item",
        "menu",
        "combo box",
        "entry",
        "text",
        "slider",
        "spin button",
        "page tab",
        "list item",
        "link",
        "icon",
        "password text",
    ]
)
#: OSWorld's namespaces (its server's own names).
NAMESPACES = {
    name: f"https://accessibility.ubuntu.example.org/ns/{part}"
    for name, part in (
        *(("st", "state"), ("attr", "attributes"), ("cp", "component"), ("doc", "document")),
        *(("docattr", "document/attributes"), ("txt", "text"), ("val", "value"), ("act", "action")),
    )
}
Nodes = Sequence[Mapping[str, Any]]


def elements(nodes: Nodes) -> tuple[Element, ...]:
    """What is on the screen, in document order. Nodes that only hold others together are left out, and their children are given
    to the next one above."""
    children: dict[int, list[int]] = {}
    for place, node in enumerate(nodes):
        children.setdefault(node["parent"], []).append(place)
    found: list[Element] = []
    left = [(place, -1) for place in reversed(children.get(-1, []))]
    while left:
        place, parent = left.pop()
        node = nodes[place]
        if _says_something(node):
            found.append(_element(node, parent))
            parent = len(found) - 1
        left += [(child, parent) for child in reversed(children.get(place, []))]
    return tuple(found)


def _says_something(node: Mapping[str, Any]) -> bool:
    if node["role"] in ("application", "desktop frame"):
        return False
    return node["box"] is not None and bool(node["name"] or node["text"] or node["role"] in _WIDGETS)


def _element(node: Mapping[str, Any], parent: int) -> Element:
    states = [word for state, word in _STATES.items() if state in node["states"]]
    if node["role"] in _WIDGETS and "sensitive" not in node["states"]:
        states.append("disabled")
    if node["role"] == "password text":
        states.append("password")
    value = node["text"] if node["text"] != node["name"] else ""
    if not value and node["value"] is not None:
        value = f"{node['value'][0]:g}"
    left, top, width, height = node["box"]
    return Element(node["role"], node["name"], value, (left, top, width, height), tuple(states), parent)


def osworld_xml(nodes: Nodes) -> str:
    """The tree as OSWorld's server answers /accessibility: one element a node, named by its role."""
    made: list[ElementTree.Element] = []
    root = ElementTree.Element("desktop-frame")
    for node in nodes:
        element = root if node["parent"] < 0 else ElementTree.SubElement(made[node["parent"]], _tag(node["role"]))
        made.append(element)
        element.set("name", _clean(node["name"]))
        for state in node["states"]:
            element.set(f"{{{NAMESPACES['st']}}}{state}", "true")
        if node["box"] is not None:
            left, top, width, height = node["box"]
            element.set(f"{{{NAMESPACES['cp']}}}screencoord", f"({left}, {top})")
            element.set(f"{{{NAMESPACES['cp']}}}size", f"({width}, {height})")
        if node["value"] is not None:
            for name, number in zip(("value", "min", "max"), node["value"], strict=True):
                element.set(f"{{{NAMESPACES['val']}}}{name}", str(number))
        if node["text"]:
            element.text = _clean(node["text"])
    for prefix, uri in NAMESPACES.items():
        ElementTree.register_namespace(prefix, uri)
    return ElementTree.tostring(root, encoding="unicode")


def _tag(role: str) -> str:
    """A role as the name of an XML element."""
    tag = re.sub(r"[^\w.-]", "-", role.strip()) or "unknown"
    return tag if re.match(r"[^\W\d]", tag) else f"role-{tag}"


def _clean(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", text)
