"""Commands that have files of their own, which are imported when one of them is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import NamedTuple

import typer


class Part(NamedTuple):
    """The module whose `app` does it, and the line that `stepladder --help` shows. `alone` where that app has no other command, or
    takes the name of the part for its own."""

    module: str
    help: str
    alone: bool = False


PARTS: Mapping[str, Part] = {
    "ladder": Part("cli_ladder", "All twelve rungs from random weights, each of them measured.", alone=True),
    "osworld": Part("cli_osworld", "OSWorld's own task files: which of them can be played here.", alone=True),
    "convert": Part("cli_convert", "Trajectories from and to other formats: OSWorld, AgentNet, Parquet, ..."),
    "convert-union": Part("cli_convert", "The union of data sets of slime's OSWorld cookbook."),
    "corpus": Part("cli_convert", "A corpus for pre-training from files, without duplicates."),
    "audit": Part("cli_audit", "Whether rewards are to be trusted: what a check gives for nothing.", alone=True),
    "compare": Part("cli_compare", "Whether one policy is better than another, on the starts that both have played.", alone=True),
    "view": Part("cli_viewer", "Runs and trajectories as pages in a browser."),
    "play": Part("cli_viewer", "The same pages, and tasks that are played there, with an agent or alone."),
    "export": Part("cli_viewer", "The same pages as files that open from disk or any web host."),
    "report": Part("cli_viewer", "The report of a training, written again from the files of its run."),
    "plan": Part("cli_plan", "How many tasks and trials it takes to see a difference between two agents.", alone=True),
    "simulate": Part("cli_simulate", "How fast many environments, engines and a trainer would learn together.", alone=True),
    "judge": Part("cli_judge", "A model as judge of episodes, and how far it agrees with the tasks' checks."),
    "propose": Part("cli_judge", "New tasks that a model thinks up, which a judge grades."),
    "pretrain": Part("cli_pretraining", "Pre-train on corpora: rungs 1 to 4.", alone=True),
    "reason": Part("cli_reasoning", "Thoughts before the actions of demonstrations: rung 10.", alone=True),
    "refine": Part("cli_refinement", "Give a run of RL its entropy back: imitate its own successes."),
    "prefer": Part("cli_refinement", "Preference optimisation (DPO and its kin) on pairs of replies."),
    "pairs": Part("cli_refinement", "The pairs of replies that `stepladder prefer` has made."),
    "merge": Part("cli_refinement", "One checkpoint whose weights are the weighted mean of others."),
    "reward-model": Part("cli_preferences", "A score for replies, learned from preferences."),
    "best-of": Part("cli_preferences", "Imitate the episodes that a reward model scores best."),
    "choose": Part("cli_preferences", "Say which of two episodes is better; `prefer` learns from it."),
    "search": Part("cli_learning", "Best-first tree search while playing, and what it prefers."),
    "label": Part("cli_learning", "Actions for recordings that have none (inverse dynamics)."),
    "with-document": Part("cli_learning", "Demonstrations of which part shows a policy document."),
}
#: What follows the name goes to the part as it is.
PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def add_parts(app: typer.Typer) -> None:
    """Give `app` a command for every part."""
    for name, part in PARTS.items():
        app.command(name, context_settings=PASSED_ON, help=part.help)(_passing_on(part))


def _passing_on(part: Part) -> Callable[[typer.Context], None]:
    def command(context: typer.Context) -> None:
        name, app = str(context.info_name), import_module(f"stepladder.{part.module}").app
        if part.alone:
            app(context.args, prog_name=f"stepladder {name}")
        app([name, *context.args], prog_name="stepladder")

    return command
