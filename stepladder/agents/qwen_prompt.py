"""The texts that Qwen3-VL was trained to read before it uses a computer.

Source: the `computer_use` tool of the Qwen3-VL cookbooks (cookbooks/utils/agent_function_call.py, Apache-2.0) and the response
format of OSWorld's Qwen3-VL agent; `key_down`, `key_up`, `mouse_down`, `mouse_up` follow EvoCUA's extension of the same tool.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from stepladder.types import Task

TOOL_NAME = "computer_use"

_DESCRIPTION = """\
Use a mouse and keyboard to interact with a computer, and take screenshots.
* This is an interface to a desktop GUI. You do not have access to a terminal or applications menu. You must click on desktop \
icons to start applications.
* Some applications may take time to start or process actions, so you may need to wait and take successive screenshots to see the \
results of your actions. E.g. if you click on Firefox and a window doesn't open, try wait and taking another screenshot.
* The screen's resolution is {scale}x{scale}.
* Whenever you intend to move the cursor to click on an element like an icon, you should consult a screenshot to determine the \
coordinates of the element before moving the cursor.
* If you tried clicking on a program or link but it failed to load, even after waiting, try adjusting your cursor position so that \
the tip of the cursor visually falls on the element that you want to click.
* Make sure to click any buttons, links, icons, etc with the cursor tip in the center of the element. Don't click boxes on their \
edges."""

_ACTIONS = {
    "key": "Performs key down presses on the arguments passed in order, then performs key releases in reverse order.",
    "key_down": "Press and hold the given keys.",
    "key_up": "Release the given keys.",
    "type": "Type a string of text on the keyboard.",
    "mouse_move": "Move the cursor to a specified (x, y) pixel coordinate on the screen.",
    "left_click": "Click the left mouse button at a specified (x, y) pixel coordinate on the screen.",
    "left_click_drag": "Click and drag the cursor to a specified (x, y) pixel coordinate on the screen.",
    "right_click": "Click the right mouse button at a specified (x, y) pixel coordinate on the screen.",
    "middle_click": "Click the middle mouse button at a specified (x, y) pixel coordinate on the screen.",
    "double_click": "Double-click the left mouse button at a specified (x, y) pixel coordinate on the screen.",
    "triple_click": "Triple-click the left mouse button at a specified (x, y) pixel coordinate on the screen.",
    "mouse_down": "Press and hold the left mouse button.",
    "mouse_up": "Release the left mouse button.",
    "scroll": "Performs a scroll of the mouse scroll wheel.",
    "hscroll": "Performs a horizontal scroll.",
    "wait": "Wait specified seconds for the change to happen.",
    "terminate": "Terminate the current task and report its completion status.",
    "answer": "Answer a question.",
}

_PROPERTIES: dict[str, Any] = {
    "keys": {"description": "Required only by `action=key`, `action=key_down` and `action=key_up`.", "type": "array"},
    "text": {
        "description": "Required only by `action=type` and `action=answer`. For clicks and scrolls, optional modifier keys to hold "
        "such as `ctrl+shift`.",
        "type": "string",
    },
    "coordinate": {
        "description": "(x, y): The x (pixels from the left edge) and y (pixels from the top edge) coordinates to move the mouse "
        "to.",
        "type": "array",
    },
    "start_coordinate": {
        "description": "(x, y): Where `action=left_click_drag` starts; the current cursor position by default.",
        "type": "array",
    },
    "pixels": {
        "description": "The amount of scrolling to perform. Positive values scroll up, negative values scroll down. Required only "
        "by `action=scroll` and `action=hscroll`.",
        "type": "number",
    },
    "time": {"description": "The seconds to wait. Required only by `action=wait`.", "type": "number"},
    "status": {
        "description": "The status of the task. Required only by `action=terminate`.",
        "type": "string",
        "enum": ["success", "failure"],
    },
}

#: The tools as Qwen's chat template writes them into the system message.
TOOLS = """\
# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tool}
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""

#: How to answer, in OSWorld's agent.
ACTION_RESPONSE = """\
# Response format

Response format for every step:
1) Action: a short imperative describing what to do in the UI.
2) A single <tool_call>...</tool_call> block containing only the JSON: {"name": <function-name>, "arguments": <args-json-object>}.

Rules:
- Output exactly in the order: Action, <tool_call>.
- Be brief: one sentence for Action.
- Do not output anything else outside those parts.
- If finishing, use action=terminate in the tool call."""

_SHORT = f"Use the computer: reply with one {TOOL_NAME} call."


def tool_definition(scale: int) -> dict[str, Any]:
    """The JSON schema of the tool, for a screen whose coordinates run from 0 to `scale`."""
    listing = "\n".join(f"* `{name}`: {text}" for name, text in _ACTIONS.items())
    action = {
        "description": f"The action to perform. The available actions are:\n{listing}",
        "enum": list(_ACTIONS),
        "type": "string",
    }
    return {
        "type": "function",
        "function": {
            "name_for_human": TOOL_NAME,
            "name": TOOL_NAME,
            "description": _DESCRIPTION.format(scale=scale),
            "parameters": {"properties": {"action": action, **_PROPERTIES}, "required": ["action"], "type": "object"},
            "args_format": "Format the arguments as a JSON object.",
        },
    }


def declared_functions(task: Task) -> list[dict[str, Any]]:
    """The JSON schemas of the functions that a task offers beside the computer."""
    declared = task.setup.get("functions", ())
    return [dict(one) for one in declared if isinstance(one, Mapping) and isinstance(one.get("name"), str)]


def system_text(system: str, scale: int, functions: Sequence[dict[str, Any]] = ()) -> str:
    """The system message for "full" or "short"; empty for "none". `functions` may be called beside the computer."""
    if system == "full":
        tools = [tool_definition(scale), *({"type": "function", "function": function} for function in functions)]
        return TOOLS.format(tool="\n".join(map(json.dumps, tools))) + "\n\n" + ACTION_RESPONSE
    if system == "none":
        return ""
    lines = [json.dumps(function) for function in functions]
    return "\n".join([_SHORT, *(["Or with one call of these functions:", *lines] if lines else [])])


def opening_text(system: str, instruction: str, lines: list[str], notice: str) -> str:
    """The user's text beside the first picture of the window; `lines` are the older steps."""
    notice = f"\n{notice}" if notice else ""
    if system == "full":
        history = "\n".join(lines) or "None"
        return (
            "\nPlease generate the next move according to the UI screenshot, instruction and previous actions."
            f"\n\nInstruction: {instruction}\n\nPrevious actions:\n{history}{notice}"
        )
    history = "\nPrevious actions:\n" + "\n".join(lines) if lines else ""
    return f"{instruction}{history}{notice}"
