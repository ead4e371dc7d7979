"""Environments over HTTP are the environments themselves; what goes wrong is said as what it is."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.applications import Starlette

from stepladder.codec import to_json
from stepladder.envs.bridge.client import BridgeEnvironment
from stepladder.envs.bridge.server import ServerSettings, make_app
from stepladder.envs.conformance import check_environment
from stepladder.envs.forms.environment import FormsEnvironment
from stepladder.images import ImageStore
from stepladder.interfaces import Environment, EnvironmentFailure, EnvironmentTimeout
from stepladder.pressure import Pressure
from stepladder.types import Action, Observation, Task

TASKS = FormsEnvironment.tasks()
LOGIN = next(task for task in TASKS if task.id.endswith("login"))
TOKEN = "a token of the test"
ROUTES = (
    "health",
    "tasks",
    "openapi.json",
    f"screenshot/{'0' * 32}/{'0' * 64}",
    "reset",
    "step",
    "render",
    "evaluate",
    "heartbeat",
    "close",
)


class Breaking(FormsEnvironment):
    """Fails where its task's `setup` says."""

    async def _break(self, where: str) -> None:
        how = self.task.setup.get(where)
        if how == "failure":
            raise EnvironmentFailure("it broke")
        if how == "mistake":
            raise ZeroDivisionError("a mistake")
        if how == "hang":
            await asyncio.sleep(60)

    async def reset(self, task: Task, seed: int) -> Observation:
        self.task = task
        await self._break("reset")
        return await super().reset(task, seed)

    async def step(self, action: Action) -> Observation:
        await self._break("step")
        return await super().step(action)

    async def evaluate(self) -> float:
        await self._break("evaluate")
        return await super().evaluate()


def app(kind: type[FormsEnvironment] = FormsEnvironment, **settings: Any) -> Starlette:
    async def open_one(images: ImageStore) -> Environment:
        return kind(images)

    return make_app(open_one, TASKS, ServerSettings(**settings))


class Network(httpx.AsyncBaseTransport):
    """Servers by their host, each of which takes itself to be at 127.0.0.1; one that is None does not answer."""

    def __init__(self, **servers: Starlette | None) -> None:
        self.transports = {name: None if one is None else httpx.ASGITransport(one) for name, one in servers.items()}
        self.asked: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.url.host}{request.url.path}")
        transport = self.transports[request.url.host]
        if transport is None:
            raise httpx.ConnectError("nobody is there")
        request.headers["host"] = "127.0.0.1"
        return await transport.handle_async_request(request)


def with_server(work: Callable[[httpx.AsyncClient], Awaitable[None]], server: Starlette | None = None) -> None:
    async def run() -> None:
        application = server or app()
        async with (
            application.router.lifespan_context(application),
            httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://127.0.0.1") as client,
        ):
            await work(client)

    asyncio.run(run())


def breaking(where: str, how: str) -> dict[str, Any]:
    task = to_json(LOGIN)
    return {**task, "setup": {**task["setup"], where: how}}


def test_a_bridged_environment_keeps_the_contract() -> None:
    server = app(capacity=2)
    environment = lambda: BridgeEnvironment(ImageStore(), url="http://one", transport=Network(one=server))  # noqa: E731
    asyncio.run(check_environment(environment, TASKS[:3]))


def test_an_agent_of_osworld_can_play() -> None:
    async def work(client: httpx.AsyncClient) -> None:
        said = (await client.post("/reset", json={"task_config": LOGIN.id, "seed": 3, "env_config": {"os_type": "Ubuntu"}})).json()
        assert base64.b64decode(said["screenshot_base64"]).startswith(b"\x89PNG")
        assert said["instruction"] == said["task"]["instruction"] != ""
        episode = {"episode_id": said["episode_id"]}
        step = (await client.post("/step", json={**episode, "action": "pyautogui.click(80, 100)", "pause": 0})).json()
        assert (step["reward"], step["done"], step["step"], step["info"]) == (0, False, 1, {})
        last = (await client.post("/step", json={**episode, "action": "DONE"})).json()
        assert (last["done"], last["info"]) == (True, {"done": True})
        assert (await client.post("/evaluate", json=episode)).json() == {"reward": 0.0}
        assert (await client.post("/close", json=episode)).json()["status"] == "closed"
        assert (await client.post("/step", json={**episode, "action": "WAIT"})).status_code == 404
        health = (await client.get("/health")).json()
        assert (health["episodes"], health["counts"]["started"], health["counts"]["closed"]) == (0, 1, 1)

    with_server(work)


