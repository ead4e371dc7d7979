"""One update of GRPO and of SFT here and in TRL's GRPOTrainer and SFTTrainer, then the engine beside transformers' generate.

    python bench/rl.py [--rounds 3] [--updates 2] [--trl PYTHON] [--parts grpo,sft_shared,sft,generation] [--demo runs/demo]
                       [--json FILE]

Both get the same small Qwen3-VL from one checkpoint directory, the same screenshots of forms, prompts, replies and rewards, AdamW
with the same numbers, one thread, no recomputation of activations. TRL runs in an interpreter of its own, PYTHON (`python -m venv`,
then torch and transformers as here, `trl` and `pillow`); without it its rows are missing. TRL's model has the quick vision tower of
Stepladder too, unless a row says otherwise, so that what is compared is the training.

- GRPO: 8 prompts with a screenshot each, 8 replies to each prompt, rewards 0 and 1. Replies are given on both sides and generation
  is not timed: GRPOTrainer is handed them where it would sample. `loss_type="grpo"`, no reference model, one step a batch.
- SFT: 32 pairs of prompt and reply with a screenshot, loss on the reply alone. In "sft_shared" four share a screenshot as in the
  demonstration's training, a step and three questions; in "sft" every pair has its own. Tokens count as in plain sequences,
  pictures included, however few of them had to be computed.

"wall" is the time from prompts and replies to changed weights: credit, tokenizing where needed, pictures, collation, forward and
backward pass, optimizer, and the trainer's own loop; "processor" is the processor time of all that, which on a free core is the
same and which other jobs disturb less. "compute" is the processor time of forward pass, backward pass and optimizer alone. All
learn from the same portion in turn, round after round; a ratio is taken within a round, against the quicker of TRL's rows that do
the same work. A goal is reached when the medians of "processor" and of "compute" both reach it.

The first update must agree before anything is measured: the loss, and the norm of the gradient, which in GRPO says more (at the
first step on a batch its loss is the mean advantage, 0 whatever the weights).
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import transformers
from contestants.rl_trl import Trl
from contestants.rl_updates import Ours, Reading, Setting
from contestants.rl_workload import Sizes, Workload, make
from rich.console import Console
from rich.table import Table

CLOCKS = ("wall", "processor", "compute")
#: How far the first losses may differ, and the gradients' norms in proportion, in float32 and in bfloat16.
TOLERANCE = {False: (1e-3, 1e-3), True: (2e-2, 5e-2)}
#: The default against TRL with a model that is transformers' own throughout.
AS_IT_COMES = "(default)"
NOTHING = Setting(pictures=False, packed=False, shared=False, vision="transformers")
PICTURES_ALONE = Setting(pictures=False, packed=False, shared=False)


@dataclass(frozen=True)
class Row:
    """A contestant. `than` names the row whose work it does in a quicker way, or does less precisely or less of."""

    name: str
    setting: Setting
    than: str = ""


def _equal_rows(pieces: int) -> tuple[Row, ...]:
    return (
        Row("TRL, transformers' vision tower", Setting(vision="transformers")),
        Row("TRL", Setting()),
        Row(f"TRL in {pieces} pieces", Setting(pieces=pieces)),
        Row("TRL, vision frozen", Setting(frozen=True)),
        Row("TRL, bfloat16", Setting(bf16=True)),
    )


def _our_rows(shared: str) -> tuple[Row, ...]:
    default = f"+ {shared} once (default)"
    return (
        Row("nothing shared", NOTHING),
        Row("+ quick vision tower", PICTURES_ALONE, "nothing shared"),
        Row("+ a picture once", Setting(packed=False, shared=False), "+ quick vision tower"),
        Row("+ packed rows", Setting(shared=False), "+ a picture once"),
        Row(default, Setting(), "+ packed rows"),
        Row("  vision frozen", Setting(frozen=True), default),
        Row("  bfloat16", Setting(bf16=True), default),
        Row("  bfloat16, vision frozen", Setting(bf16=True, frozen=True), default),
    )


@dataclass(frozen=True)
class Part:
    """A comparison. `goal`: how many times TRL's rate ours is to be, in float32 with everything trained."""

    kind: str
    title: str
    unit: str
    goal: float
    ours: tuple[Row, ...]
    theirs: tuple[Row, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        return self.theirs + self.ours


PARTS = (
    Part("grpo", "one update of GRPO", "samples", 2.0, _our_rows("prompts"), _equal_rows(4)),
    Part("sft_shared", "one update of SFT, several pairs a screenshot", "tokens", 1.5, _our_rows("prefixes"), _equal_rows(2)),
    Part(
        "sft",
        "one update of SFT, a screenshot for every pair",
        "tokens",
        1.5,
        (
            Row("a row a pair", PICTURES_ALONE),
            Row("+ packed rows (default)", Setting(), "a row a pair"),
            Row("  bfloat16", Setting(bf16=True), "+ packed rows (default)"),
        ),
        tuple(row for row in _equal_rows(2) if not row.setting.frozen),
    ),
)


class Contestant(Protocol):
    about: dict[str, Any]

    def update(self, number: int) -> Reading: ...
    def close(self) -> None: ...


Figures = dict[str, dict[str, list[float]]]


def compare(part: Part, workload: Workload, rounds: int, updates: int, trl: Path | None) -> dict[str, Any]:
    """The figures of one part: for every row, lists over the rounds of seconds by clock."""
    works = workload.of(part.kind)
    with contextlib.ExitStack() as stack:
        players: dict[str, Contestant] = {}
        missing = [] if trl else ["TRL is left out: name an interpreter in which it is installed (--trl PYTHON)"]
        for row in part.rows:
            if row in part.ours:
                players[row.name] = Ours(row.name, workload, part.kind, row.setting)
            elif trl is not None:
                try:
                    players[row.name] = Trl(row.name, workload, part.kind, row.setting, trl)
                except (RuntimeError, OSError) as error:
                    missing.append(f"{row.name} could not be started: {error}")
                    continue
            if row.name in players:
                stack.callback(players[row.name].close)
        first = {name: player.update(0) for name, player in players.items()}
        agreement = check(part, first, {name: player.about for name, player in players.items()})
        figures: Figures = {name: {clock: [] for clock in CLOCKS} for name in players}
        units = []
        for number in range(rounds):
            portions = range(1 + number * updates, 1 + (number + 1) * updates)
            units.append(sum(_units(part, works[portion]) for portion in portions))
            for name in list(players)[:: 1 if number % 2 else -1]:
                readings = [players[name].update(portion) for portion in portions]
                for clock in CLOCKS:
                    figures[name][clock].append(sum(getattr(reading, clock) for reading in readings))
        versions: dict[str, str] = next((player.about["versions"] for player in players.values() if "versions" in player.about), {})
    return {
        "kind": part.kind,
        "units": units,
        "figures": figures,
        "ratios": ratios(part, figures),
        "gains": gains(part, figures),
        "agreement": agreement,
        "missing": missing,
        "versions": versions,
    }


def _units(part: Part, work: Sequence[Any]) -> int:
    return sum(len(question.replies) if part.unit == "samples" else question.token_count for question in work)


def check(part: Part, first: Mapping[str, Reading], about: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Whether rows of equal work gave the same loss and gradient at the first update, trained the same number of parameters, and
    had one thread each. Raises SystemExit when they did not: then nothing that follows would mean anything.

    TRL's SFTTrainer in pieces is left out: it averages the pieces' means for this model, which is another loss."""
    busy = [name for name, what in about.items() if what["threads"] != 1]
    if busy:
        raise SystemExit(f"not on one thread: {', '.join(busy)}")
    found = []
    for bf16, frozen in dict.fromkeys(row.setting.equal_work for row in part.rows):
        alike = [row for row in part.rows if row.name in first and row.setting.equal_work == (bf16, frozen)]
        compared = [row.name for row in alike if row.setting.pieces == 1 or part.kind == "grpo"]
        if not compared:
            continue
        if len({about[name]["trained"] for name in compared}) > 1:
            raise SystemExit(f"not the same number of trained parameters: {', '.join(compared)}")
        losses, norms = [first[name].loss for name in compared], [first[name].norm for name in compared]
        loss, norm = max(losses) - min(losses), max(norms) / min(norms) - 1
        if loss > TOLERANCE[bf16][0] or norm > TOLERANCE[bf16][1]:
            told = "; ".join(f"{name}: {first[name].loss:.6f}, {first[name].norm:.6f}" for name in compared)
            raise SystemExit(f"not the same work, first loss and norm of the gradient differ: {told}")
        found.append({"rows": compared, "bf16": bf16, "frozen": frozen, "loss": losses[0], "norm": norms[0]})
        found[-1] |= {"loss_difference": loss, "norm_difference": norm, "trained": about[compared[0]]["trained"]}
    return found


def ratios(part: Part, figures: Figures) -> dict[str, dict[str, Any]]:
    """For every row of ours the row of TRL that does equal work, the quicker one where there are two, and how many times quicker
    ours is, by clock, round by round. Rows without such a match are left out. Last, the default against TRL as it comes."""
    found: dict[str, dict[str, Any]] = {}
    for row in part.ours:
        matches = [other for other in part.theirs if other.name in figures and other.setting.equal_work == row.setting.equal_work]
        for vision, name in (("quick", row.name), ("transformers", AS_IT_COMES)):
            names = [other.name for other in matches if other.setting.vision == vision]
            if names and row.name in figures and (vision == "quick" or row.setting == Setting()):
                against = min(names, key=lambda name: statistics.median(figures[name]["compute"]))
                quotients = {clock: _quotients(figures[against][clock], figures[row.name][clock]) for clock in CLOCKS}
                found[name] = {"against": against, **quotients}
    if AS_IT_COMES in found:
        found[AS_IT_COMES] = found.pop(AS_IT_COMES)
    return found


def gains(part: Part, figures: Figures) -> dict[str, dict[str, list[float]]]:
    """How many times quicker a row of ours is than the row it names, by clock, round by round."""
    return {
        row.name: {clock: _quotients(figures[row.than][clock], figures[row.name][clock]) for clock in CLOCKS}
        for row in part.ours
        if row.than in figures and row.name in figures
    }


def _quotients(slower: Sequence[float], quicker: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(slower, quicker, strict=True)]


def reached(part: Part, against: Mapping[str, Mapping[str, Any]]) -> bool | None:
    """Whether the default in float32 reaches the goal by both clocks; None where TRL was not measured."""
    (default,) = (row.name for row in part.ours if row.setting == Setting())
    if default not in against:
        return None
    return all(statistics.median(against[default][clock]) >= part.goal for clock in ("processor", "compute"))


def spread(values: Sequence[float], digits: int) -> str:
    """Median (lowest to highest); a dash for nothing."""
    if not values:
        return "-"
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def show(part: Part, result: Mapping[str, Any], updates: int, console: Console) -> None:
    console.print(f"\n{part.title}", style="bold")
    for same in result["agreement"]:
        console.print(
            f"first update, {'bfloat16' if same['bf16'] else 'float32'}{', vision frozen' if same['frozen'] else ''}: "
            f"{len(same['rows'])} rows, {same['trained']} parameters; loss {same['loss']:.4f}, largest difference "
            f"{same['loss_difference']:.1e}; gradient {same['norm']:.4f}, {same['norm_difference']:.1e} in proportion"
        )
    speeds = Table("", f"{part.unit}/s", "processor, ms", "compute, ms", title="an update, median (range) over the rounds")
    for name, clocks in result["figures"].items():
        rates = [units / seconds for units, seconds in zip(result["units"], clocks["wall"], strict=True)]
        each = ([1000 * seconds / updates for seconds in clocks[clock]] for clock in ("processor", "compute"))
        speeds.add_row(name, spread(rates, 0), *(spread(values, 0) for values in each))
    console.print(speeds)
    if result["ratios"]:
        faster = Table("", "against", *CLOCKS, title="times quicker than TRL at equal work")
        for name, against in result["ratios"].items():
            faster.add_row(name, against["against"], *(spread(against[clock], 2) for clock in CLOCKS))
        console.print(faster)
    gained = Table("", "against", *CLOCKS, title="what is gained by what")
    for row in part.ours:
        if row.name in result["gains"]:
            gained.add_row(row.name, row.than, *(spread(result["gains"][row.name][clock], 2) for clock in CLOCKS))
    console.print(gained)
    answer = {True: "yes", False: "no", None: "not measured"}[reached(part, result["ratios"])]
    console.print(f"at least {part.goal:g}x TRL's {part.unit} a second: {answer}")
    for line in result["missing"]:
        console.print(line, markup=False)


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Everything asked for, shown as it comes, and as plain lists and numbers."""
    torch.set_num_threads(1)
    versions = {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__}
    sizes = Sizes(groups=arguments.groups, samples=arguments.samples)
    result: dict[str, Any] = {"rounds": arguments.rounds, "updates": arguments.updates, "versions": versions}
    result |= {"cores": os.cpu_count(), "load": [os.getloadavg()[0]], "parts": [], "goals": {}}
    console.print(", ".join(f"{name} {version}" for name, version in versions.items()))
    console.print(
        f"{arguments.rounds} rounds of {arguments.updates} updates; GRPO {sizes.groups} x {sizes.members} replies, SFT "
        f"{sizes.samples} pairs; {result['cores']} cores, load {result['load'][0]:.1f}"
    )
    chosen = [part for part in PARTS if part.kind in arguments.parts]
    with tempfile.TemporaryDirectory(prefix="stepladder-bench-") as directory:
        # One portion warms up, and one is never learned: loaders that look ahead have something to look at.
        workload = make(Path(directory), 2 + arguments.rounds * arguments.updates, sizes) if chosen else None
        for part in chosen:
            assert workload is not None
            found = compare(part, workload, arguments.rounds, arguments.updates, arguments.trl)
            result["parts"].append(found)
            result["goals"][part.kind] = reached(part, found["ratios"])
            result["load"].append(os.getloadavg()[0])
            versions |= {f"{name} (TRL's)": version for name, version in found["versions"].items()}
            show(part, found, arguments.updates, console)
    if "generation" in arguments.parts:
        console.print("\nthe engine beside transformers' generate", style="bold")
        result["generation"] = generation(arguments.rounds, arguments.demo)
        console.print(result["generation"], markup=False, highlight=False)
    told = ", ".join(f"{name} {version}" for name, version in itertools.islice(versions.items(), 3, None))
    console.print(f"{told + '; ' if told else ''}load {os.getloadavg()[0]:.1f} at the end")
    return result


def generation(rounds: int, demo: Path | None) -> str:
    """What `bench/engine.py` prints, of forms and of the demonstration if there is one."""
    script = Path(__file__).parent / "engine.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    found = []
    for more in ([], *([["--demo", str(demo)]] if demo is not None else [])):
        command = [sys.executable, str(script), "--rounds", str(rounds), *more]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        failed = f"bench/engine.py failed: {done.stderr.strip().splitlines()[-1:]}"
        found.append(done.stdout.strip() if done.returncode == 0 else failed)
    return "\n\n".join(found)


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    names = [*(part.kind for part in PARTS), "generation"]

    def parts(text: str) -> tuple[str, ...]:
        unknown = [name for name in text.split(",") if name not in names]
        if unknown:
            raise argparse.ArgumentTypeError(f"there is no part {unknown[0]!r}; there are {', '.join(names)}")
        return tuple(text.split(","))

    def positive(text: str) -> int:
        if int(text) < 1:
            raise argparse.ArgumentTypeError(f"{text} is too few; at least 1 is needed")
        return int(text)

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--updates", type=positive, default=2, help="of every contestant in a round")
    parser.add_argument("--groups", type=positive, default=8, help="prompts of a GRPO update, with 8 replies each")
    parser.add_argument("--samples", type=positive, default=32, help="pairs of prompt and reply in an SFT update, a multiple of 4")
    parser.add_argument("--trl", type=Path, metavar="PYTHON", help="interpreter in which trl is installed")
    parser.add_argument("--parts", type=parts, default=tuple(names), help=f"some of {','.join(names)}")
    parser.add_argument("--demo", type=Path, help="a finished demonstration, whose episodes the engine is asked again")
    parser.add_argument("--json", type=Path, help="also write everything measured to this file")
    return parser.parse_args(arguments)


def main() -> None:
    arguments = options()
    result = run(arguments, Console() if sys.stdout.isatty() else Console(width=132))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
