"""Any environment's accessibility tree as the XML that OSWorld's agents read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepladder.envs.desktop.tree import osworld_xml
from stepladder.types import Element

#: What AT-SPI calls the states of an `Element`; "disabled" is the absence of "enabled" and "sensitive" there.
_STATES = {
    "focused": "focused",
    "checked": "checked",
    "pressed": "pressed",
    "selected": "selected",
    "expanded": "expanded",
    "readonly": "read-only",
    "modal": "modal",
    "mixed": "indeterminate",
}
#: The root of the tree; its box is not known.
_FRAME: dict[str, Any] = {"role": "desktop frame", "name": "", "text": "", "value": None, "states": (), "box": None, "parent": -1}


def tree_xml(tree: Sequence[Element]) -> str:
    """The elements in one desktop frame, boxes in whole pixels."""
    return osworld_xml([_FRAME, *map(_node, tree)])


def _node(element: Element) -> dict[str, Any]:
    """As the accessibility bus would give it. What is in an observation is on the screen."""
    states = [_STATES[word] for word in element.states if word in _STATES]
    if element.box is not None:
        states += ["showing", "visible"]
    if "disabled" not in element.states:
        states += ["enabled", "sensitive"]
    return {
        "role": "password text" if "password" in element.states else element.role,
        "name": element.name,
        "text": element.value,
        "value": None,
        "states": states,
        "box": None if element.box is None else tuple(map(round, element.box)),
        "parent": element.parent + 1,  # the frame stands before all
    }
