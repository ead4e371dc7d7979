"""HTML drag and drop: what the mouse does while the page drags something by itself."""

from __future__ import annotations

from typing import Any

from stepladder.envs.browser.page import Page

DRAG_EVENTS = {"mouseMoved": ("dragEnter", "dragOver"), "mouseReleased": ("dragOver", "drop")}


async def drag_on(page: Page, mouse: dict[str, Any]) -> None:
    """While the page drags something by itself (HTML drag and drop), the mouse's moves and release move and drop that."""
    for kind in DRAG_EVENTS[mouse["type"]]:
        params = {"type": kind, "x": mouse["x"], "y": mouse["y"], "data": page.drag_data, "modifiers": mouse["modifiers"]}
        await page.call("Input.dispatchDragEvent", params)
    if mouse["type"] == "mouseReleased":
        page.drag_data = None
