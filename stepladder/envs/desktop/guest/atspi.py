"""The accessibility tree of a session, read over its accessibility bus (AT-SPI 2), in bounded time and size.

The nodes of a level are asked all at once, without waiting for one answer before the next question. A table with millions of
cells is read through a window: the cells that are on the screen.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from jeepney import DBusAddress, MessageType, Properties, new_method_call
from jeepney.io.blocking import DBusConnection, open_dbus_connection
from jeepney.low_level import HeaderFields

ACCESSIBLE = "org.a11y.atspi.Accessible"
PROPERTIES = "org.freedesktop.DBus.Properties"
#: The bits of a node's state, in order.
STATES = [
    "invalid",
    "active",
    "armed",
    "busy",
    "checked",
    "collapsed",
    "defunct",
    "editable",
    "enabled",
    "expandable",
    "expanded",
    "focusable",
    "focused",
    "has-tooltip",
    "horizontal",
    "iconified",
    "modal",
    "multi-line",
    "multiselectable",
    "opaque",
    "pressed",
    "resizable",
    "selectable",
    "selected",
    "sensitive",
    "showing",
    "single-line",
    "stale",
    "transient",
    "vertical",
    "visible",
    "manages-descendants",
    "indeterminate",
    "required",
    "truncated",
    "animated",
    "invalid-entry",
    "supports-autocompletion",
    "selectable-text",
    "is-default",
    "visited",
    "checkable",
    "has-popup",
    "read-only",
]
#: More children than these are not read in full.
WIDEST = 400
#: The window through which a huge table is read, in rows and columns.
ROWS, COLUMNS = 64, 32
#: Seconds for one answer of the bus itself.
PATIENCE = 5.0

Reference = tuple[str, str]
Call = tuple[Reference, str, str, str, tuple[Any, ...]]


@dataclass
class Node:
    reference: Reference
    parent: int
    depth: int
    role: str = ""
    name: str = ""
    states: tuple[str, ...] = ()
    box: tuple[int, int, int, int] | None = None
    text: str = ""
    value: tuple[float, float, float] | None = None
    interfaces: tuple[str, ...] = ()
    children: int = 0

    def told(self) -> dict[str, Any]:
        return {
            "parent": self.parent,
            "role": self.role,
            "name": self.name,
            "states": self.states,
            "box": self.box,
            "text": self.text,
            "value": self.value,
        }


class Tree:
    """One connection to the accessibility bus. Asking for it tells the toolkits that somebody reads."""

    def __init__(self, session: str) -> None:
        with open_dbus_connection(session) as bus:
            launcher = DBusAddress("/org/a11y/bus", "org.a11y.Bus", "org.a11y.Bus")
            answer = bus.send_and_get_reply(new_method_call(launcher, "GetAddress"), timeout=PATIENCE)
            if answer.header.message_type is MessageType.error:
                raise RuntimeError(f"there is no accessibility bus: {answer.body}")
            status = DBusAddress("/org/a11y/bus", "org.a11y.Bus", "org.a11y.Status")
            for name in ("IsEnabled", "ScreenReaderEnabled"):
                bus.send_and_get_reply(Properties(status).set(name, "b", True), timeout=PATIENCE)
        self.bus: DBusConnection = open_dbus_connection(answer.body[0].partition(";")[0])

    def read(self, seconds: float, nodes: int, characters: int, depth: int) -> dict[str, Any]:
        """At most `nodes` nodes, `depth` levels and `characters` of text a node, in at most about `seconds`. "cut" says what of it
        was too little, "time", "nodes" or "depth" ("" when the tree is whole)."""
        until = time.monotonic() + seconds
        root = ("org.a11y.atspi.Registry", "/org/a11y/atspi/accessible/root")
        found: list[Node] = [Node(root, -1, 0)]
        start, cut = 0, ""
        while start < len(found):
            level, first = found[start:], start
            start = len(found)
            self._describe(level, until, characters)
            if time.monotonic() >= until:
                cut = "time"
                break
            if level[0].depth >= depth:
                cut = "depth" if any(node.children for node in level) else ""
                break
            for place, children in self._children(level, until):
                for reference in children:
                    if len(found) < nodes:
                        found.append(Node(reference, first + place, level[0].depth + 1))
                    else:
                        cut = "nodes"
        return {"nodes": _answered(found), "cut": cut}

    # ------------------------------------------------------------------------------------------------------------- reading

    def _describe(self, level: list[Node], until: float, characters: int) -> None:
        calls: list[Call] = []
        for node in level:
            at = node.reference
            calls += [
                (at, PROPERTIES, "Get", "ss", (ACCESSIBLE, "Name")),
                (at, ACCESSIBLE, "GetRoleName", "", ()),
                (at, ACCESSIBLE, "GetState", "", ()),
                (at, "org.a11y.atspi.Component", "GetExtents", "u", (0,)),
                (at, PROPERTIES, "Get", "ss", (ACCESSIBLE, "ChildCount")),
                (at, ACCESSIBLE, "GetInterfaces", "", ()),
            ]
        answers = self._ask(calls, until)
        more: list[Call] = []
        wanted: list[tuple[Node, str]] = []
        for node, first in zip(level, range(0, len(answers), 6), strict=True):
            name, role, state, extents, count, interfaces = answers[first : first + 6]
            if role is None:
                continue  # it is gone, or its program does not answer
            node.role, node.name = role[0] or "unknown", name[0][1] if name else ""
            bits = state[0][0] | state[0][1] << 32 if state else 0
            node.states = tuple(word for bit, word in enumerate(STATES) if bits >> bit & 1)
            if extents and "showing" in node.states and "visible" in node.states and min(extents[0][2:]) > 0:
                node.box = tuple(extents[0])
            node.children = count[0][1] if count else 0
            node.interfaces = tuple(interfaces[0]) if interfaces else ()
            if "org.a11y.atspi.Text" in node.interfaces:
                more.append((node.reference, "org.a11y.atspi.Text", "GetText", "ii", (0, characters)))
                wanted.append((node, "text"))
            if "org.a11y.atspi.Value" in node.interfaces:
                for part in ("CurrentValue", "MinimumValue", "MaximumValue"):
                    more.append((node.reference, PROPERTIES, "Get", "ss", ("org.a11y.atspi.Value", part)))
                    wanted.append((node, part))
        numbers: dict[int, list[float]] = {}
        for (node, part), answer in zip(wanted, self._ask(more, until), strict=True):
            if answer is None:
                continue
            if part == "text":
                node.text = answer[0].replace("\ufffc", "").replace("\ufffd", "")[:characters]
            else:
                numbers.setdefault(id(node), []).append(float(answer[0][1]))
                if len(numbers[id(node)]) == 3:
                    current, least, most = numbers[id(node)]
                    node.value = (current, least, most)

    def _children(self, level: list[Node], until: float) -> list[tuple[int, list[Reference]]]:
        """The children of each node of a level: (place of the node, references), in the level's order. Windows that are not
        shown have theirs left out, as nothing in them can be seen; programs and the desktop itself are never "showing"."""
        narrow, found = [], dict[int, list[Reference]]()
        for place, node in enumerate(level):
            if not node.children or not node.role or (node.depth > 1 and "showing" not in node.states):
                continue
            if node.children <= WIDEST:
                narrow.append(place)
            elif "org.a11y.atspi.Table" in node.interfaces and node.box is not None:
                found[place] = self._window(node, until)
            else:
                calls: list[Call] = [(node.reference, ACCESSIBLE, "GetChildAtIndex", "i", (i,)) for i in range(WIDEST)]
                found[place] = [answer[0] for answer in self._ask(calls, until) if answer]
        asked = self._ask([(level[place].reference, ACCESSIBLE, "GetChildren", "", ()) for place in narrow], until)
        for place, answer in zip(narrow, asked, strict=True):
            if answer is not None:
                found[place] = list(answer[0])
        return sorted(found.items())

    def _window(self, table: Node, until: float) -> list[Reference]:
        """The cells of a huge table that are on the screen: found from the cell in its top left corner."""
        assert table.box is not None
        left, top, width, height = table.box
        corner = self._ask(
            [(table.reference, "org.a11y.atspi.Component", "GetAccessibleAtPoint", "iiu", (left + 2, top + 2, 0))], until
        )
        row = column = 0
        if corner[0] is not None and corner[0][0][1] != "/org/a11y/atspi/null":
            index = self._ask([(corner[0][0], ACCESSIBLE, "GetIndexInParent", "", ())], until)[0]
            if index is not None and index[0] >= 0:
                asked: list[Call] = [
                    (table.reference, "org.a11y.atspi.Table", member, "i", (index[0],))
                    for member in ("GetRowAtIndex", "GetColumnAtIndex")
                ]
                places = self._ask(asked, until)
                if places[0] is not None and places[1] is not None:
                    row, column = max(0, places[0][0]), max(0, places[1][0])
        # How far the window reaches is told by the cells of its first row and column.
        across, down = self._reach(table, row, column, left + width, top + height, until)
        calls: list[Call] = [
            (table.reference, "org.a11y.atspi.Table", "GetAccessibleAt", "ii", (row + r, column + c))
            for r in range(down)
            for c in range(across)
        ]
        return [answer[0] for answer in self._ask(calls, until) if answer]

    def _reach(self, table: Node, row: int, column: int, right: int, bottom: int, until: float) -> tuple[int, int]:
        """Columns and rows from the corner on that begin within the table's box."""
        reach = []
        for count, edge, axis in ((COLUMNS, right, 0), (ROWS, bottom, 1)):
            calls: list[Call] = [
                (table.reference, "org.a11y.atspi.Table", "GetAccessibleAt", "ii", (row + axis * i, column + (1 - axis) * i))
                for i in range(count)
            ]
            cells = [answer[0] for answer in self._ask(calls, until) if answer]
            boxes = self._ask([(cell, "org.a11y.atspi.Component", "GetExtents", "u", (0,)) for cell in cells], until)
            within = 0
            for box in boxes:
                if box is None or box[0][axis] >= edge or box[0][2 + axis] <= 0:
                    break
                within += 1
            reach.append(max(1, within))
        return reach[0], reach[1]

    def _ask(self, calls: list[Call], until: float) -> list[Any]:
        """The bodies of the answers, in order; None for an error, and for what is not there when the time is up."""
        waiting: dict[int, int] = {}
        bodies: list[Any] = [None] * len(calls)
        for place, ((name, path), interface, member, signature, body) in enumerate(calls):
            message = new_method_call(DBusAddress(path, name, interface), member, signature or None, body)
            serial = next(self.bus.outgoing_serial)
            self.bus.send(message, serial=serial)
            waiting[serial] = place
        while waiting:
            left = until - time.monotonic()
            if left <= 0:
                break
            try:
                answer = self.bus.receive(timeout=left)
            except TimeoutError:
                break
            serial = answer.header.fields.get(HeaderFields.reply_serial)
            if serial in waiting:
                place = waiting.pop(serial)
                if answer.header.message_type is not MessageType.error:
                    bodies[place] = answer.body
        return bodies


def _answered(found: list[Node]) -> list[dict[str, Any]]:
    """The nodes that answered. What hangs below one that did not is left out with it."""
    places: dict[int, int] = {-1: -1}
    kept: list[dict[str, Any]] = []
    for place, node in enumerate(found):
        if node.role and node.parent in places:
            places[place] = len(kept)
            node.parent = places[node.parent]
            kept.append(node.told())
    return kept
