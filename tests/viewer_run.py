"""Run directories for tests of the viewer's pages: drawn screens with trees, replies with tokens, prompts, groups, alarms."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from stepladder.alarms import FILE, Alarm
from stepladder.images import ImageStore
from stepladder.run import Run
from stepladder.store import TrajectoryStore
from stepladder.types import Action, Completion, Element, Message, Observation, Prompt, Step, Task, Trajectory

WIDTH, HEIGHT = 640, 400
BUTTONS = {"Open": (40, 90), "Save": (40, 150), "Close": (40, 210)}
TASK = Task("press-buttons", "Press Open, write a name, then Save.", "made-up", max_steps=6, tags=("made-up",))
OTHER = Task("scroll-down", "Scroll to the end of the list.", "made-up")
#: Runs when it becomes part of a page as markup.
HOSTILE = (
    "</script><script>globalThis.broken = 1</script>"
    "<img src=x onerror=\"globalThis.broken = 2\"><svg onload='globalThis.broken = 3'>"
)


def screen(images: ImageStore, pressed: Sequence[str] = (), seed: int = 0) -> Observation:
    """A window with three buttons; those that were pressed are dark."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), "#f4f6f8")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, WIDTH, 40), fill="#2e5d82")
    draw.text((14, 12), f"Document {seed}", fill="white")
    elements = [
        Element("window", f"Document {seed}", box=(0, 0, WIDTH, HEIGHT)),
        Element("toolbar", box=(30, 80, 160, 190), parent=0),
    ]
    for name, (left, top) in BUTTONS.items():
        dark = name in pressed
        draw.rounded_rectangle((left, top, left + 120, top + 40), 6, fill="#2e5d82" if dark else "#ffffff", outline="#8aa0b2")
        draw.text((left + 40, top + 14), name, fill="white" if dark else "black")
        states = ("pressed",) if dark else ()
        elements.append(Element("button", name, box=(left, top, 120, 40), states=states, parent=1))
    elements.append(Element("textbox", "Name", value="Aurelie" if pressed else "", box=(240, 90, 300, 40), parent=0))
    draw.rectangle((240, 90, 540, 130), fill="white", outline="#8aa0b2")
    reference = images.put_pixels(np.asarray(picture))
    return Observation(reference, tuple(elements), url="https://example.org/", state_key=f"{seed} {' '.join(pressed)}")


def reply(text: str, random: Random) -> tuple[Completion, dict[str, list[float]]]:
    """A completion of one token a word, and what a trainer keeps of each token."""
    words = text.split()
    tokens = np.arange(100, 100 + len(words), dtype=np.int32)
    logprobs = np.array([-random.random() * 4 for _ in words], dtype=np.float32)
    entropies = np.array([random.random() for _ in words], dtype=np.float32)
    extra = {"advantages": [random.uniform(-1, 1) for _ in words]}
    return Completion(text, tokens, logprobs, usage={"cost": 0.002}, entropies=entropies), extra


def episode(
    images: ImageStore, seed: int, actions: Sequence[Action], reward: float | None, policy: str, index: int = 0
) -> Trajectory:
    """An episode of `TASK`; whoever presses a button sees it dark afterwards."""
    random = Random(f"{seed} {policy} {index}")
    pressed: tuple[str, ...] = ()
    steps = []
    for number, action in enumerate(actions):
        seen = screen(images, pressed, seed)
        assert seen.screenshot is not None
        said, extra = reply(f"I look at the window. Action: {action.kind} number {number}.", random)
        content = ("You use a computer. " * 120, seen.screenshot, TASK.instruction)
        prompt = Prompt((Message("system", content[:1]), Message("user", content[1:])), np.arange(340, dtype=np.int32))
        seconds = {"observe": 0.02, "decide": 0.3 + 0.1 * number, "act": 0.08}
        steps.append(Step(seen, action, f"Step {number}: it is time to {action.kind}.", prompt, said, seconds=seconds, extra=extra))
        pressed = (*pressed, *(name for name, box in BUTTONS.items() if action.kind == "click" and _in(box, action)))
    name = f"press-{seed}-{policy}-{index}"
    status = "env_error" if reward is None else "done"
    group = f"update-0/press/{seed}"
    parts = {"format": 0.1, "length": -0.05 * len(actions)}
    final = screen(images, pressed, seed)
    error = "the window is gone" if reward is None else None
    return Trajectory(name, TASK, tuple(steps), final, status, reward, parts, group, index, seed, "made-up agent", policy, error)


def press(name: str) -> Action:
    left, top = BUTTONS[name]
    return Action("click", x=left + 60, y=top + 20)


#: Every kind of action that a screen can show.
ALL_ACTIONS = (
    press("Open"),
    Action("type", text="Aurelie"),
    Action("drag", x=100, y=300, x2=400, y2=350),
    Action("scroll", x=300, y=200, amount=-3),
    Action("double_click", x=390, y=110),
    Action("right_click", x=200, y=330, keys=("ctrl",)),
    Action("key", keys=("ctrl", "s")),
    Action("wait", seconds=1.5),
    Action("done", text="saved"),
)