def test_render_looks_again() -> None:
    looks = []

    class Looking(FormsEnvironment):
        async def step(self, action: Action) -> Observation:
            looks.append(action.kind)
            return await super().step(action)

    async def work(client: httpx.AsyncClient) -> None:
        said = (await client.post("/reset", json={"task": LOGIN.id})).json()
        await client.post("/render", json={"episode_id": said["episode_id"]})
        assert looks == ["wait"]

    with_server(work, app(Looking))


@pytest.mark.parametrize("route", ROUTES)
def test_every_call_wants_the_token(route: str) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
            for method in ("GET", "POST"):
                status = (await client.request(method, f"/{route}", headers=headers, json={})).status_code
                assert status in (401, 405)
        assert (await client.get("/health", headers={"Authorization": f"Bearer {TOKEN}"})).status_code == 200

    with_server(work, app(token=TOKEN))


@pytest.mark.parametrize("where", ["reset", "step", "evaluate"])
@pytest.mark.parametrize(
    ("how", "status", "kind"), [("failure", 502, "env_error"), ("mistake", 502, "env_error"), ("hang", 504, "timeout")]
)
def test_a_broken_environment_is_told_and_its_episode_is_over(where: str, how: str, status: int, kind: str) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        answer = await client.post("/reset", json={"task": breaking(where, how)})
        if where != "reset":
            episode = {"episode_id": answer.json()["episode_id"]}
            answer = await client.post(f"/{where}", json={**episode, "action": "WAIT"})
            assert "reward" not in answer.json()
        assert (answer.status_code, answer.json()["kind"]) == (status, kind)
        assert (await client.get("/health")).json()["episodes"] == 0

    with_server(work, app(Breaking, deadline=2.0))


def test_a_running_episode_is_never_given_up_for_another() -> None:
    async def work(client: httpx.AsyncClient) -> None:
        first = (await client.post("/reset", json={"task": LOGIN.id})).json()
        refused = await client.post("/reset", json={"task": LOGIN.id})
        assert (refused.status_code, refused.json()["kind"]) == (503, "full")
        assert (await client.post("/render", json={"episode_id": first["episode_id"]})).status_code == 200
        await client.post("/close", json={"episode_id": first["episode_id"]})
        assert (await client.post("/reset", json={"task": LOGIN.id})).status_code == 200

    with_server(work, app(capacity=1))


def test_a_lease_runs_out_unless_it_is_renewed() -> None:
    async def work(client: httpx.AsyncClient) -> None:
        episodes = [(await client.post("/reset", json={"task": LOGIN.id})).json()["episode_id"] for _ in range(2)]
        for _ in range(8):
            await asyncio.sleep(0.3)
            assert (await client.post("/heartbeat", json={"episode_id": episodes[0]})).status_code == 200
        assert (await client.post("/render", json={"episode_id": episodes[1]})).status_code == 404
        assert (await client.get("/health")).json()["counts"]["expired"] == 1

    with_server(work, app(lease=1.5))


@pytest.mark.parametrize(
    ("route", "body", "said"),
    [
        ("reset", {}, "task: is missing"),
        ("reset", {"task": "nothing"}, "there is no task 'nothing'"),
        ("reset", {"task": 5}, "must be an id or an object"),
        ("reset", {"task": {"id": "x", "instructoin": "y"}}, "instruct"),
        ("reset", {"task": {"id": "x", "instruction": "", "env": "miniwob"}}, "this server has 'forms'"),
        ("reset", {"task": LOGIN.id, "seed": -1}, "seed: must be a whole number"),
        ("step", {}, "episode_id: must be a string"),
        ("render", [], "must be a JSON object"),
    ],
)
def test_bad_requests_name_the_field(route: str, body: Any, said: str) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        answer = await client.post(f"/{route}", json=body)
        assert answer.status_code == 400
        assert said in answer.json()["error"]

    with_server(work)


