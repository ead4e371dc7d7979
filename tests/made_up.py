"""Made-up trajectories, results and a whole report for tests: drawn screens, no browser, no model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

import numpy as np
from PIL import Image, ImageDraw

from stepladder.images import ImageStore
from stepladder.report import Curve, Report, Rung, choose_strips
from stepladder.results import Result, summarise
from stepladder.stats import success_rate
from stepladder.types import Action, Observation, Step, Task, Trajectory

NAMES = (
    "click-test click-test-2 click-button click-button-sequence click-checkboxes click-collapsible click-color click-dialog "
    "click-link click-option click-tab click-widget enter-password enter-text focus-text login-user use-spinner navigate-tree"
)
TASKS = tuple(Task(id=name, instruction=f'Do {name} with "Aurelie", then submit.', env="miniwob") for name in NAMES.split())


def screen(images: ImageStore, random: Random, pressed: bool = False) -> Observation:
    """A 160x210 page with a yellow instruction bar and a few buttons."""
    picture = Image.new("RGB", (160, 210), "white")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, 160, 50), fill="#ffff00")
    draw.text((4, 6), "Click on the button\nnamed Okay, then\nsubmit.", fill="black")
    for _ in range(4):
        x, y = random.randrange(5, 100), random.randrange(60, 180)
        draw.rectangle((x, y, x + 50, y + 18), fill="#88aacc" if pressed else "#eeeeee", outline="#777777")
        draw.text((x + 6, y + 3), random.choice(["Okay", "Cancel", "Send", "Next"]), fill="black")
    return Observation(screenshot=images.put_pixels(np.asarray(picture)))


def episode(
    images: ImageStore, task: Task, seed: int, success: bool | None = True, steps: int = 3, policy: str = "made-up"
) -> Trajectory:
    """`success` None is an episode whose environment failed."""
    random = Random(f"{task.id} {seed}")
    actions = [
        Action("click", x=random.randrange(10, 150), y=random.randrange(60, 200)),
        Action("type", text="Aurelie"),
        Action("drag", x=20, y=80, x2=120, y2=170),
        Action("scroll", x=80, y=120, amount=-3),
        Action("key", keys=("ctrl", "a")),
        Action("double_click", x=70, y=140),
    ]
    made = tuple(
        Step(
            screen(images, random), actions[i % 6], thought="" if i % 2 else "Action: Click the Okay button", seconds={"act": 0.01}
        )
        for i in range(steps)
    )
    return Trajectory(
        id=f"{task.id}-{seed}-{policy}-0",
        task=task,
        steps=made,
        final=screen(images, random, pressed=True) if steps else None,
        status="env_error" if success is None else "done",
        reward=None if success is None else float(success),
        seed=seed,
        policy=policy,
    )


def result(chances: Sequence[float], seeds: Sequence[int], policy: str, missing: int = 0) -> Result:
    """A result with about these success rates, of episodes without screens."""
    images, random, made = ImageStore(), Random(policy), []
    for task, chance in zip(TASKS, chances, strict=True):
        for seed in seeds:
            failed = missing and task is TASKS[0] and seed < seeds[0] + missing
            made.append(episode(images, task, seed, None if failed else random.random() < chance, steps=0, policy=policy))
    return summarise(made, TASKS, seeds, policy=policy, task_set="3f2a9c01d4e7", seconds=41.5)


def report(images: ImageStore) -> Report:
    seeds = range(100_000, 100_050)
    skill = [0.99 - 0.045 * i for i in range(len(TASKS))]
    shown = [episode(images, task, 100_000, success=i % 3 != 0, steps=1 + i % 7) for i, task in enumerate(TASKS)]
    steps = range(0, 3001, 20)
    return Report(
        title="MiniWoB++ from nothing on two cores",
        summary="A vision-language model of 6.6 million parameters, trained on this machine to read screens and then to act.",
        rungs=(
            Rung("untrained", result([0.02] * len(TASKS), seeds, "untrained"), 0.0),
            Rung("perception", result([0.2 * s for s in skill], seeds, "perception"), 1500.0),
            Rung("behaviour_cloning", result(skill, seeds, "behaviour_cloning", missing=2), 2400.0),
        ),
        baselines={
            "random": result([0.12 * s for s in skill], seeds, "random"),
            "idle": result([0.0] * len(TASKS), seeds, "idle"),
            "oracle": result([0.995] * len(TASKS), seeds, "oracle"),
        },
        seconds=4520.0,
        curves=(
            Curve(
                "Success on held-out seeds", "steps", {"greedy": [(s, 1 - math.exp(-s / 900)) for s in steps[::15]]}, percent=True
            ),
            Curve(
                "Loss",
                "steps",
                {name: [(s, 3 * math.exp(-s / 500) + end) for s in steps] for name, end in (("train", 0.2), ("held out", 0.3))},
                logarithmic=True,
            ),
        ),
        perception={
            "point_at_word": {"known": success_rate(940, 1000), "held-out words": success_rate(871, 1000)},
            "read_word": {"known": success_rate(902, 1000), "held-out fonts": success_rate(610, 1000)},
        },
        phases={"collect": 180.0, "perception": 1500.0, "behaviour_cloning": 2400.0, "evaluate": 440.0},
        strips=choose_strips(shown, successes=3, failures=3),
        about={"machine": "2 cores, 24 GiB", "versions": "Stepladder 0.1.0, PyTorch 2.13.0"},
        images=images,
    )
