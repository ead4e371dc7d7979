"""JavaScript dialogs (alert, confirm, prompt, beforeunload) as the agent meets them.

A page with an open dialog stands still and cannot be photographed, so the dialog is drawn over the last screenshot and its buttons
are hit here. Enter accepts, Escape dismisses, typing fills in a prompt.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

from stepladder.envs.acting import CannotDo
from stepladder.envs.browser.actions import key_name
from stepladder.envs.browser.page import Dialog
from stepladder.types import Action, Box, Element

_PADDING = 8
_BUTTON = (42, 18)
_LEAVE = "Leave the page? Changes may not be saved."


@dataclass(slots=True)
class DialogState:
    """An open dialog and what has been typed into it. Like a browser, it starts with the suggested text selected."""

    dialog: Dialog
    typed: str = ""
    selected: bool = True

    @classmethod
    def of(cls, dialog: Dialog) -> DialogState:
        return cls(dialog, dialog.default)

    @property
    def message(self) -> str:
        return self.dialog.message or (_LEAVE if self.dialog.kind == "beforeunload" else "")

    @property
    def text(self) -> str:
        """What `Observation.text` says."""
        answer = f" (answer: {self.typed!r})" if self.dialog.kind == "prompt" else ""
        return f"{self.dialog.kind} dialog: {self.message}{answer}"

    def boxes(self, width: int, height: int) -> dict[str, Box]:
        """Places of "panel", "OK", and where they exist "Cancel" and "field", on a screen of this size."""
        panel_width = min(width - 8, 320)
        lines = len(_wrap(self.message, panel_width - 2 * _PADDING))
        field_height = 20 if self.dialog.kind == "prompt" else 0
        fixed = 3 * _PADDING + field_height + _BUTTON[1]
        lines = max(1, min(lines, (height - 8 - fixed) // _LINE))
        panel_height = fixed + lines * _LINE
        left, top = (width - panel_width) / 2, max(4.0, min(40.0, (height - panel_height) / 2))
        right, bottom = left + panel_width, top + panel_height
        boxes = {"panel": (left, top, panel_width, panel_height)}
        button_top = bottom - _PADDING - _BUTTON[1]
        boxes["OK"] = (right - _PADDING - _BUTTON[0], button_top, *_BUTTON)
        if self.dialog.kind != "alert":
            boxes["Cancel"] = (right - 2 * _PADDING - 2 * _BUTTON[0], button_top, *_BUTTON)
        if field_height:
            boxes["field"] = (left + _PADDING, button_top - field_height - 2, panel_width - 2 * _PADDING, field_height - 2)
        return {name: (float(x), float(y), float(w), float(h)) for name, (x, y, w, h) in boxes.items()}

    def draw(self, screenshot: bytes | None, width: int, height: int) -> bytes:
        """The dialog over a screenshot, PNG to PNG; over white where there is none, `width` x `height` pixels."""
        image = Image.new("RGB", (width, height), "white")
        if screenshot is not None:
            with Image.open(io.BytesIO(screenshot)) as opened:
                image = opened.convert("RGB")
        image = Image.blend(image, Image.new("RGB", image.size, "black"), 0.25)
        pen = ImageDraw.Draw(image)
        boxes = self.boxes(*image.size)
        left, top, panel_width, _ = boxes["panel"]
        pen.rectangle(_corners(boxes["panel"]), fill="white", outline="#5f6368")
        limit = (boxes.get("field", boxes["OK"])[1] - top - _PADDING) // _LINE
        for number, line in enumerate(_wrap(self.message, panel_width - 2 * _PADDING)[: int(limit)]):
            pen.text((left + _PADDING, top + _PADDING + number * _LINE), line, fill="black", font=_font())
        for name in ("OK", "Cancel"):
            if name in boxes:
                _draw_button(pen, boxes[name], name)
        if "field" in boxes:
            x, y, field_width, _ = boxes["field"]
            pen.rectangle(_corners(boxes["field"]), fill="white", outline="#1a73e8")
            shown = self.typed
            while shown and _font().getlength(shown) > field_width - 6:
                shown = shown[1:]
            if self.selected and shown:
                pen.rectangle((x + 2, y + 2, x + 4 + _font().getlength(shown), y + 15), fill="#b4d5fe")
            pen.text((x + 3, y + 3), shown, fill="black", font=_font())
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()

    def elements(self, width: int, height: int) -> tuple[Element, ...]:
        """The dialog as an accessibility tree."""
        boxes = self.boxes(width, height)
        found = [Element("alertdialog", self.message, box=boxes["panel"])]
        if "field" in boxes:
            found.append(Element("textbox", value=self.typed, box=boxes["field"], states=("focused",), parent=0))
        found += [Element("button", name, box=boxes[name], parent=0) for name in ("Cancel", "OK") if name in boxes]
        return tuple(found)

    def act(self, action: Action, width: int, height: int) -> Literal["accept", "dismiss"] | None:
        """What an action does to the dialog; None leaves it open. Raises CannotDo for what does not reach a dialog."""
        if action.kind in ("click", "double_click", "triple_click", "mouse_up") and action.x is not None and action.y is not None:
            return self._click(action.x, action.y, width, height)
        if action.kind == "key":
            return self._key("+".join(key_name(name) for name in action.keys))
        if action.kind == "type":
            return self._type(action.text)
        if action.kind == "wait":
            return None
        raise CannotDo(f"the page waits for its {self.dialog.kind} dialog to be answered")

    def _click(self, x: float, y: float, width: int, height: int) -> Literal["accept", "dismiss"] | None:
        hit = [name for name, (left, top, w, h) in self.boxes(width, height).items() if left <= x < left + w and top <= y < top + h]
        if "OK" in hit:
            return "accept"
        if "Cancel" in hit:
            return "dismiss"
        if "field" in hit:
            self.selected = False
        return None

    def _key(self, keys: str) -> Literal["accept", "dismiss"] | None:
        if keys in ("enter", "space"):
            return "accept" if keys == "enter" or self.dialog.kind != "prompt" else self._type(" ")
        if keys == "escape":
            return "dismiss"
        if keys in ("backspace", "delete"):
            self.typed = "" if self.selected else self.typed[:-1]
            self.selected = False
        elif keys == "ctrl+a":
            self.selected = True
        elif len(keys) == 1:
            return self._type(keys)
        else:
            raise CannotDo(f"the page waits for its {self.dialog.kind} dialog to be answered")
        return None

    def _type(self, text: str) -> Literal["accept", "dismiss"] | None:
        line, newline, _ = text.replace("\r", "\n").partition("\n")
        if self.dialog.kind == "prompt":
            self.typed = line if self.selected else self.typed + line
            self.selected = self.selected and not line
        elif line:
            raise CannotDo(f"there is nothing to type into in this {self.dialog.kind} dialog")
        return "accept" if newline else None


_LINE = 13


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=11)


def _corners(box: Box) -> tuple[float, float, float, float]:
    left, top, width, height = box
    return left, top, left + width - 1, top + height - 1


def _draw_button(pen: ImageDraw.ImageDraw, box: Box, name: str) -> None:
    pen.rounded_rectangle(_corners(box), radius=3, fill="#1a73e8" if name == "OK" else "white", outline="#1a73e8")
    center = (box[0] + box[2] / 2, box[1] + box[3] / 2)
    pen.text(center, name, fill="white" if name == "OK" else "#1a73e8", font=_font(), anchor="mm")


def _wrap(text: str, width: float) -> list[str]:
    """Lines no wider than `width` pixels (or one character), broken at spaces where there are any."""
    lines: list[str] = []
    for paragraph in text.splitlines()[:50]:
        line = ""
        for word in paragraph[:1000].split(" "):
            while len(word) > 1 and _font().getlength(word) > width:
                cut = max(n for n in range(1, len(word) + 1) if n == 1 or _font().getlength(word[:n]) <= width)
                lines, line, word = [*lines, *([line] if line else []), word[:cut]], "", word[cut:]
            joined = f"{line} {word}" if line else word
            if _font().getlength(joined) <= width:
                line = joined
            else:
                lines, line = [*lines, line], word
        lines.append(line)
    return lines or [""]
