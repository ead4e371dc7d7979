"""How much is said before an action: three levels of a dialect-free thought, each of which holds the one before it (OpenCUA, arXiv
2508.09123, section 3: L1, L2, L3).

    action        Action: Click the "Send" button.

    thought       Done: 1 of 2, type "Hi". The text is written. Next: click the "Send" button.
                  Action: Click the "Send" button.

    observation   Observation:
                  I see textbox "Hi"; button "Send".

                  Thought:
                  Done: 1 of 2, type "Hi". The text is written. Next: click the "Send" button.
                  Action: Click the "Send" button.

A dialect writes them in its own form: a <think> block, headed sections.
"""

from __future__ import annotations

from typing import Literal, get_args

from stepladder.agents.markdown_reply import Sections

Level = Literal["action", "thought", "observation"]
LEVELS: tuple[str, ...] = get_args(Level)
#: What a model is told that is to answer at a level.
REQUESTS: dict[str, str] = {
    "action": "Answer with the action alone.",
    "thought": "Think, then act.",
    "observation": "Say what you see, think, then act.",
}


def at_level(thought: str, level: str) -> str:
    """`thought` without what goes beyond `level`, one of LEVELS."""
    parts = Sections.of(thought)
    if level == "action":
        parts = Sections(action=parts.action)
    elif level == "thought":
        parts = Sections(thought=parts.thought, action=parts.action)
    return parts.text


def level_of(thought: str) -> str:
    """The lowest level that holds all of `thought`."""
    parts = Sections.of(thought)
    if parts.observation:
        return "observation"
    return "thought" if parts.thought else "action"
