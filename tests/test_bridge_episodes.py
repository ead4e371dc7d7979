"""Episodes over HTTP last as long as those beside the agent, end where those end, and tell their agent the same."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from starlette.testclient import TestClient
from test_bridge import LOGIN, TOKEN, Breaking, Network, app, with_server
from test_openenv import connected, serving
from typer.testing import CliRunner

from stepladder import cli
from stepladder.config import ConfigError
from stepladder.envs.bridge import answers, server, wire
from stepladder.envs.bridge.client import BridgeEnvironment
from stepladder.envs.forms.environment import FormsEnvironment
from stepladder.images import ImageStore
from stepladder.interfaces import Environment, EnvironmentFailure
from stepladder.rollout.demonstrate import run_demonstration
from stepladder.rollout.group import EpisodeJob, play_many
from stepladder.rollout.pool import EnvironmentPool, PoolSettings
from stepladder.stages import serve, serve_desktop, serve_model
from stepladder.types import Action, Limits, Observation, Task, Trajectory

# ------------------------------------------------------------------------------------------------------------ room and time


class Twinned(BridgeEnvironment):
    """Solves the form beside it in memory, so that a solution is known."""

    async def reset(self, task: Task, seed: int) -> Observation:
        self.twin = FormsEnvironment(ImageStore())
        await self.twin.reset(task, seed)
        return await super().reset(task, seed)

    async def solve(self) -> Any:
        async for thought, action in self.twin.solve():
            yield thought, action
            await self.twin.step(action)


def test_a_full_server_is_waited_for_and_nothing_is_quarantined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "RETRY_AFTER", 0)
    network = Network(one=app(capacity=1))

    async def open_many(count: int) -> Sequence[Environment]:
        return [Twinned(ImageStore(), url="http://one", transport=network) for _ in range(count)]

    async def play(environment: Environment, job: EpisodeJob) -> Trajectory:
        return (await run_demonstration(environment, job.task, job.seed, limits=Limits(step_deadline=20.0)))[0]

    async def run() -> None:
        async with EnvironmentPool(open_many, 4, PoolSettings(check_every=0, memory=0, load=0)) as pool:
            jobs = [EpisodeJob(LOGIN, seed) for seed in range(8)]
            found = await play_many(jobs, pool, play, failed=lambda one: one.environment_failed)
            assert [(one.status, one.reward) for one in found] == [("done", 1.0)] * 8
            assert (pool.counts["quarantined"], pool.counts["repeated"]) == (0, 0)

    asyncio.run(run())
    assert network.asked.count("one/reset") > 8, "the server was never full"


def test_a_server_that_broke_is_not_asked_again_while_another_one_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "RETRY_AFTER", 0)
    network = Network(full=app(Breaking, capacity=1), broken=app(Breaking))

    async def run() -> None:
        first = BridgeEnvironment(ImageStore(), url="http://full", transport=network)
        await first.reset(LOGIN, 0)
        second = BridgeEnvironment(ImageStore(), url="http://full,http://broken", transport=network)
        task = Task(LOGIN.id, "", "forms", {**LOGIN.setup, "reset": "failure"})
        starting = asyncio.create_task(second.reset(task, 0))
        await asyncio.sleep(1.0)
        assert not starting.done()
        await first.close()
        with pytest.raises(EnvironmentFailure, match=r"http://(full|broken): .*it broke; http://(full|broken): .*it broke"):
            await starting
        await second.close()

    asyncio.run(run())
    assert network.asked.count("broken/reset") == 1
    assert network.asked.count("full/reset") > 2


@pytest.mark.parametrize(("said", "seconds"), [("3", 3.0), ("0", 0.05), ("900", 60.0), ("", 5.0), ("soon", 5.0), ("²", 5.0)])
def test_when_a_full_server_is_asked_again(monkeypatch: pytest.MonkeyPatch, said: str, seconds: float) -> None:
    class Asleep(Exception):
        pass

    async def sleep(pause: float) -> None:
        raise Asleep(pause)

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(503, json={"error": "full", "kind": "full"}, headers={"Retry-After": said.encode()})

    async def run() -> None:
        transport = httpx.MockTransport(answer)
        patient = BridgeEnvironment(ImageStore(), url="http://one", transport=transport, patience=seconds + 1)
        with pytest.raises(Asleep) as slept:
            await patient.reset(LOGIN, 0)
        assert slept.value.args == (seconds,)
        impatient = BridgeEnvironment(ImageStore(), url="http://one", transport=transport, patience=seconds / 2)
        with pytest.raises(EnvironmentFailure, match="no server had room"):
            await impatient.reset(LOGIN, 0)

    monkeypatch.setattr("stepladder.envs.bridge.client.asyncio.sleep", sleep)
    asyncio.run(run())


class Slow(FormsEnvironment):
    """Takes longer to start and to be graded than one call may, and says so."""

    reset_deadline, evaluate_deadline = 30.0, 700.0

    async def reset(self, task: Task, seed: int) -> Observation:
        await asyncio.sleep(1.5)
        return await super().reset(task, seed)

    async def evaluate(self) -> float:
        await asyncio.sleep(1.5)
        return await super().evaluate()


def test_an_environment_keeps_the_time_that_it_grants_itself() -> None:
    async def run() -> None:
        environment = Twinned(ImageStore(), url="http://one", transport=Network(one=app(Slow, deadline=1.0)), deadline=1.2)
        trajectory, _ = await run_demonstration(environment, LOGIN, 0, limits=Limits(step_deadline=1.0))
        assert (trajectory.status, trajectory.reward) == ("done", 1.0), trajectory.error
        assert environment.evaluate_deadline > Slow.evaluate_deadline
        await environment.close()

    asyncio.run(run())


def test_an_action_that_waits_has_its_time_on_top() -> None:
    async def run() -> None:
        environment = BridgeEnvironment(ImageStore(), url="http://one", transport=Network(one=app(deadline=1.0)), deadline=1.0)
        await environment.reset(LOGIN, 0)
        await environment.step(Action("wait", seconds=1.5))
        await environment.close()

    asyncio.run(run())


def test_an_episode_that_is_graded_makes_room_and_one_that_goes_on_does_not() -> None:
    async def work(client: httpx.AsyncClient) -> None:
        first = {"episode_id": (await client.post("/reset", json={"task": LOGIN.id})).json()["episode_id"]}
        await client.post("/evaluate", json=first)
        assert (await client.post("/step", json={**first, "action": "WAIT"})).status_code == 200
        assert (await client.post("/reset", json={"task": LOGIN.id})).status_code == 503
        await client.post("/evaluate", json=first)
        assert (await client.post("/reset", json={"task": LOGIN.id})).status_code == 200
        assert (await client.post("/step", json={**first, "action": "WAIT"})).status_code == 404

    with_server(work, app(capacity=1))


class Closing(FormsEnvironment):
    """Takes its time to close."""

    async def close(self) -> None:
        await asyncio.sleep(0.5)


def test_a_place_is_free_once_its_environment_is_closed() -> None:
    async def work(client: httpx.AsyncClient) -> None:
        first = (await client.post("/reset", json={"task": LOGIN.id})).json()["episode_id"]
        closing = asyncio.create_task(client.post("/close", json={"episode_id": first}))
        await asyncio.sleep(0.2)
        assert (await client.post("/render", json={"episode_id": first})).status_code == 404
        assert (await client.get("/health")).json()["episodes"] == 1
        assert (await client.post("/reset", json={"task": LOGIN.id})).status_code == 503
        assert (await closing).status_code == 200
        assert (await client.post("/reset", json={"task": LOGIN.id})).status_code == 200

    with_server(work, app(Closing, capacity=1))


# ------------------------------------------------------------------------------------------------- what is told, and the end


class Telling(FormsEnvironment):
    """Says what it has done, once."""

    kinds: list[str]

    async def reset(self, task: Task, seed: int) -> Observation:
        self.kinds = []
        return await super().reset(task, seed)

    async def step(self, action: Action) -> Observation:
        shown = await super().step(action)
        self.kinds.append(action.kind)
        text = "" if action.kind == "wait" else f"{action.kind} {action.text}".strip()
        return Observation(shown.screenshot, shown.tree, text, shown.url, shown.state_key, shown.done)


@pytest.mark.parametrize("pause", [0, 0.1])
def test_everything_that_is_told_in_a_step_comes_through(pause: float) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        began = (await client.post("/reset", json={"task": LOGIN.id})).json()
        lines = "pyautogui.write('a')\npyautogui.write('b')\npyautogui.sleep(0.1)"
        body = {"episode_id": began["episode_id"], "action": lines, "pause": pause}
        said = (await client.post("/step", json=body)).json()
        assert said["terminal"] == said["observation"]["text"] == "type a\ntype b"
        assert (await client.post("/render", json={"episode_id": began["episode_id"]})).json()["terminal"] is None

    with_server(work, app(Telling))


@pytest.mark.parametrize("last", ["DONE", "FAIL"])
def test_nothing_follows_the_end_of_an_episode(last: str) -> None:
    played: list[Telling] = []

    class Kept(Telling):
        def __init__(self, images: ImageStore) -> None:
            super().__init__(images)
            played.append(self)

    async def work(client: httpx.AsyncClient) -> None:
        began = (await client.post("/reset", json={"task": LOGIN.id})).json()
        episode = {"episode_id": began["episode_id"]}
        ended = (await client.post("/step", json={**episode, "action": last})).json()
        assert (ended["done"], ended["info"]) == (True, {last.lower(): True})
        for action in ("pyautogui.click(80, 100)", "DONE", {"kind": "wait"}):
            refused = await client.post("/step", json={**episode, "action": action})
            assert (refused.status_code, refused.json()["kind"]) == (400, "bad_request")
            assert "the episode is over" in refused.json()["error"]
        shown = (await client.post("/render", json=episode)).json()
        assert shown["observation"] == ended["observation"]
        assert played[0].kinds == [last.lower()]
        assert (await client.post("/evaluate", json=episode)).json() == {"reward": 0.0}

    with_server(work, app(Kept))


# ------------------------------------------------------------------------------------------------------ whose mistake it is


def test_a_mistake_of_the_server_is_not_one_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    def mistaken(given: Any) -> int:
        raise ZeroDivisionError("a mistake")

    async def work(client: httpx.AsyncClient) -> None:
        answer = await client.post("/reset", json={"task": LOGIN.id})
        assert (answer.status_code, answer.json()["kind"]) == (500, "server_error")
        declared = (await client.get("/openapi.json")).json()["paths"]
        assert not [path for path, item in declared.items() for one in item.values() if "500" in one["responses"]]

    monkeypatch.setattr(server, "read_seed", mistaken)
    assert wire.read_seed(3) == 3
    with_server(work)


@pytest.mark.parametrize("reward", [float("nan"), 1.5, -1, None, "1"])
def test_a_grade_that_is_none_is_the_environments_mistake(reward: Any) -> None:
    class Wrong(FormsEnvironment):
        async def evaluate(self) -> float:
            return reward  # type: ignore[no-any-return]

    async def work(client: httpx.AsyncClient) -> None:
        episode = {"episode_id": (await client.post("/reset", json={"task": LOGIN.id})).json()["episode_id"]}
        answer = await client.post("/evaluate", json=episode)
        assert (answer.status_code, answer.json()["kind"]) == (502, "env_error")

    with_server(work, app(Wrong))


def test_an_environment_that_times_out_of_itself_is_a_timeout() -> None:
    class Impatient(FormsEnvironment):
        async def step(self, action: Action) -> Observation:
            raise TimeoutError("its own")

    async def work(client: httpx.AsyncClient) -> None:
        episode = {"episode_id": (await client.post("/reset", json={"task": LOGIN.id})).json()["episode_id"]}
        answer = await client.post("/step", json={**episode, "action": "WAIT"})
        assert (answer.status_code, answer.json()) == (504, {"error": "step: its own", "kind": "timeout"})

    with_server(work, app(Impatient))


# ----------------------------------------------------------------------------------------------------------- who may ask


def _routes() -> list[tuple[str, str]]:
    paths = TestClient(app(), base_url="http://127.0.0.1").get("/openapi.json").json()["paths"]
    return [(method, path.format(episode_id="0" * 32, sha256="0" * 64)) for path, item in paths.items() for method in item]


@pytest.mark.parametrize(("method", "path"), _routes())
def test_without_a_token_only_programs_of_this_machine_are_answered(method: str, path: str) -> None:
    """A page of any site can send to 127.0.0.1, or to a name of its own that leads there, bodies that are no JSON by their type
    included."""

    async def work(client: httpx.AsyncClient) -> None:
        for headers in (
            {"Origin": "https://example.org"},
            {"Origin": "null", "Content-Type": "text/plain"},
            {"Origin": "http://127.0.0.1:8765"},
            {"Host": "example.org"},
            {"Host": "example.org:8765"},
            {"Host": "192.168.0.7"},
        ):
            answer = await client.request(method, path, headers=headers, json={"task": LOGIN.id})
            assert (answer.status_code, answer.json()["kind"]) == (403, "forbidden")
        assert (await client.get("/health")).json()["counts"]["started"] == 0
        for host in ("localhost:8765", "127.0.0.1", "[::1]:8765", "127.8.8.8"):
            assert (await client.request(method, path, headers={"Host": host}, json={})).status_code != 403

    with_server(work)


def test_with_the_token_any_name_and_page_is_answered() -> None:
    async def work(client: httpx.AsyncClient) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}", "Origin": "https://example.org", "Host": "example.org"}
        assert (await client.post("/reset", json={"task": LOGIN.id}, headers=headers)).status_code == 200

    with_server(work, app(token=TOKEN))


def test_the_socket_without_a_token_is_for_this_machine_alone() -> None:
    async def run() -> None:
        async with serving(app()) as address:
            port = address.rpartition(":")[2]
            with pytest.raises(websockets.InvalidStatus, match="403"):
                await websockets.connect(f"ws://example.org:{port}/openenv/ws", host="127.0.0.1")
            async with connected(f"localhost:{port}") as client:
                assert "observation" in await client.ask("reset", {"task": LOGIN.id})

    asyncio.run(run())


# -------------------------------------------------------------------------------------------------------- the command line


def test_a_server_without_a_token_can_be_asked_for(tmp_path: Path) -> None:
    for words in (["serve"], ["serve", str(tmp_path)], ["serve-desktop"]):
        said = CliRunner().invoke(cli.app, [*words, "--token", "none", "--settings"]).output
        assert "token=none" in said.splitlines()
    serve.ServeConfig(token="none").check()
    with pytest.raises(ConfigError, match="reached by other machines"):
        serve.ServeConfig(token="none", host="0.0.0.0").check()


@pytest.mark.parametrize("what", ["environments", "desktop", "model"])
def test_a_port_that_is_taken_is_an_error_and_no_address_is_told(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        mains: dict[str, Callable[[], None]] = {
            "environments": lambda: serve.main(serve.ServeConfig(tasks="forms", port=port)),
            "desktop": lambda: serve_desktop.main(serve_desktop.ServeDesktopConfig(port=port)),
            "model": lambda: serve_model.main(serve_model.ServeModelConfig(tmp_path, port=port)),
        }
        with pytest.raises(ConfigError, match=f"nothing can listen at 127.0.0.1:{port}: the port is taken"):
            mains[what]()
    assert capsys.readouterr().err == ""


def test_a_name_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"nothing can listen at no\.such\.host\.invalid:8765: "):
        serve.main(serve.ServeConfig(tasks="forms", host="no.such.host.invalid"))
