"""OSWorld's "pyautogui" action space: Python in a block of code, which is read and never run.

    The dialog asks for a name.
    ```python
    pyautogui.click(x=612, y=340)
    pyautogui.write(message='report')
    ```

done    ```DONE```, which has no place for an answer
fail    ```FAIL```, which has no place for a reason
wait    ```WAIT``` for 2 seconds, OSWorld's pause; time.sleep(s) for others
With `observation_type="som"` the names of marked elements (tag_3) are places.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from stepladder.agents.fenced import Block, blocks, lead
from stepladder.agents.folding import fold
from stepladder.agents.marks import marked_places
from stepladder.agents.osworld_agent import WAIT_SECONDS, OSWorldAgent
from stepladder.agents.osworld_prompt import ObservationType
from stepladder.agents.pyautogui_calls import Words, bare_word, in_short, read_actions, write_actions
from stepladder.interfaces import ParseError
from stepladder.types import Action, Observation, Step

WORDS = Words("pyautogui.tripleClick", "WAIT", WAIT_SECONDS, bare_word)
#: Among other lines a wait is a line of Python, and DONE or FAIL may stand last.
_IN_CODE = Words("pyautogui.tripleClick", "WAIT", math.nan, bare_word)
_WORD = re.compile(r"(?:\A|(?<=[\n`.:]))[ \t*]*(WAIT|DONE|FAIL)[\s*.!`]*\Z")
_BARE = re.compile(r"^[ \t]*(?:import |from |pyautogui\.|time\.sleep)", re.MULTILINE)
_RULES = """\
Write the action as Python code that uses `pyautogui`, one line or more in one block; no variable lasts from step to step:
```python
pyautogui.click(x=100, y=200)
pyautogui.write(message='text')
```
Do not use `pyautogui.locateCenterOnScreen` or `pyautogui.screenshot`. Put `time.sleep(0.5)` between lines where the \
computer needs time.
Write ```WAIT``` to wait, ```DONE``` when the task is done, and ```FAIL``` when it cannot be done."""
_TAGS = (
    "\nIn the place of x and y you can write the tag of an element: pyautogui.click(tag_2), pyautogui.dragTo(tag_1, button='left')."
)


class OSWorldPyAutoGUIAgent(OSWorldAgent):
    """The dialect of OSWorld's "pyautogui" action space.

    `observation_type` is what the model is shown: "screenshot", "a11y_tree" (the accessibility tree as a table), both in
    "screenshot_a11y_tree", or "som" (marks drawn by `stepladder.rollout.marked` and the list of them). `screenshots` is the
    number of observations in a prompt, the current one included; a tree is cut after `tree_characters`; `password` is told to the
    model if there is one. Raises ValueError for options out of range.
    """

    name = "osworld_pyautogui"

    def __init__(
        self,
        observation_type: ObservationType = "screenshot",
        screenshots: int = 4,
        tree_characters: int = 40_000,
        password: str = "",
    ) -> None:
        rules = _RULES + (_TAGS if observation_type == "som" else "")
        super().__init__(rules, observation_type, screenshots, tree_characters, password)

    def parse_several(self, text: str, observation: Observation) -> tuple[str, tuple[Action, ...]]:
        """(thought, actions) of a reply. Raises ParseError and nothing else."""
        names = marked_places(observation.tree) if self.observation_type == "som" else {}
        found = _pieces(text)
        actions: list[Action] = []
        for block in found:
            actions += read_actions(block.text, block.offset, self.places(observation), WAIT_SECONDS, names)
        return lead(text, found[0].start), fold(actions)

    def write_blocks(self, actions: Sequence[Action], observation: Observation) -> str:
        code = write_actions(actions, self.places(observation), WORDS if len(actions) == 1 else _IN_CODE)
        return f"```{code}```" if code in ("WAIT", "DONE", "FAIL") else f"```python\n{code}\n```"

    def describe(self, step: Step) -> str:
        return in_short(step, self.places(step.observation), WORDS)


def _pieces(text: str) -> list[Block]:
    """The pieces of code of a reply, in order. Raises ParseError when there is none."""
    found = blocks(text)
    tail = text[text.rfind("```") + 3 :] if found else text
    if not found:
        bare = _BARE.search(text)
        if bare is not None:
            return [Block(text[bare.start() :], bare.start(), bare.start())]
    word = _WORD.search(tail)
    if word is not None and not (found and found[-1].offset + len(found[-1].text) >= len(text)):
        before = len(text) - len(tail)
        found.append(Block(word[1], before + word.start(1), before + word.start()))
    if not found:
        raise ParseError("there is no block of code in the reply", len(text))
    return found
