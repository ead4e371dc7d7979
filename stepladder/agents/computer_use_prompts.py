"""What published agents of the Qwen family read before they use a computer, word for word.

Sources (Apache-2.0 all): the cookbooks of Qwen2.5-VL and Qwen3-VL (cookbooks/utils/agent_function_call.py and computer_use.ipynb),
and OSWorld's agents of Qwen2.5-VL, Qwen3-VL and EvoCUA (mm_agents/).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from stepladder.agents.qwen_prompt import TOOL_NAME, TOOLS

GREETING = "You are a helpful assistant."
#: What OSWorld's agent of Qwen2.5-VL writes in its place.
GREETING_WITHOUT_STOP = "You are a helpful assistant"

_EXACT = " at a specified (x, y) pixel coordinate on the screen"
_KEY = "Performs key down presses on the arguments passed in order, then performs key releases in reverse order."
_SIMULATED = " (simulated as double-click since it's the closest action)"
_STATUS = {"type": "string", "enum": ["success", "failure"]}


def _action_lines(clicks: str, triple: str | None, held: bool = False) -> str:
    """The list of actions; `clicks` is what follows "Click the left mouse button", `triple` the same for a triple click (None:
    Qwen2.5, which has neither that nor hscroll and answer)."""
    lines = [("key", _KEY)]
    if held:
        lines += [
            (
                "key_down",
                "Press and HOLD the specified key(s) down in order (no release). Use this for stateful holds like holding Shift "
                "while clicking.",
            ),
            ("key_up", "Release the specified key(s) in reverse order."),
        ]
    lines += [
        ("type", "Type a string of text on the keyboard."),
        ("mouse_move", "Move the cursor to a specified (x, y) pixel coordinate on the screen."),
        ("left_click", f"Click the left mouse button{clicks}."),
        ("left_click_drag", "Click and drag the cursor to a specified (x, y) pixel coordinate on the screen."),
        ("right_click", f"Click the right mouse button{clicks}."),
        ("middle_click", f"Click the middle mouse button{clicks}."),
        ("double_click", f"Double-click the left mouse button{clicks}."),
    ]
    if triple is not None:
        lines.append(("triple_click", f"Triple-click the left mouse button{triple}."))
    lines.append(("scroll", "Performs a scroll of the mouse scroll wheel."))
    if triple is not None:
        lines.append(("hscroll", "Performs a horizontal scroll (mapped to regular scroll)."))
    lines += [
        ("wait", "Wait specified seconds for the change to happen."),
        ("terminate", "Terminate the current task and report its completion status."),
    ]
    if triple is not None:
        lines.append(("answer", "Answer a question."))
    return "\n".join(f"* `{name}`: {text}" for name, text in lines)


def _description(size: tuple[int, int], *, terminal: bool = True, comma: bool, unless_asked: bool) -> str:
    """What the tool is. The three wordings differ by a sentence, a comma and two words."""
    no_terminal = " You do not have access to a terminal or applications menu." if terminal else ""
    return (
        "Use a mouse and keyboard to interact with a computer, and take screenshots.\n"
        f"* This is an interface to a desktop GUI.{no_terminal} You must click on desktop icons to start applications.\n"
        "* Some applications may take time to start or process actions, so you may need to wait and take successive screenshots to "
        "see the results of your actions. E.g. if you click on Firefox and a window doesn't open, try wait and taking another "
        "screenshot.\n"
        f"* The screen's resolution is {size[0]}x{size[1]}.\n"
        "* Whenever you intend to move the cursor to click on an element like an icon, you should consult a screenshot to "
        "determine the coordinates of the element before moving the cursor.\n"
        f"* If you tried clicking on a program or link but it failed to load{',' if comma else ''} even after waiting, try "
        "adjusting your cursor position so that the tip of the cursor visually falls on the element that you want to click.\n"
        "* Make sure to click any buttons, links, icons, etc with the cursor tip in the center of the element. Don't click boxes "
        f"on their edges{' unless asked' if unless_asked else ''}."
    )


def _tool(description: str, actions: str, enum: Sequence[str], fields: dict[str, Any], qwen_agent: bool = True) -> dict[str, Any]:
    """The definition. `qwen_agent` adds the two fields that Qwen-Agent of 2025-01 put in, which the Qwen3-VL cookbook lacks."""
    action = {"description": actions, "enum": list(enum), "type": "string"}
    parameters = {"properties": {"action": action, **fields}, "required": ["action"], "type": "object"}
    function: dict[str, Any] = {"name": TOOL_NAME, "description": description, "parameters": parameters}
    if qwen_agent:
        function = {"name_for_human": TOOL_NAME, **function, "args_format": "Format the arguments as a JSON object."}
    return {"type": "function", "function": function}


_BASIC = ("key", "type", "mouse_move", "left_click", "left_click_drag", "right_click", "middle_click", "double_click")
_BASIC_25 = (*_BASIC, "scroll", "wait", "terminate")
_SHORT_FIELDS: dict[str, Any] = {
    "keys": {"description": "Required only by `action=key`.", "type": "array"},
    "text": {"description": "Required only by `action=type`.", "type": "string"},
    "coordinate": {"description": "The x,y coordinates for mouse actions.", "type": "array"},
    "pixels": {"description": "The amount of scrolling.", "type": "number"},
    "time": {"description": "The seconds to wait.", "type": "number"},
    "status": {"description": "The status of the task.", **_STATUS},
}
_PLACE = "(x, y): The x (pixels from the left edge) and y (pixels from the top edge) coordinates to move the mouse to."


def _long_fields(answer: bool) -> dict[str, Any]:
    """The fields as the cookbooks describe them; `answer` for Qwen3-VL."""
    text = "`action=type` and `action=answer`" if answer else "`action=type`"
    place = _PLACE if answer else f"{_PLACE} Required only by `action=mouse_move` and `action=left_click_drag`."
    scroll = "`action=scroll` and `action=hscroll`" if answer else "`action=scroll`"
    amount = "The amount of scrolling to perform. Positive values scroll up, negative values scroll down."
    return {
        "keys": {"description": "Required only by `action=key`.", "type": "array"},
        "text": {"description": f"Required only by {text}.", "type": "string"},
        "coordinate": {"description": place, "type": "array"},
        "pixels": {"description": f"{amount} Required only by {scroll}.", "type": "number"},
        "time": {"description": "The seconds to wait. Required only by `action=wait`.", "type": "number"},
        "status": {"description": "The status of the task. Required only by `action=terminate`.", **_STATUS},
    }


def qwen3_cookbook(size: tuple[int, int]) -> dict[str, Any]:
    """The tool of Qwen3-VL's cookbook. `size` is the width and height that coordinates refer to; 1000 x 1000 there."""
    actions = "The action to perform. The available actions are:\n" + _action_lines(_EXACT, _EXACT + _SIMULATED)
    enum = (*_BASIC, "triple_click", "scroll", "hscroll", "wait", "terminate", "answer")
    description = _description(size, comma=True, unless_asked=False)
    return _tool(description, actions, enum, _long_fields(answer=True), qwen_agent=False)


