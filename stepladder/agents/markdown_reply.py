"""Replies in headed sections with a block of code at the end, as OpenCUA and Kimi write them.

    # Step 3:
    ## Thought:
    The dialog is open. I name the file.
    ## Action:
    Type the name into the field.
    ## Code:
    ```python
    pyautogui.write(message='report')
    ```

In a dialect-free thought the sections stand as "Observation:", a blank line, "Thought:", and the "Action:" line at the end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from stepladder.agents.tool_call import split_thought
from stepladder.interfaces import ParseError

_NAMES = "(Observation|Thought|Action|Code)"
#: A heading with its text below: "## Thought:", "Thought:", "**Thought:**".
_HEADING = re.compile(
    rf"^[ \t]*(?:#{{1,4}}[ \t]*\**{_NAMES}\**[ \t]*:?\**|\**{_NAMES}\**:\**)[ \t]*(?=[\r\n]|\Z)", re.MULTILINE | re.I
)
#: A heading with its text behind it: "## Thought: I see".
_HEADED = re.compile(rf"^[ \t]*#{{1,4}}[ \t]*{_NAMES}[ \t]*:[ \t]*(?=[^\s])", re.MULTILINE | re.I)
_STEP = re.compile(r"^[ \t]*#{1,2}[ \t]*Step[ \t]*:?[ \t]*\d*[ \t]*:?[ \t]*$", re.MULTILINE | re.I)
_FENCE = re.compile(r"```[ \t]*(?:(?:python|code|py)\b(?![.(]))?[ \t]*[\r\n]*", re.I)
_THINK = re.compile(r"\s*(?:<think(?:ing)?>|◁think▷)")
_THINK_END = re.compile(r"</think(?:ing)?>|◁/think▷")
_SPLIT = re.compile(r"\AObservation:\n(?P<observation>.*?)(?:\n\nThought:\n(?P<thought>.*))?\Z", re.DOTALL)
_LINE_ENDS = re.compile(r"\s*\n\s*")
#: What begins a bare line of code where the fence is missing.
_BARE = re.compile(r"^[ \t]*(?:import |from |pyautogui\.|computer\.|time\.sleep)", re.MULTILINE)
#: What would end a section or begin another.
MARKUP = ("```", "<think", "</think", "◁think▷", "◁/think▷")


@dataclass(frozen=True, slots=True)
class Sections:
    """The texts of a thought; each may be empty."""

    observation: str = ""
    thought: str = ""
    action: str = ""

    @classmethod
    def of(cls, text: str) -> Sections:
        """The sections of a dialect-free thought."""
        reasoning, action = split_thought(text)
        split = _SPLIT.match(reasoning)
        action = action.removeprefix("Action:").strip()
        if split is None:
            return cls("", reasoning, action)
        return cls(split["observation"].strip(), (split["thought"] or "").strip(), action)

    @property
    def text(self) -> str:
        """The dialect-free thought."""
        reasoning = self.thought
        if self.observation:
            reasoning = f"Observation:\n{self.observation}" + (f"\n\nThought:\n{self.thought}" if self.thought else "")
        action = "Action: " + _LINE_ENDS.sub(" ", self.action) if self.action else ""
        return "\n".join(part for part in (reasoning, action) if part)


def check_sections(sections: Sections) -> None:
    """Raises ValueError for texts that would be read back as others."""
    for text in (sections.observation, sections.thought, sections.action):
        for markup in MARKUP:
            if markup in text:
                raise ValueError(f"a thought cannot contain {markup!r}")
        if _HEADING.search(text) or _HEADED.search(text) or _STEP.search(text):
            raise ValueError("a thought cannot contain a heading of this dialect, such as '## Action:'")


def read_reply(text: str) -> tuple[Sections, str, int]:
    """(sections, code, offset of the code) of a reply. Raises ParseError when there is no code."""
    begin, reasoning = 0, ""
    opened, closed = _THINK.match(text), _THINK_END.search(text)
    if closed is not None:  # the opening mark may have been written by the chat template
        reasoning = text[opened.end() if opened else 0 : closed.start()].strip()
        begin = closed.end()
    elif opened is not None:
        begin = opened.end()
    code, offset, end = _code(text, begin)
    sections = _sections(text[begin:end])
    if reasoning:
        thought = f"{reasoning}\n\n{sections.thought}" if sections.thought else reasoning
        sections = Sections(sections.observation, thought, sections.action)
    return sections, code, offset


def _code(text: str, begin: int) -> tuple[str, int, int]:
    """(code, its offset, offset of what introduces it): the last block between fences, which need not be closed."""
    fences = list(_FENCE.finditer(text, begin))
    if fences:
        # An odd number: the last block is not closed.
        opening = fences[-1] if len(fences) % 2 else fences[-2]
        end = len(text) if len(fences) % 2 else fences[-1].start()
        if len(fences) % 2 and not text[opening.end() :].strip() and len(fences) > 1:
            opening, end = fences[-2], fences[-1].start()
        code = text[opening.end() : end]
        if not code.strip():
            raise ParseError("the block of code is empty", opening.start())
        return code, opening.end(), opening.start()
    heading = next((found for found in _HEADING.finditer(text, begin) if _name(found) == "code"), None)
    bare = _BARE.search(text, heading.end() if heading else begin)
    if bare is None:
        raise ParseError("there is no block of code in the reply", len(text))
    return text[bare.start() :], bare.start(), bare.start()


def _sections(text: str) -> Sections:
    marks = [
        *((found.start(), found.end(), _name(found)) for pattern in (_HEADING, _HEADED) for found in pattern.finditer(text)),
        *((found.start(), found.end(), "step") for found in _STEP.finditer(text)),
    ]
    marks.sort()
    parts = {"": text[: marks[0][0] if marks else None].strip()}
    for index, (_, start, name) in enumerate(marks):
        parts[name] = text[start : marks[index + 1][0] if index + 1 < len(marks) else None].strip()
    thought = parts.get("thought") or parts[""]
    return Sections(parts.get("observation", ""), thought, parts.get("action", ""))


def _name(heading: re.Match[str]) -> str:
    return next(group for group in heading.groups() if group).lower()
