"""What dies on a Ray cluster while a policy trains: processes that play, replicas, whole machines, the network, the driver.

The run completes, every episode is kept once, every group is learned from once, and nothing is left behind. The longest kills
fifty times and compares what was learned with an undisturbed run. Run by `make test-faults`: so many
processes at once keep other tests waiting.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from careless import KINDS, SEEDS, imitate
from namespaces import network
from processes import is_running
from ray_cluster import RealCluster, cluster
from test_rl import FORMS, checkpoint

from stepladder.run import read_metrics
from stepladder.stages.rl import main
from stepladder.stats import success_rate
from stepladder.store import TrajectoryStore

#: Episodes of the last updates that tell what was learned.
LAST = 8


def processes(run: Path) -> dict[str, int]:
    """Process ids by what they are, of those that are at work."""
    try:
        return {name: one["process"] for name, one in json.loads((run / "processes.json").read_text()).items()}
    except (OSError, ValueError):
        return {}


def accounts(run: Path) -> None:
    """Every episode is one of a group that was begun; every group was learned from at most once; none of an update is missing."""
    groups = {one["number"]: one for one in map(json.loads, (run / "groups.jsonl").read_text().splitlines())}
    with TrajectoryStore(run / "rollouts-0.jsonl") as store:
        ids = [one.id for one in store.summaries()]
        kept = Counter(one.group for one in store.summaries())
    assert len(ids) == len(set(ids))
    assert set(kept) <= {one["group"] for one in groups.values()}
    assert all(kept[one["group"]] <= one["jobs"] for one in groups.values())
    taken = torch.load(run / "state.pt", weights_only=True)["standing"]["rollouts"]["taken"]
    assert len(taken) == len(set(taken))
    assert all(kept[groups[number]["group"]] == groups[number]["size"] for number in taken), "a group was learned from in part"


@pytest.mark.faults
def test_processes_that_are_killed_or_hang_are_begun_anew(tmp_path: Path) -> None:
    """One that plays is killed, a replica is killed, one that plays hangs; the run goes on with other processes."""
    config = replace(FORMS, checkpoint=checkpoint(tmp_path / "start"), output=tmp_path / "run", replay=0, validation=0)
    config = replace(config, asynchronous=replace(config.asynchronous, on=True), environments=4, updates=12, save_every=1)
    config = replace(config, ray=replace(config.ray, address="local", workers=2, heartbeat=0.5, silence=8.0))
    seen: list[int] = []

    def disturb() -> None:
        run = config.output
        for name, number in (("worker 0", signal.SIGKILL), ("replica 0", signal.SIGKILL), ("worker 1", signal.SIGSTOP)):
            before = _wait(lambda name=name: processes(run).get(name))  # type: ignore[misc]
            updates = len(read_metrics(run, "rl"))
            os.kill(before, number)
            seen.append(before)
            _wait(lambda name=name, before=before: processes(run).get(name) not in (None, before))  # type: ignore[misc]
            _wait(lambda updates=updates: len(read_metrics(run, "rl")) > updates)  # type: ignore[misc]

    disturber = threading.Thread(target=disturb, daemon=True)
    disturber.start()
    try:
        main(replace(config, updates=40), show=False)
    finally:
        disturber.join(60)
    assert len(seen) == 3
    accounts(config.output)
    assert read_metrics(config.output, "rollouts")[-1]["processes_lost"] >= 3
    assert not any(map(is_running, seen))


def _wait(found: Callable[[], Any], seconds: float = 120.0) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        value = found()
        if value:
            return value
        time.sleep(0.1)
    raise TimeoutError


# ------------------------------------------------------------------------------------------------------------ fifty kills


def command(start: Path, output: Path, address: str, updates: int) -> list[str]:
    settings = {
        "ray.workers": 3,
        "ray.worker_cpus": 1,
        "ray.heartbeat": 0.5,
        "ray.silence": 15,
        "asynchronous.losses": 100,
        "ranks": 1,
        "bf16": "false",
        "updates": updates,
        "groups": 4,
        "group_size": 16,
        "rounds": 1,
        "expand": "false",
        "first": SEEDS.start,
        "seeds": len(SEEDS),
        "max_tokens": 40,
        "environments": 16,
        "options": '{"height": 224}',
        "optimizer.lr": 5e-4,  # at 1e-3 a policy falls and rises again, disturbed or not
        "optimizer.adam_lr": 2.5e-4,
        "warmup": 3,
        "decay": 0.7,
        "validation": 0,
        "save_every": 1,
        "curriculum.strength": 0.0,
    }
    chosen = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    tasks = "forms:" + ",".join(KINDS)
    return [
        sys.executable,
        "-m",
        "stepladder",
        "rl",
        "--checkpoint",
        str(start),
        "--tasks",
        tasks,
        "--output",
        str(output),
        "--ray",
        address,
        *chosen,
    ]


def learned(run: Path) -> tuple[int, int]:
    """(successes, episodes) of the last updates, from the weights that survived."""
    by_step = {record["step"]: record for record in read_metrics(run, "rl") if record["step"] > 0}
    last = [by_step[step] for step in sorted(by_step)[-LAST:]]
    episodes = sum(round(record["episodes"] - record["failed"]) for record in last)
    return round(sum(record["reward"] * (record["episodes"] - record["failed"]) for record in last)), episodes


class Driver:
    """`stepladder rl` in a process that can be killed and begun again."""

    def __init__(self, arguments: Sequence[str], made: RealCluster, log: Path) -> None:
        self.arguments, self.made, self.log = arguments, made, log
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as out:
            environment = {**self.made.environment, "OMP_NUM_THREADS": "1"}
            self.process = subprocess.Popen(
                self.arguments, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.mark.faults
def test_fifty_random_kills_change_nothing_but_the_time(tmp_path: Path) -> None:
    """Processes that play, replicas, raylets and the driver, at random."""
    start = imitate(tmp_path / "careless", careless=True)
    random, kills = Random(0), Counter[str]()
    updates = int(os.environ.get("STEPLADDER_KILL_UPDATES", "60"))
    with cluster([2, 2, 2]) as made:
        quiet = tmp_path / "quiet"
        subprocess.run(command(start, quiet, made.address, updates), env=made.environment, check=True)
        run = tmp_path / "run"
        driver = Driver(command(start, run, made.address, updates), made, tmp_path / "log")
        began = time.monotonic()
        try:
            while driver.process.poll() is None:
                time.sleep(random.uniform(1.0, 4.0))
                if sum(kills.values()) < 50 and len(processes(run)) == 4 and driver.process.poll() is None:
                    kills[disturb(random, made, driver, run)] += 1
        finally:
            driver.kill()
        seconds = time.monotonic() - began
        assert driver.process.returncode == 0, (tmp_path / "log").read_text()[-3000:]
        left = [pid for number in range(3) for pid in made.processes(number) if "ray::Host" in _title(pid)]
        _wait(lambda: not any(map(is_running, left)))
    print(f"kills {dict(kills)}, {seconds:.0f} s")
    assert sum(kills.values()) == 50
    accounts(run)
    (good, count), (undisturbed, its_count) = learned(run), learned(quiet)
    rate, its = success_rate(good, count), success_rate(undisturbed, its_count)
    print(f"disturbed {rate}, undisturbed {its}, started at {read_metrics(quiet, 'rl')[0]['reward']:.3f}")
    assert rate.rate is not None
    assert its.low <= rate.rate <= its.high or (rate.low <= its.high and its.low <= rate.high)


@pytest.mark.faults
def test_a_machine_whose_network_is_cut_is_done_without(tmp_path: Path) -> None:
    """Two machines in network namespaces, with pictures that travel; one is cut off for good, and another takes its place."""
    start = imitate(tmp_path / "careless", careless=True)
    with network(2) as net:
        addresses, inside = [net.address, *net.addresses], [[], net.inside(0), net.inside(1)]
        with cluster([2, 2, 2], addresses, inside) as made:
            run = tmp_path / "run"
            driver = Driver([*command(start, run, made.address, 12), "--set", "ray.share_files=false"], made, tmp_path / "log")
            try:
                _wait(lambda: len(read_metrics(run, "rollouts")) >= 2 if run.exists() else 0, 300)
                net.cut(1)
                updates = len(read_metrics(run, "rollouts"))
                _wait(lambda: len(read_metrics(run, "rollouts")) > updates + 1, 300)
                net.mend(1)
                made.kill(2)
                made.start(2)
                assert driver.process.wait(600) == 0, (tmp_path / "log").read_text()[-3000:]
            finally:
                driver.kill()
    accounts(run)
    assert read_metrics(run, "rollouts")[-1]["processes_lost"] >= 1


def disturb(random: Random, made: RealCluster, driver: Driver, run: Path) -> str:
    """Kill something; what it was. What Ray does not begin anew by itself is begun again."""
    kind = random.choice(["worker", "worker", "replica", "hang", "machine", "driver"])
    found = [pid for name, pid in processes(run).items() if name.startswith("replica" if kind == "replica" else "worker")]
    if kind == "driver":
        driver.kill()
        (run / "processes.json").unlink()
        driver.start()
    elif kind == "machine":
        number = random.choice([1, 2])
        made.kill(number)
        made.start(number)
    else:
        with suppress(ProcessLookupError):  # it has just been lost with its machine
            os.kill(random.choice(found), signal.SIGSTOP if kind == "hang" else signal.SIGKILL)
    return kind


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