@pytest.mark.parametrize("action", ["import os; os.system('x')", {"kind": "jump"}, 5, {"kind": "click", "z": 1}])
def test_a_bad_action_changes_nothing(action: Any) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        said = (await client.post("/reset", json={"task": LOGIN.id})).json()
        answer = await client.post("/step", json={"episode_id": said["episode_id"], "action": action})
        assert answer.status_code == 400
        again = (await client.post("/render", json={"episode_id": said["episode_id"]})).json()
        assert again["observation"] == said["observation"]

    with_server(work)


def test_the_client_takes_the_server_with_most_room_and_goes_to_the_next() -> None:
    async def run() -> None:
        network = Network(one=app(capacity=1), two=app(capacity=3), dead=None)
        url = "http://dead, http://one/,http://two"
        environments = [BridgeEnvironment(ImageStore(), url=url, transport=network) for _ in range(4)]
        for number, environment in enumerate(environments):
            await environment.reset(LOGIN, number)
        assert [environment._server for environment in environments].count("http://two") == 3
        fifth = BridgeEnvironment(ImageStore(), url=url, transport=network, patience=0)
        with pytest.raises(EnvironmentFailure, match=r"no server had room within 0 s: .*dead: .*nobody is there; .*one: full; "):
            await fifth.reset(LOGIN, 0)
        dead = BridgeEnvironment(ImageStore(), url="http://dead", transport=network)
        with pytest.raises(EnvironmentFailure, match=r"no server could start the episode: .*nobody is there"):
            await dead.reset(LOGIN, 0)
        await environments[0].close()
        await fifth.reset(LOGIN, 0)
        for environment in (*environments, fifth):
            await environment.close()

    asyncio.run(run())


def test_a_picture_is_fetched_once() -> None:
    async def run() -> None:
        network, images = Network(one=app()), ImageStore()
        environment = BridgeEnvironment(images, url="http://one", transport=network)
        first = await environment.reset(LOGIN, 0)
        again = await environment.step(Action("wait"))
        assert first.screenshot == again.screenshot
        assert sum("/screenshot/" in asked for asked in network.asked) == 1
        await environment.close()

    asyncio.run(run())


def test_failures_come_through_as_what_they_are() -> None:
    async def run() -> None:
        network = Network(one=app(Breaking, deadline=2.0))
        for how, wanted in (("failure", EnvironmentFailure), ("hang", EnvironmentTimeout)):
            environment = BridgeEnvironment(ImageStore(), url="http://one", transport=network)
            await environment.reset(Task(LOGIN.id, "", "forms", {**LOGIN.setup, "step": how}), 0)
            with pytest.raises(wanted):
                await environment.step(Action("wait"))
            with pytest.raises(EnvironmentFailure, match="was not reset, or it failed since"):
                await environment.evaluate()
            await environment.close()

    asyncio.run(run())


def test_a_server_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OSWORLD_SERVER_URL", raising=False)
    with pytest.raises(ValueError, match="OSWORLD_SERVER_URL"):
        BridgeEnvironment(ImageStore())


def test_an_episode_that_nobody_waits_for_is_closed() -> None:
    class Slow(FormsEnvironment):
        async def reset(self, task: Task, seed: int) -> Observation:
            await asyncio.sleep(0.5)
            return await super().reset(task, seed)

    async def run() -> None:
        server = app(Slow)
        environment = BridgeEnvironment(ImageStore(), url="http://one", transport=Network(one=server))
        starting = asyncio.create_task(environment.reset(LOGIN, 0))
        await asyncio.sleep(0.1)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await asyncio.sleep(1.0)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(server), base_url="http://127.0.0.1") as client:
            assert (await client.get("/health")).json()["episodes"] == 0
        await environment.close()

    asyncio.run(run())


