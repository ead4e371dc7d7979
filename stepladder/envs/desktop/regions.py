"""What stands where on a desktop, from its accessibility tree: the regions that perception asks about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stepladder.types import Box, Element, Region

#: Kinds of regions by role, in the words of AT-SPI and in those of browsers.
KINDS = {
    **dict.fromkeys(("push button", "button", "toggle button"), "button"),
    **dict.fromkeys(("check box", "checkbox", "check menu item", "menuitemcheckbox"), "checkbox"),
    **dict.fromkeys(("radio button", "radio", "radio menu item", "menuitemradio"), "radio"),
    **dict.fromkeys(("entry", "text", "textbox", "searchbox"), "textbox"),
    **dict.fromkeys(("password text",), "password"),
    **dict.fromkeys(("combo box", "combobox"), "combobox"),
    **dict.fromkeys(("spin button", "spinbutton"), "spinbutton"),
    **dict.fromkeys(("page tab", "tab"), "tab"),
    **dict.fromkeys(("menu item", "menuitem", "menu"), "menuitem"),
    **dict.fromkeys(("list item", "option"), "option"),
    **dict.fromkeys(("tree item", "treeitem"), "treeitem"),
    **dict.fromkeys(("icon", "image"), "icon"),
    "link": "link",
    "slider": "slider",
}
#: Roles whose name is text on the screen.
TEXTS = ("label", "static", "paragraph", "heading", "StaticText")
#: Kinds whose content, not whose name, is written in them.
FILLED = ("textbox", "password", "combobox", "spinbutton", "slider")


def tree_regions(tree: Sequence[Element], width: int, height: int) -> tuple[Region, ...]:
    """The regions of a screen of so many pixels, in the order of the tree: widgets with their kinds, and lines of text as one
    "word" each. Nodes without a place, without an area or beside the screen are left out; boxes are cut to the screen.

    A tree does not say what lies above what: what a window hides is listed as well.
    """
    return tuple(_found(tree, width, height))


def _found(tree: Sequence[Element], width: int, height: int) -> Iterator[Region]:
    for element in tree:
        box = _visible(element.box, width, height)
        if box is None:
            continue
        kind, text = KINDS.get(element.role), element.name.strip()
        if element.role in TEXTS and (text or element.value.strip()):
            yield Region(text or element.value.strip(), "word", box, None, "", element.states)
        elif kind is not None:
            if kind in FILLED:
                text = element.value if kind != "password" else ""
            yield Region(text, "textarea" if "\n" in text else kind, box, box, kind, element.states)


def _visible(box: Box | None, width: int, height: int) -> Box | None:
    """The part of a box that is on the screen; None for none."""
    if box is None:
        return None
    left, top = max(0.0, box[0]), max(0.0, box[1])
    right, bottom = min(float(width), box[0] + box[2]), min(float(height), box[1] + box[3])
    return (left, top, right - left, bottom - top) if right - left >= 1 and bottom - top >= 1 else None
