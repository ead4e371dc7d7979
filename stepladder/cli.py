"""The command line. Every command builds a configuration, changes it as asked and calls a stage; the work is in `stages`.

Imports of a command stand inside it, so that `stepladder --help` is quick and commands that need no PyTorch do not ask for it.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stepladder import cli_options as options
from stepladder.cli_options import Output, Settings, ShowSettings, Tasks, configured
from stepladder.cli_parts import add_parts
from stepladder.errors import UserError
from stepladder.interfaces import EnvironmentFailure

#: What to install for a package that the core works without.
EXTRAS = {"torch": "train", "transformers": "train", "tokenizers": "train", "safetensors": "train", "miniwob": "browser"}
EXTRAS |= dict.fromkeys(("Xlib", "jeepney", "openpyxl", "docx", "pptx", "odf"), "desktop")
EXTRAS |= {"pyarrow": "data"} | dict.fromkeys(("tensorboard", "wandb", "trackio"), "track")
EXTRAS |= {"ray": "ray"} | dict.fromkeys(("httpx", "starlette", "uvicorn"), "bridge") | {"python_multipart": "osworld"}
app = typer.Typer(
    name="stepladder",
    help="Train and evaluate computer-use agents: models that look at a screen and act until a task is done.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def demo(output: Output = None, set_: Settings = None, settings: ShowSettings = False) -> None:
    """From nothing to an agent that acts: collect, train, evaluate, report. Goes on where it was interrupted."""
    from stepladder.stages import demo as stage

    config = configured(stage.DemoConfig(), set_, settings, output=output)
    stage.main(config)


@app.command()
def collect(
    tasks: Tasks = None,
    output: Output = None,
    episodes: Annotated[int | None, typer.Option(help="Training seeds of each task.", show_default=False)] = None,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """Demonstrations by the environments' own solutions, for behaviour cloning and perception."""
    from stepladder.rollout.opening import check_options
    from stepladder.stages import collect as stage
    from stepladder.tasks import check_demonstrators, load_tasks

    config = configured(stage.CollectConfig(), set_, settings, tasks=tasks, output=output, episodes=episodes)
    found_tasks = load_tasks(config.tasks, split="train")
    check_demonstrators(found_tasks)
    for kind in {task.env for task in found_tasks}:  # here and not in every process that collects
        check_options(kind, config.options)
    found = stage.main(config)
    kept = sum(found.kept.values())
    _say(
        f"{kept} demonstrations in {config.output}, {kept / found.seconds:.1f} a second"
        if found.seconds
        else f"{kept} demonstrations"
    )
    if found.visited:
        _say(f"{found.visited.total()} pages looked at")
    for name, counter in (("failed and were left out", found.rejected), ("have no grade, their environment broke", found.missing)):
        if counter:
            _say(f"{sum(counter.values())} {name}: {', '.join(f'{task} {n}' for task, n in counter.most_common())}")


@app.command()
def sft(output: Output = None, set_: Settings = None, settings: ShowSettings = False) -> None:
    """Supervised training: copying, perception, behaviour cloning."""
    from stepladder.stages import sft as stage

    config = configured(stage.SftConfig(), set_, settings, output=output)
    _say(f"checkpoint: {stage.main(config)}")


