"""How quickly the viewer shows a large run, and how much memory its server takes.

    python bench/viewer.py [--trajectories 100000] [--steps 10] [--keep DIR] [--json FILE]

Makes a run of made-up trajectories in a temporary directory (with its store's own index file, as every run has one), starts
`stepladder view` on it, and asks as a browser does: the page and the answers of the API that it is drawn from, one after another
over one connection. "cold" is the first time, when there is no view.sqlite yet; what is told begins when the server answers, and
"with the start" when the command does. If Playwright and a Chromium are there, a browser opens the same pages, and the time until a
row or the screen is drawn is told.

Goals: first page 1.5 s, a trajectory 0.3 s (the slowest of 100), 500 MB at the most (VmHWM). Exit code 1 if one is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import httpx
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from stepladder.codec import to_json
from stepladder.envs.browser.find import ChromiumNotFound, find_chromium
from stepladder.images import ImageStore
from stepladder.store import TrajectoryStore
from stepladder.types import Action, Completion, Message, Observation, Prompt, Step, Task, Trajectory

GOALS = {"first page, cold": 1.5, "a trajectory, slowest": 0.3, "memory, MB": 500.0}
TASKS, POLICIES, GROUP, PICTURES = 200, 3, 8, 64
STORE = "rollouts-0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trajectories", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--keep", type=Path, help="make the run here, and use it again if it is there")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stepladder-viewer-") as temporary:
        run = (options.keep or Path(temporary)) / "large"
        console = Console()
        if not (run / f"{STORE}.jsonl.index").exists():
            began = time.monotonic()
            make_run(run, options.trajectories, options.steps)
            size = (run / f"{STORE}.jsonl").stat().st_size
            console.print(f"made {options.trajectories:,} trajectories, {size / 1e6:.0f} MB, in {time.monotonic() - began:.0f} s")
        (run / "view.sqlite").unlink(missing_ok=True)
        figures = measure(run)
    table = Table("", "seconds", "goal", box=None, header_style="dim")
    for name, value in figures.items():
        goal = GOALS.get(name)
        table.add_row(name, f"{value:.3f}" if value < 100 else f"{value:.0f}", "" if goal is None else f"{goal:g}")
    console.print(table)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    missed = [name for name, goal in GOALS.items() if figures[name] > goal]
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


# ------------------------------------------------------------------------------------------------------------- the made-up run


def make_run(run: Path, count: int, steps: int) -> None:
    """A run with `count` trajectories of `steps` steps in groups of eight, 20,000 measurements, and some pictures."""
    run.mkdir(parents=True)
    images = ImageStore(run / "images")
    draw = np.random.default_rng(0)
    screens = [images.put_pixels(_screen(draw)) for _ in range(PICTURES)]
    made = _Lines(steps, screens)
    with (run / f"{STORE}.jsonl").open("wb") as file:
        for number in range(count):
            file.write(made.line(number))
    with TrajectoryStore(run / f"{STORE}.jsonl", "a"):
        pass  # opening it for appending writes its index
    with (run / "metrics.jsonl").open("w") as file:
        for step in range(20_000):
            record = {
                "step": step,
                "phase": "rl",
                "time": 1.7e9 + step,
                "reward": 1 - 1 / (1 + step / 3000),
                "loss": 1 / (1 + step),
            }
            file.write(json.dumps(record) + "\n")
    (run / "config.json").write_text(json.dumps({"algo": {}, "tasks": "made-up"}))


def _screen(draw: np.random.Generator) -> np.ndarray:
    """A picture with some large areas, as screens have them: uint8[720, 1280, 3]."""
    areas = draw.integers(0, 255, (9, 16, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(areas).resize((1280, 720), Image.Resampling.NEAREST))


class _Lines:
    """Lines of a store. Encoding a million steps anew would take minutes: the steps of one trajectory are encoded, and what differs
    is put in."""

    def __init__(self, steps: int, screens: list) -> None:
        task = Task(
            "TASK", 'Find "Aurelie" in the list, open the entry and send the form.', "made-up", max_steps=30, tags=("click",)
        )
        made = tuple(_step(place, screens[place % len(screens)], screens) for place in range(steps))
        one = Trajectory(
            "IDENTIFIER",
            task,
            made,
            made[-1].observation,
            "done",
            0.0,
            group="GROUP",
            index=1,
            seed=1,
            agent="qwen_vl",
            policy="POLICY",
        )
        self._record = json.dumps(to_json(one), separators=(",", ":"))

    def line(self, number: int) -> bytes:
        start, index = divmod(number, GROUP)
        task, policy = f"task-{start % TASKS:03}", f"policy-{start % POLICIES}"
        group = f"{start // TASKS}/{task}-{start}"
        text = self._record
        for name, value in (
            ("TASK", task),
            ("IDENTIFIER", f"{task}-{start}-{group}-{index}"),
            ("GROUP", group),
            ("POLICY", policy),
        ):
            text = text.replace(f'"{name}"', f'"{value}"', 1)
        reward = float(random.Random(number).random() < 0.2 + 0.6 * start * GROUP / 100_000)
        text = text.replace('"reward":0.0', f'"reward":{reward}', 1).replace('"index":1', f'"index":{index}', 1)
        return text.replace('"seed":1', f'"seed":{start}', 1).encode() + b"\n"


def _step(place: int, screen: object, screens: list) -> Step:
    said = f'{{"name": "computer_use", "arguments": {{"action": "left_click", "coordinate": [{place * 40}, 300]}}}}'
    count = 40
    generator = np.random.default_rng(place)
    return Step(
        Observation(screen, url="https://example.org/list", state_key=f"{place:014x}"),  # type: ignore[arg-type]
        Action("click", x=place * 40.0, y=300.0),
        "The entry stands in the second row.\nAction: Click the entry.",
        Prompt((Message("user", (screens[place % len(screens)], "Find the entry. " * 8)),), np.arange(100, dtype=np.int32)),
        Completion(said, np.arange(count, dtype=np.int32), -generator.random(count, dtype=np.float32)),
        seconds={"policy": 0.4, "environment": 0.1},
    )


# --------------------------------------------------------------------------------------------------------------- measuring


def measure(run: Path) -> dict[str, float]:
    """Figures by name: seconds, and the memory in MB."""
    figures: dict[str, float] = {}
    began = time.monotonic()
    with served(run) as (address, process), httpx.Client(base_url=address, timeout=60) as client:
        figures["server answers after"] = time.monotonic() - began
        before = processor_seconds(process.pid)
        figures["first page, cold"] = _timed(lambda: first_page(client))
        figures["first page, cold, processor time"] = processor_seconds(process.pid) - before
        figures["first page, cold, with the start"] = time.monotonic() - began
        figures["first page, again"] = _timed(lambda: first_page(client))
        here = f"/api/runs/{run.name}"
        for name, query in {
            "the run's page": "",
            "tasks": "/tasks",
            "metrics": "/metrics",
            "groups": "/groups",
            "list": "/trajectories?limit=200",
            "list, last rows by reward": "/trajectories?limit=200&offset=90000&sort=-reward",
            "list, filtered": "/trajectories?limit=200&q=task-01&reward=1..1&status=done",
        }.items():
            figures[name] = _timed(lambda query=query: asked(client, here + query))
        total = asked(client, f"{here}/trajectories?limit=1")["total"]
        before, taken = processor_seconds(process.pid), []
        for place in random.Random(0).sample(range(total), min(100, total)):
            (one,) = asked(client, f"{here}/trajectories?limit=1&offset={place}")["trajectories"]
            path = f"{here}/trajectories/{quote(one['store'], safe='')}/{quote(one['id'], safe='')}"
            taken.append(_timed(lambda path=path: asked(client, path)))
        figures["a trajectory, median"], figures["a trajectory, slowest"] = statistics.median(taken), max(taken)
        figures["a trajectory and its row, processor time"] = (processor_seconds(process.pid) - before) / len(taken)
        one_more(run)
        figures["first page, after a trajectory more"] = _timed(lambda: first_page(client))
        figures |= in_a_browser(address, path)
        figures["memory, MB"] = peak_memory(process.pid)
    began = time.monotonic()
    with served(run) as (address, _), httpx.Client(base_url=address, timeout=60) as client:
        first_page(client)
        figures["first page, warm, with the start"] = time.monotonic() - began
    return figures


@contextmanager
def served(run: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The viewer's address and process."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = [sys.executable, "-m", "stepladder", "view", str(run), "--port", str(port), "--token", "none"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            while True:
                try:
                    httpx.get(f"{address}/", timeout=60)
                    break
                except httpx.TransportError:
                    if process.poll() is not None:
                        sys.exit("the viewer did not start")
                    time.sleep(0.02)
            yield address, process
        finally:
            process.terminate()
            process.wait(20)


def first_page(client: httpx.Client) -> None:
    """The list of runs, asked for again while a store is still being read."""
    client.get("/").raise_for_status()
    while asked(client, "/api/runs")["runs"][0]["indexing"] is not None:
        pass


def asked(client: httpx.Client, path: str) -> dict:
    return client.get(path).raise_for_status().json()


def one_more(run: Path) -> None:
    """A trajectory is appended to the store while the server shows it."""
    with TrajectoryStore(run / f"{STORE}.jsonl", "a") as store:
        first = store.get(store.ids()[0])
        fields = {name: getattr(first, name) for name in ("task", "steps", "final", "status", "reward", "group", "seed", "policy")}
        store.append(Trajectory(f"one-more-{len(store)}", **fields))


def in_a_browser(address: str, trajectory: str) -> dict[str, float]:
    """Seconds until a browser that is open already shows the list of runs, and a trajectory; nothing where there is none."""
    try:
        from playwright.sync_api import sync_playwright

        chromium = find_chromium()
    except (ImportError, ChromiumNotFound):
        return {}
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=chromium) as browser:
        page = browser.new_page()
        figures = {}
        for name, path, shown in (
            ("browser: runs drawn", "/", "main a[href^='/run/']"),
            (
                "browser: trajectory drawn",
                trajectory.removeprefix("/api").replace("/runs/", "/run/").replace("/trajectories/", "/trajectory/"),
                "main img",
            ),
        ):
            began = time.monotonic()
            page.goto(address + path)
            page.wait_for_selector(shown)
            figures[name] = time.monotonic() - began
        return figures


def peak_memory(process: int) -> float:
    """The most memory that a process has had, in MB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("this machine does not tell the memory of a process")


def processor_seconds(process: int) -> float:
    """Processor time that a process has had, in seconds; other work on the machine does not count."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


if __name__ == "__main__":
    main()