def make_run(directory: Path, policy: str, seeds: int = 3, attempts: int = 4, many: int = 0) -> Path:
    """A run whose store `episodes` holds groups of `attempts`, and `many` short episodes of another task behind them."""
    images = ImageStore(directory / "images")
    with Run(directory, {"algo": {"name": "grpo"}, "lr": 1e-5}) as run:
        for step in range(60):
            run.log(step, "rl", **{"reward/mean": 0.2 + 0.01 * step, "reward/format": 0.1, "entropy": 1.5 - 0.02 * step})
            run.log(step, "sft", loss=2.0 / (1 + step))
        with run.phase("rl") as phase:
            phase.result["episodes"] = seeds * attempts
    alarm = Alarm(1.7e9, 40, "rl", "entropy_collapse", "entropy fell to a third", (("episodes", f"press-0-{policy}-0"),))
    (directory / FILE).write_text(json.dumps(alarm.to_json()) + "\n")
    with TrajectoryStore(directory / "episodes.jsonl", "a") as store:
        for seed in range(seeds):
            for index in range(attempts):
                wrong = press("Close") if policy == "second" else press("Save")
                actions = ALL_ACTIONS if index == 0 and policy == "first" else (press("Open"), wrong, Action("done"))
                reward = None if index == 3 and seed == 0 else float((index + seed) % 2)
                store.append(episode(images, seed, actions, reward, policy, index))
        if many:
            blank = screen(images)
            for number in range(many):
                step = Step(replace(blank, tree=None), Action("scroll", amount=-1))
                reward = (number % 4) / 3
                store.append(
                    Trajectory(f"scroll-{number:05}", OTHER, (step,) * (1 + number % 5), None, "max_steps", reward, seed=number)
                )
    return directory


def write_lessons(path: Path, *lessons: tuple[int, str, int, Sequence[Any], Sequence[float]]) -> None:
    """Append lines of self-distillation: (update, trajectory, step, told, divergence)."""
    with path.open("a", encoding="utf-8") as file:
        for lesson in lessons:
            record = dict(zip(("update", "trajectory", "step", "told", "divergence"), lesson, strict=True))
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def make_hostile_run(directory: Path) -> Path:
    """A run in which every text of a trajectory is markup that would run."""
    images = ImageStore(directory / "images")
    seen = screen(images)
    element = Element(HOSTILE, HOSTILE, HOSTILE, (0, 0, WIDTH, HEIGHT), (HOSTILE,))
    shown = replace(seen, tree=(element,), text=HOSTILE, url=HOSTILE, state_key=HOSTILE)
    task = Task(HOSTILE, HOSTILE, HOSTILE, {HOSTILE: HOSTILE}, {HOSTILE: HOSTILE}, split=HOSTILE, tags=(HOSTILE,))
    said, extra = reply(HOSTILE, Random(0))
    prompt = Prompt((Message("user", (HOSTILE * 20, HOSTILE)),))
    typed = Action("type", x=5, y=5, text=HOSTILE, keys=(HOSTILE,), name=HOSTILE, args={HOSTILE: HOSTILE})
    more = (replace(typed, kind="key"), replace(typed, kind="call"), replace(typed, kind="done"))
    steps = (
        Step(shown, typed, HOSTILE, prompt, said, HOSTILE, {HOSTILE: 1.0}, more, {HOSTILE: HOSTILE, **extra}),
        Step(shown, None, HOSTILE, prompt, said, HOSTILE),
    )
    with Run(directory, {HOSTILE: HOSTILE}) as run:
        run.log(0, HOSTILE, **{HOSTILE: 1.0})
        run.log(1, HOSTILE, **{HOSTILE: 2.0})
        with run.phase(HOSTILE) as phase:
            phase.result[HOSTILE] = HOSTILE
    with TrajectoryStore(directory / "episodes.jsonl", "a") as store:
        for index in range(2):
            texts = {"group": HOSTILE, "agent": HOSTILE, "policy": HOSTILE, "error": HOSTILE, "parts": {HOSTILE: 1.0}}
            store.append(Trajectory(f"{HOSTILE} {index}", task, steps, shown, "done", 1.0, index=index, **texts))
    told = [HOSTILE, {"image": HOSTILE}, {HOSTILE: HOSTILE}]
    write_lessons(directory / "distillation-0.jsonl", *((1, f"{HOSTILE} 0", step, told, [0.5]) for step in range(2)))
    alarm = {"time": 1.0, "step": 1, "phase": HOSTILE, "kind": HOSTILE, "message": HOSTILE}
    alarm["trajectories"] = [{"store": "episodes", "id": f"{HOSTILE} 0"}]
    (directory / FILE).write_text(json.dumps(alarm) + "\n")
    return directory


def _in(corner: tuple[int, int], action: Action) -> bool:
    left, top = corner
    return action.x is not None and action.y is not None and left <= action.x < left + 120 and top <= action.y < top + 40