@app.command()
def flywheel(
    checkpoint: Annotated[Path | None, typer.Option(help="Who plays first.", show_default=False)] = None,
    tasks: Tasks = None,
    output: Output = None,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """The data flywheel: play, keep the successes, learn from them, play again."""
    from stepladder.stages import flywheel as stage

    config = configured(stage.FlywheelConfig(), set_, settings, checkpoint=checkpoint, tasks=tasks, output=output)
    _say(f"checkpoint: {stage.main(config)}")


@app.command()
def rl(
    algo: Annotated[
        str | None,
        typer.Option(help="reinforce, rloo, grpo, gigpo, ppo, sdpo or another of docs/algorithms, or package.module:Class."),
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Where to start from.", show_default=False)] = None,
    tasks: Tasks = None,
    ray: Annotated[
        str | None,
        typer.Option(
            help="Play while it learns: off (in this process), local, auto or HOST:PORT of a Ray cluster.", show_default=False
        ),
    ] = None,
    output: Output = None,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """Online reinforcement learning: the agent learns from its own episodes."""
    from stepladder.algos import algorithm_class
    from stepladder.stages import rl as stage
    from stepladder.stages.rl_config import RlConfig

    chosen = None if algo is None else algorithm_class(algo)()
    placed = [] if ray is None else ["asynchronous.on=true", f"ray.address={ray}", "ranks=1"]
    given: dict[str, Any] = {"algo": chosen, "checkpoint": checkpoint, "tasks": tasks, "output": output}
    config = configured(RlConfig(), [*placed, *(set_ or [])], settings, **given)
    _say(f"checkpoint: {stage.main(config)}")


@app.command("eval")
def evaluate(
    checkpoint: options.PositionalPolicy = None,
    policy: options.Policy = None,
    tasks: Tasks = None,
    env: options.Env = None,
    agent: options.Agent = None,
    output: Output = None,
    episodes: options.Episodes = None,
    trials: options.Trials = None,
    max_steps: options.MaxSteps = None,
    history: options.History = None,
    observe: options.Observe = None,
    osworld_results: options.OSWorldResults = None,
    resume: options.Resume = False,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """Success rates with intervals on held-out seeds, beside trivial baselines; writes report.html, report.md, report.json."""
    from stepladder.report.words import one_line
    from stepladder.stages import evaluate as stage

    given: dict[str, Any] = {"output": output, "episodes": episodes, "trials": trials, "max_steps": max_steps, "history": history}
    given |= {"policy": options.either(checkpoint, policy, "POLICY", "--policy"), "tasks": _task_set(tasks, env), "dialect": agent}
    given |= {"osworld_results": osworld_results, "observe": observe}
    config = configured(stage.EvaluateConfig(), set_, settings, **given)
    if resume and not (config.output / "config.json").exists():
        raise UserError(f"--resume: there is no run in {config.output}")
    result = stage.main(config)
    _say(one_line(result))
    for error, count in list(result.errors.items())[:1]:
        _say(f"{count} episodes have no grade because of: {error}")
    _say(f"report: {config.output / 'report.html'}")
    if result.n == 0:
        raise typer.Exit(1)


@app.command()
def validate(
    tasks: Tasks = None,
    output: Output = None,
    seeds: Annotated[int | None, typer.Option(help="Seeds of each task.", show_default=False)] = None,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """Whether tasks are sound: their own solution scores 1, doing nothing 0, giving up 0 unless the task cannot be done."""
    from stepladder.stages import validate as stage

    config = configured(stage.ValidateConfig(), set_, settings, tasks=tasks, output=output, seeds=seeds)
    found = stage.main(config)
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("task", *stage.PLAYERS, "steps"):
        table.add_column(column, justify="left" if column == "task" else "right")
    for task in dict.fromkeys(one.task for one in found):
        of_task = [one for one in found if one.task == task]
        cells = []
        for player in stage.PLAYERS:
            its = [one for one in of_task if one.player == player]
            right = sum(one.right for one in its)
            cells.append(f"{right}/{len(its)}" if right == len(its) else f"[red]{right}/{len(its)}[/red]")
        table.add_row(escape(task), *cells, str(max(one.steps for one in of_task)))
    Console().print(table)
    wrong = [one for one in found if not one.right]
    for one in wrong:
        scored = "has no grade" if one.reward is None else f"scored {one.reward:g}"
        _say(f"{one.task}, seed {one.seed}: {one.player} {scored}, not {one.wanted:g}{f': {one.error}' if one.error else ''}")
    count = len({one.task for one in found})
    _say(f"{count} tasks, {len(found) - len(wrong)} of {len(found)} as they should be")
    if wrong:
        raise typer.Exit(1)


@app.command()
def serve(
    checkpoint: Annotated[
        Path | None, typer.Argument(help="A checkpoint directory to be served as a model.", show_default=False)
    ] = None,
    tasks: Tasks = None,
    host: Annotated[str | None, typer.Option(help="Address to listen at.", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen at.", show_default=False)] = None,
    token: Annotated[
        str | None, typer.Option(help="What every call must carry; none for this machine's programs alone.", show_default=False)
    ] = None,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """Serve a checkpoint as an OpenAI-compatible chat server; or, without one, lend environments over HTTP.

    To one token, at this machine's own address unless told otherwise."""
    if checkpoint is not None:
        from stepladder.stages import serve_model

        if tasks is not None:
            raise UserError("a checkpoint serves a model and --tasks lends environments; give one of them")
        given = {"checkpoint": checkpoint, "host": host, "port": port, "token": token}
        serve_model.main(configured(serve_model.ServeModelConfig(), set_, settings, **given))
        return
    from stepladder.stages import serve as stage

    stage.main(configured(stage.ServeConfig(), set_, settings, tasks=tasks, host=host, port=port, token=token))


@app.command("serve-desktop")
def serve_desktop(
    host: Annotated[str | None, typer.Option(help="Address to listen at.", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(help="Port of the first desktop.", show_default=False)] = None,
    count: Annotated[int | None, typer.Option(help="How many desktops, each at a port of its own.", show_default=False)] = None,
    size: Annotated[str | None, typer.Option(help="Of the screen, such as 1920x1080.", show_default=False)] = None,
    token: Annotated[
        str | None, typer.Option(help="What every call must carry; none for OSWorld's own controllers.", show_default=False)
    ] = None,
    vnc: Annotated[bool | None, typer.Option("--vnc", help="Let viewers in, from this machine.", show_default=False)] = None,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """Serve pocket desktops with the routes of OSWorld's virtual machines, so that OSWorld's own controllers can drive them."""
    from stepladder.stages import serve_desktop as stage

    config = configured(
        stage.ServeDesktopConfig(), set_, settings, host=host, port=port, count=count, size=size, token=token, vnc=vnc
    )
    stage.main(config)


@app.command()
def tasks(
    spec: Annotated[str, typer.Argument(help="Which tasks; see the examples of --tasks elsewhere.")] = "miniwob@demo",
) -> None:
    """List tasks, and the hash that names the set in every report."""
    from stepladder.tasks import load_tasks, task_set_hash

    found = load_tasks(spec, judged=True)
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("task", "environment", "steps", "tags"):
        table.add_column(column, overflow="fold")
    for task in found:
        table.add_row(escape(task.id), task.env, str(task.max_steps), escape(" ".join(task.tags)))
    Console().print(table)
    _say(f"{len(found)} tasks, task set {task_set_hash(found)}")


@app.command()
def show(
    path: Annotated[Path, typer.Argument(help="A trajectory file (.jsonl) or the directory of a run.")],
    identifier: Annotated[str | None, typer.Argument(help="One trajectory, step by step.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(help="How many trajectories to list.")] = 30,
) -> None:
    """What a run or a trajectory file holds."""
    from stepladder import show as view

    view.show(path, identifier, limit)


@app.command()
def record(
    task: Annotated[
        str | None, typer.Argument(help="One task with a desktop, such as desk:editor-write.", show_default=False)
    ] = None,
    display: Annotated[str | None, typer.Option(help="An X display of your own instead, such as :0.", show_default=False)] = None,
    instruction: Annotated[str | None, typer.Option(help="What is done there.", show_default=False)] = None,
    output: Output = None,
    set_: Settings = None,
    settings: ShowSettings = False,
) -> None:
    """A person's mouse and keyboard as a trajectory; ends with Ctrl-C."""
    from stepladder.stages import record as stage

    config = configured(stage.RecordConfig(), set_, settings, tasks=task, display=display, instruction=instruction, output=output)
    _say(stage.summary(stage.main(config)))


@app.command()
def doctor() -> None:
    """What is installed, what is missing, and what to do about it."""
    from stepladder.doctor import examine

    raise typer.Exit(0 if examine() else 1)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def bench(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(help="agentnet, screenspot, or a file of bench/ without its ending, such as browser.", show_default=False),
    ],
) -> None:
    """Ask an offline benchmark's questions (agentnet, screenspot, perception), or measure a part; what follows the name goes to
    the benchmark."""
    if name in ("agentnet", "screenspot", "perception"):
        from stepladder.cli_benchmarks import app as offline

        offline([name, *context.args], prog_name="stepladder bench")
    folder = Path(__file__).resolve().parent.parent / "bench"
    names = sorted(path.stem for path in folder.glob("*.py"))
    if not names:
        raise UserError("benchmarks are part of the repository and not of the installed package; run this in a checkout")
    if name not in names:
        raise UserError(f"there is no benchmark {name!r}; there are {', '.join(names)}")
    raise typer.Exit(subprocess.run([sys.executable, str(folder / f"{name}.py"), *context.args]).returncode)


add_parts(app)


def main() -> NoReturn:
    """Entry point: mistakes of the user end with one line and exit code 1, mistakes of the program with a traceback."""
    sys.path.insert(0, "")  # environments, checks and rewards of the user's own lie where the command is started
    signal.signal(signal.SIGTERM, _as_interrupted)
    try:
        app()
    except (UserError, EnvironmentFailure) as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if error.name is not None and extra is None:
            raise
        _fail(str(error) if extra is None else f"{error.name} is not installed: pip install 'stepladder[{extra}]'")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _fail(f"{error}; what is stored is whole. Make room, and the same command goes on")
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


def _as_interrupted(*_: object) -> None:
    """SIGTERM ends a command as Ctrl-C does: what it has opened is closed. In the background of a script Ctrl-C is ignored."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)


def _task_set(tasks: str | None, env: str | None) -> str | None:
    """The task set of --tasks or --env; the address of a server stands for the tasks that it lends."""
    spec = options.either(tasks, env, "--tasks", "--env")
    if env is None or not env.startswith(("http://", "https://")):
        return spec
    from stepladder.envs.bridge.client import SERVERS

    os.environ[SERVERS] = env
    return "bridge"


def _fail(message: str) -> NoReturn:
    Console(stderr=True).print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True, highlight=False)
    sys.exit(1)


def _say(text: str) -> None:
    Console().print(escape(text), soft_wrap=True, highlight=False)
