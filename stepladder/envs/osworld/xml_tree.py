"""The accessibility tree that OSWorld's servers answer, as Stepladder's elements."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

from stepladder.envs.desktop.tree import NAMESPACES, elements
from stepladder.interfaces import EnvironmentFailure
from stepladder.types import Element

#: Nodes that are read of one tree.
_MOST = 20_000
_STATE = f"{{{NAMESPACES['st']}}}"


def read_tree(xml: str) -> tuple[Element, ...]:
    """What is on the screen, in document order. Raises EnvironmentFailure for what is no such tree."""
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise EnvironmentFailure(f"the machine's accessibility tree is no XML: {error}") from error
    nodes: list[dict[str, Any]] = []
    left = [(root, -1)]
    while left and len(nodes) < _MOST:
        node, parent = left.pop()
        nodes.append(_node(node, parent))
        left += [(child, len(nodes) - 1) for child in reversed(node)]
    return elements(nodes)


def _node(node: ElementTree.Element, parent: int) -> dict[str, Any]:
    states = [name.removeprefix(_STATE) for name, value in node.attrib.items() if name.startswith(_STATE) and value == "true"]
    place, size = (_pair(node.get(f"{{{NAMESPACES['cp']}}}{name}")) for name in ("screencoord", "size"))
    value = node.get(f"{{{NAMESPACES['val']}}}value")
    return {
        "role": node.tag.replace("-", " "),
        "name": node.get("name", ""),
        "text": (node.text or "").strip("\n"),
        "states": states,
        # What is not shown has a size, and a place far off.
        "box": (*place, *size) if place and size and size[0] > 0 and size[1] > 0 and place[0] >= 0 and place[1] >= 0 else None,
        "value": None if value is None or not _is_number(value) else (float(value),),
        "parent": parent,
    }


def _pair(text: str | None) -> tuple[int, int] | None:
    """The numbers of "(x, y)"."""
    found = re.fullmatch(r"\((-?\d{1,9}), (-?\d{1,9})\)", text or "")
    return (int(found[1]), int(found[2])) if found else None


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d{1,15}(\.\d+)?(e[+-]?\d{1,2})?", text) is not None
