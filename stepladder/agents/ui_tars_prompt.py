"""What UI-TARS reads before it uses a computer, word for word.

Sources (Apache-2.0 both): OSWorld's agents (mm_agents/uitars_agent.py, uitars15_v1.py, uitars15_v2.py) and UI-TARS' own repository
(codes/ui_tars/prompt.py).
"""

from __future__ import annotations

SYSTEM = "You are a helpful assistant."

_TASK = (
    "You are a GUI agent. You are given a task and your action history, with screenshots. You need to perform the next action to "
    "complete the task."
)
_ESCAPES = (
    "Use escape characters \\', \\\", and \\n in content part to ensure we can parse the content in normal python string format."
)
_WAIT = "wait() #Sleep for 5s and take a screenshot to check for any changes."
_DIRECTION = "direction='down or up or right or left'"
_CALL_USER = "call_user() # Submit the task and call the user when the task is unsolvable, or when you need the user's help."

_BOX = "'<|box_start|>(x1,y1)<|box_end|>'"
_BOX_CALLS = f"""\
click(start_box={_BOX})
left_double(start_box={_BOX})
right_single(start_box={_BOX})
drag(start_box={_BOX}, end_box='<|box_start|>(x3,y3)<|box_end|>')
hotkey(key='')
type(content='') #If you want to submit your input, use "\\n" at the end of `content`.
scroll(start_box={_BOX}, {_DIRECTION})
{_WAIT}
"""

_POINT = "'<point>x1 y1</point>'"
_POINT_CALLS = f"""\
click(point={_POINT})
left_double(point={_POINT})
right_single(point={_POINT})
drag(start_point={_POINT}, end_point='<point>x2 y2</point>')
hotkey(key='ctrl c') # Split keys with a space and use lowercase. Also, do not use more than 3 keys in one hotkey action.
type(content='xxx') # {_ESCAPES} If you want to submit your input, use \\n at the end of content. \

scroll(point={_POINT}, {_DIRECTION}) # Show more information on the `direction` side.
{_WAIT}
finished(content='xxx') # {_ESCAPES}
"""

_PLAIN_FORM = """\
## Output Format
```
Thought: ...
Action: ...
```
"""

_THINKING_FORM = """\
## Output Format
You should first think about the reasoning process in the mind and then provide the user with the answer. \

The reasoning process is enclosed within <think> </think> tags
After the <think> tags, you should place final answer, which concludes your summarized thought and your action.

For example,
```
<think>detailed reasoning content here</think>
Thought: a small plan and finally summarize your next action (with its target element) in one sentence
Action: ...
```
"""

_THINKING_EXAMPLE = """\
## Output Example
<think>Now that...</think>
Thought: Let's click ...
Action: click(point='<point>100 200</point>')
"""

_NOTE = """\
## Note
- Use {language} in `Thought` part.
- Write a small plan and finally summarize your next action (with its target element) in one sentence in `Thought` part.
"""

_REPEATED = (
    "- If you have executed several same actions (like repeatedly clicking the same point) but the screen keeps no change, please "
    "try to execute a modified action when necessary.\n"
)


def box_prompt(instruction: str, *, language: str, thought: bool, answer: bool, call_user: bool) -> str:
    """The prompt of UI-TARS 1.0 and 1.5 with places as boxes. Without `thought` it asks for the action alone; `answer` lets
    `finished` take a content, `call_user` offers the call that gives up."""
    calls = _BOX_CALLS + (f"finished(content='xxx') # {_ESCAPES}\n" if answer else "finished()\n")
    calls += f"{_CALL_USER}\n" if call_user else ""
    if not thought:
        form = "## Output Format\n```\nAction: ...\n```\n"
        return f"{_TASK} \n{form}## Action Space\n{calls}## User Instruction\n{instruction}\n"
    note = _NOTE.format(language=language)
    return f"{_TASK} \n\n{_PLAIN_FORM}\n## Action Space\n\n{calls}\n\n{note}\n## User Instruction\n{instruction}\n"


def point_prompt(instruction: str, *, language: str, thinking: bool, call_user: bool) -> str:
    """The prompt of UI-TARS 1.5 and 2 with places as points; with `thinking` it asks for a <think> block first."""
    form = _THINKING_FORM if thinking else _PLAIN_FORM
    calls = _POINT_CALLS + (f"{_CALL_USER}\n" if call_user else "")
    # The published prompts have one empty line more where there is no example.
    example = f"\n{_THINKING_EXAMPLE}" if thinking else "\n"
    note = _NOTE.format(language=language) + (_REPEATED if thinking else "")
    return f"{_TASK}\n\n{form}\n## Action Space\n\n{calls}{example}\n{note}\n## User Instruction\n{instruction}\n"
