r"""Free text with a boxed answer at its end: how reasoning models answer questions, and the one thing that they can do.

    <think>
    7+8=15. 3+5+1=9.
    </think>

    The sum is <|begin_of_box|>95<|end_of_box|>

What is written is a <think> block and the box. What is read may begin without the opening tag, which some chat templates write, or
have no block at all; the box may be \boxed{...} or <|begin_of_box|>...<|end_of_box|>, whatever the option says. A box inside the
<think> block is no answer. Two boxes behind it, or words behind the box, are no answer either (`stepladder.verifiers.boxes`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Literal, get_args

from stepladder.agents import history
from stepladder.agents.options import check_choice, check_count
from stepladder.agents.replies import write_past
from stepladder.agents.step_history import notes
from stepladder.interfaces import ParseError
from stepladder.types import Action, Message, Observation, Step, Task
from stepladder.values import check_text
from stepladder.verifiers.boxes import BEGIN, END, balanced, final_box, has_box

Box = Literal["tokens", "latex"]
System = Literal["full", "none"]
_OPEN = re.compile(r"\s*<think>")
_CLOSE = "</think>"
_SYSTEM = {
    "tokens": f"Think step by step inside <think></think>. Then give the final answer alone inside {BEGIN}{END}, once.",
    "latex": r"Think step by step inside <think></think>. Then give the final answer alone inside \boxed{}, once.",
}


class ReasoningAgent:
    """`box` says in which box answers are written, `system` whether the form is asked for, and `screenshots` is the number of
    pictures in a prompt, the current one included. It can say `done` with an answer, and nothing else.

    Raises ValueError for options out of range.
    """

    name = "reasoning"
    stop: tuple[str, ...] = ()

    def __init__(self, box: Box = "latex", system: System = "full", screenshots: int = 1) -> None:
        check_choice("box", box, get_args(Box))
        check_choice("system", system, get_args(System))
        self.box, self.system = box, system
        self.screenshots = check_count("screenshots", screenshots)

    def prompt(self, task: Task, steps: Sequence[Step], observation: Observation) -> tuple[Message, ...]:
        """The messages for the next decision; see `Agent.prompt`."""
        messages = history.window(
            steps,
            observation,
            screenshots=self.screenshots,
            describe=_describe,
            reply=partial(write_past, self),
            opening=lambda lines, seen: "\n".join(part for part in (task.instruction, *lines, seen.text) if part),
            follow_up=lambda previous, seen: notes([previous], 1, seen),
        )
        return (Message("system", (_SYSTEM[self.box],)), *messages) if self.system == "full" else messages

    def parse(self, text: str, observation: Observation) -> tuple[str, Action]:
        """(thought, answer) of a reply. Raises ParseError and nothing else."""
        opened = _OPEN.match(text)
        begin = opened.end() if opened else 0
        end = text.rfind(_CLOSE)
        if opened is not None and end < 0:
            raise ParseError("the <think> block is not closed", begin)
        block, rest = (text[begin:end].strip(), end + len(_CLOSE)) if end >= 0 else ("", begin)
        box = final_box(text[rest:])
        if box is None:
            what = "what is there is not that" if has_box(text[rest:]) else "there is none"
            raise ParseError(f"the reply must end with one final answer in a box; {what}", rest)
        lead = re.sub(r"(?:\\\[|\\\(|\$+|<answer>)\s*\Z", "", text[rest : rest + box.start]).strip()
        return "\n".join(part for part in (block, lead) if part), Action("done", text=box.content)

    def format(self, thought: str, action: Action, observation: Observation) -> str:
        """The reply that says `action`. Raises ValueError for all but an answer, and for texts that would be read as others."""
        if action.kind != "done" or not action.text:
            raise ValueError("this dialect can say 'done' with an answer, and nothing else")
        answer, thought = check_text(action.text), thought.strip()
        if answer != answer.strip() or has_box(answer) or not balanced(answer):
            raise ValueError(f"the answer {answer!r} cannot stand in a box")
        if "<think>" in thought or _CLOSE in thought:
            raise ValueError("a thought cannot contain the tags around it")
        block = f"<think>\n{thought}\n{_CLOSE}\n\n" if thought else ""
        written = block + (f"{BEGIN}{answer}{END}" if self.box == "tokens" else rf"\boxed{{{answer}}}")
        read = self.parse(written, observation)
        if read[1].text != answer:
            raise ValueError(f"the answer {answer!r} cannot stand in a box")
        return written


def _describe(step: Step) -> str:
    return f"unreadable reply ({step.error})" if step.action is None else f"answered {step.action.text!r}"