def test_the_tasks_of_a_server_can_be_played(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"tasks": [to_json(task) for task in TASKS]}
    monkeypatch.setenv("OSWORLD_SERVER_URL", "http://one")
    monkeypatch.setattr(httpx, "get", lambda url, **_: httpx.Response(200, json=said, request=httpx.Request("GET", url)))
    found = BridgeEnvironment.tasks([LOGIN.id])
    assert [(task.id, task.env) for task in found] == [(LOGIN.id, "bridge")]
    with pytest.raises(ValueError, match=f"did you mean '{LOGIN.id}'"):
        BridgeEnvironment.tasks([LOGIN.id + "x"])

    async def run() -> None:
        environment = BridgeEnvironment(ImageStore(), transport=Network(one=app()))
        await environment.reset(found[0], 3)
        assert environment.task.env == "bridge"
        local = FormsEnvironment(ImageStore())
        await local.reset(LOGIN, 3)
        assert environment.task.instruction == local.task.instruction
        await environment.close()

    asyncio.run(run())


schema = schemathesis.openapi.from_asgi("/openapi.json", app(Breaking, capacity=4), headers={"Host": "127.0.0.1"})
known: list[str] = []
#: A status that is not declared is one of them, such as 500, a mistake of the server's own.
CHECKS = [status_code_conformance, content_type_conformance, response_headers_conformance, response_schema_conformance]


@schema.parametrize()
@settings(max_examples=50)  # of each kind of request
def test_any_request_gets_a_declared_answer(case: Any) -> None:
    """Also with an episode that there is, which a made-up name would never hit."""
    body = case.body if isinstance(case.body, dict) else {}
    if case.operation.path.endswith("/reset") and len(str(body)) % 2:
        case.body = {**body, "task": LOGIN.id, "seed": 1}
        case.body.pop("episode_id", None)
    elif known and "episode_id" in body and len(str(body)) % 3:
        case.body = {**body, "episode_id": known[-1]}
    answer = case.call(base_url="http://127.0.0.1")
    if case.operation.path.endswith("/reset") and answer.status_code == 200:
        said = answer.json()
        known.append(said.get("episode_id") or said["observation"]["episode_id"])
    operation = schema.raw_schema["paths"][case.operation.path].get(case.method.lower())
    if operation is None:
        assert answer.status_code == 405
    else:
        case.validate_response(answer, checks=CHECKS)


def test_a_full_machine_begins_no_further_episode() -> None:
    async def work(client: httpx.AsyncClient) -> None:
        asked = {"task": LOGIN.id, "seed": 0}
        first = await client.post("/reset", json=asked)
        assert first.status_code == 200, "the first one may always begin"
        second = await client.post("/reset", json=asked)
        assert second.status_code == 503
        assert "memory is short" in second.json()["error"]
        await client.post("/close", json={"episode_id": first.json()["episode_id"]})

    with_server(work, app(capacity=4, pressure=Pressure(memory=1e9)))


class Slow(FormsEnvironment):
    """Takes its time to be graded, and says so."""

    evaluate_deadline = 5.0

    async def evaluate(self) -> float:
        await asyncio.sleep(0.4)
        return await super().evaluate()


@pytest.mark.parametrize("granted", [True, False])
def test_an_environment_may_grant_itself_time(monkeypatch: pytest.MonkeyPatch, granted: bool) -> None:
    if not granted:
        monkeypatch.delattr(Slow, "evaluate_deadline")

    async def work(client: httpx.AsyncClient) -> None:
        began = await client.post("/reset", json={"task": LOGIN.id, "seed": 0})
        graded = await client.post("/evaluate", json={"episode_id": began.json()["episode_id"]})
        assert graded.status_code == (200 if granted else 504)

    with_server(work, app(Slow, deadline=0.3))