def qwen3_osworld(size: tuple[int, int]) -> dict[str, Any]:
    """The tool of OSWorld's agent of Qwen3-VL. Its list of actions names three that its enum lacks."""
    actions = "\n" + _action_lines(_EXACT, _EXACT + _SIMULATED) + "\n        "
    return _tool(_description(size, comma=False, unless_asked=True), actions, _BASIC_25, _SHORT_FIELDS)


def qwen25_cookbook(size: tuple[int, int]) -> dict[str, Any]:
    """The tool of Qwen2.5-VL's cookbook; `size` is that of the picture as the model sees it."""
    actions = "The action to perform. The available actions are:\n" + _action_lines("", None)
    description = _description(size, comma=True, unless_asked=True)
    return _tool(description, actions, _BASIC_25, _long_fields(answer=False))


def qwen25_osworld(size: tuple[int, int]) -> dict[str, Any]:
    """The tool of OSWorld's agent of Qwen2.5-VL, which does not say the size of the screen."""
    description = "Use a mouse and keyboard to interact with a computer, and take screenshots."
    return _tool(description, "The action to perform.", _BASIC_25, _SHORT_FIELDS)


def evocua(size: tuple[int, int]) -> dict[str, Any]:
    """The tool of EvoCUA in the style S2."""
    actions = "\n" + _action_lines(_EXACT, _EXACT, held=True) + "\n"
    enum = (*_BASIC, "triple_click", "scroll", "wait", "terminate", "key_down", "key_up")
    return _tool(_description(size, terminal=False, comma=False, unless_asked=True), actions, enum, _SHORT_FIELDS)


ToolDefinition = Callable[[tuple[int, int]], dict[str, Any]]


def tools_text(tool: dict[str, Any], functions: Sequence[dict[str, Any]], greeting: str = "", response: str = "") -> str:
    """The system message: `greeting`, the tools as Qwen's chat template writes them, and how to answer."""
    tools = [tool, *({"type": "function", "function": function} for function in functions)]
    return "\n\n".join(part for part in (greeting, TOOLS.format(tool="\n".join(map(json.dumps, tools))), response) if part)


#: How to answer in the mobile agent of Qwen3-VL's cookbooks: with a thought.
THOUGHT_RESPONSE = """\
# Response format

Response format for every step:
1) Thought: one concise sentence explaining the next move (no multi-step reasoning).
2) Action: a short imperative describing what to do in the UI.
3) A single <tool_call>...</tool_call> block containing only the JSON: {"name": <function-name>, "arguments": <args-json-object>}.

Rules:
- Output exactly in the order: Thought, Action, <tool_call>.
- Be brief: one sentence for Thought, one for Action.
- Do not output anything else outside those three parts.
- If finishing, use action=terminate in the tool call."""

#: What the cookbooks add to the user's text to have the model reason first.
THINKING_REQUEST = (
    "Before answering, explain your reasoning step-by-step in <thinking></thinking> tags, and insert them before the "
    "<tool_call></tool_call> XML tags."
)


def cookbook_text(instruction: str, lines: Sequence[str], notice: str) -> str:
    """The user's text beside the first picture, as in the agents of Qwen's cookbooks."""
    done = "; ".join(lines) or "None"
    progress = f"Task progress (You have done the following operation on the current device): {done}."
    return "\n".join(part for part in (f"The user query: {instruction}", progress, notice) if part)
