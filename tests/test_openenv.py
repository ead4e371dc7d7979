"""OpenEnv's clients can play here: over HTTP and over their WebSocket, with pictures in binary for those who ask."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import re
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import jsonschema_rs
import pytest
import uvicorn
import websockets
from starlette.applications import Starlette
from test_bridge import LOGIN, TASKS, TOKEN, Breaking, Network, app, breaking, with_server
from websockets.asyncio.client import ClientConnection

from stepladder.codec import to_json
from stepladder.envs.bridge import openenv_socket
from stepladder.envs.bridge.client import BridgeEnvironment
from stepladder.envs.bridge.json_schema import json_schema
from stepladder.envs.bridge.openenv import read_openenv_action
from stepladder.envs.bridge.openenv_schema import openenv_paths, schemas
from stepladder.envs.bridge.server import ServerSettings, make_app
from stepladder.envs.bridge.tree import tree_xml
from stepladder.envs.bridge.wire import BadRequest
from stepladder.envs.forms.environment import FormsEnvironment
from stepladder.images import ImageStore
from stepladder.interfaces import Environment
from stepladder.types import ACTION_KINDS, Action, Element, Observation, Task
from stepladder.types import Message as ChatMessage

PNG = b"\x89PNG"


class Client:
    """Sends and reads what OpenEnv's EnvClient does: text messages {type, data}, `data` left out where there is none."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, kind: str, data: dict[str, Any] | None = None) -> None:
        await self.connection.send(json.dumps({"type": kind} if data is None else {"type": kind, "data": data}))

    async def ask(self, kind: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
        await self.send(kind, data)
        found: dict[str, Any] = json.loads(await self.connection.recv())
        assert set(found) == {"type", "data"}
        assert found["type"] in ("error", {"reset": "observation", "step": "observation"}.get(kind, kind))
        return found["data"]  # type: ignore[no-any-return]


@asynccontextmanager
async def serving(application: Starlette) -> AsyncIterator[str]:
    """The application at a real address (host and port)."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application, log_level="critical"))
    running = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        while not server.started:
            await asyncio.sleep(0.01)
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running


@asynccontextmanager
async def connected(address: str, **options: Any) -> AsyncIterator[Client]:
    async with websockets.connect(f"ws://{address}/openenv/ws", **options) as connection:
        yield Client(connection)


def over_the_socket(work: Callable[[Client], Awaitable[None]], server: Starlette | None = None) -> None:
    async def run() -> None:
        async with serving(server or app()) as address, connected(address) as client:
            await work(client)

    asyncio.run(run())


async def health(address: str) -> dict[str, Any]:
    async with httpx.AsyncClient() as client:
        found: dict[str, Any] = (await client.get(f"http://{address}/health")).json()
    return found


async def until_none_runs(address: str) -> dict[str, Any]:
    for _ in range(60):
        found = await health(address)
        if found["episodes"] == 0:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"episodes go on: {found}")


def parts_of(answer: httpx.Response) -> list[tuple[str, bytes]]:
    message = BytesParser(Message).parsebytes(f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode() + answer.content)
    return [(part.get_content_type(), part.get_payload(decode=True)) for part in message.get_payload()]  # type: ignore[union-attr,misc]


def test_an_episode_over_the_socket() -> None:
    async def work(client: Client) -> None:
        assert await client.ask("state") == {"episode_id": None, "step_count": 0}
        said = await client.ask("reset", {"seed": 3, "episode_id": "episode-001", "task": LOGIN.id})
        assert set(said) == {"observation", "reward", "done"}
        assert (said["reward"], said["done"]) == (None, False)
        seen = said["observation"]
        picture = base64.b64decode(seen["screenshot_base64"])
        assert picture.startswith(PNG)
        assert hashlib.sha256(picture).hexdigest() == seen["screenshot"]["sha256"]
        local = FormsEnvironment(ImageStore())
        assert (await local.reset(LOGIN, 3)).screenshot == ImageStore().put(picture)
        assert (seen["instruction"], seen["task_id"]) == (local.task.instruction, LOGIN.id)
        said = await client.ask("step", {"kind": "click", "x": 80, "y": 100, "text": None, "metadata": {"of": "a typed client"}})
        assert (said["reward"], said["done"], said["observation"]["step"]) == (None, False, 1)
        known = {"episode_id": "episode-001", "step_count": 1, "task_id": LOGIN.id, "seed": 3}
        assert await client.ask("state") == known
        said = await client.ask("step", {"pyautogui": "DONE"})
        assert (said["reward"], said["done"], said["observation"]["status"]) == (0.0, True, "done")
        assert await client.ask("state") == {**known, "step_count": 2}
        error = await client.ask("step", {"kind": "wait"})
        assert (error["code"], error["kind"]) == ("SESSION_ERROR", "unknown_episode")
        again = await client.ask("reset", {})
        assert again["observation"]["step"] == 0

    over_the_socket(work)


def test_a_task_that_is_done_is_rewarded() -> None:
    async def work(client: Client) -> None:
        twin = FormsEnvironment(ImageStore())
        for number, task in enumerate(TASKS[:3]):
            await twin.reset(task, number)
            said = await client.ask("reset", {"task": {"id": task.id}, "seed": number})
            async for _, action in twin.solve():
                assert (said["reward"], said["done"]) == (None, False)
                said = await client.ask("step", to_json(action))
                await twin.step(action)
            said = said if said["done"] else await client.ask("step", {"kind": "done"})
            assert said["reward"] == await twin.evaluate() == 1.0

    over_the_socket(work)


def test_an_episode_ends_with_the_steps_of_its_task_or_when_the_agent_gives_up() -> None:
    async def work(client: Client) -> None:
        await client.ask("reset", {"task": {**to_json(LOGIN), "max_steps": 2}})
        assert not (await client.ask("step", {"kind": "wait"}))["done"]
        said = await client.ask("step", {"kind": "wait"})
        assert (said["done"], said["reward"], said["observation"]["status"]) == (True, 0.0, "max_steps")
        await client.ask("reset", {})
        said = await client.ask("step", {"kind": "fail"})
        assert (said["done"], said["observation"]["status"]) == (True, "gave_up")

    over_the_socket(work)


def test_the_seed_picks_the_task() -> None:
    async def work(client: Client) -> None:
        for seed in (0, 1, len(TASKS) + 1):
            said = await client.ask("reset", {"seed": seed})
            assert said["observation"]["task_id"] == TASKS[seed % len(TASKS)].id

    over_the_socket(work)


def test_pictures_in_binary_over_the_socket() -> None:
    async def work(client: Client) -> None:
        for kind, data in (("reset", {"task": LOGIN.id, "images": "binary"}), ("step", {"kind": "type", "text": "x"})):
            seen = (await client.ask(kind, data))["observation"]
            assert "screenshot_base64" not in seen
            picture = await client.connection.recv()
            assert isinstance(picture, bytes)
            assert hashlib.sha256(picture).hexdigest() == seen["screenshot"]["sha256"]
        assert (await client.ask("state"))["step_count"] == 1  # no picture follows what shows none
        assert "screenshot_base64" in (await client.ask("reset", {"task": LOGIN.id}))["observation"]

    over_the_socket(work)


def test_an_episode_over_http() -> None:
    async def work(client: httpx.AsyncClient) -> None:
        said = (await client.post("/openenv/reset", json={"task": LOGIN.id, "seed": 3})).json()
        assert set(said) == {"observation", "reward", "done"}
        assert base64.b64decode(said["observation"]["screenshot_base64"]).startswith(PNG)
        episode = {"episode_id": said["observation"]["episode_id"]}
        body = {**episode, "action": {"kind": "wait"}, "timeout_s": 30, "request_id": "7"}
        answer = await client.post("/openenv/step", json=body, headers={"Accept": "application/json;q=0.5, multipart/mixed"})
        (kind, first), (picture_kind, picture) = parts_of(answer)
        assert (kind, picture_kind) == ("application/json", "image/png")
        seen = json.loads(first)["observation"]
        assert "screenshot_base64" not in seen
        assert hashlib.sha256(picture).hexdigest() == seen["screenshot"]["sha256"]
        state = (await client.get("/openenv/state", params=episode)).json()
        assert state == {**episode, "step_count": 1, "task_id": LOGIN.id, "seed": 3}
        assert (await client.post("/heartbeat", json=episode)).status_code == 200
        said = (await client.post("/openenv/step", json={**episode, "action": {"kind": "done"}})).json()
        assert (said["reward"], said["done"]) == (0.0, True)
        assert (await client.post("/openenv/step", json={**episode, "action": {"kind": "done"}})).status_code == 404
        assert (await client.get("/openenv/state", params=episode)).status_code == 404
        assert (await client.get("/health")).json()["episodes"] == 0

    with_server(work)


def test_what_the_server_tells_of_itself() -> None:
    async def work(client: httpx.AsyncClient) -> None:
        assert (await client.get("/openenv/health")).json() == {"status": "healthy"}
        named = (await client.get("/openenv/metadata")).json()
        assert named["name"] == "forms"
        assert f"{len(TASKS)} tasks" in named["description"]
        assert (await client.get("/openenv/schema")).json() == schemas()
        paths = (await client.get("/openenv/openapi.json")).json()["paths"]
        assert {"/reset", "/step", "/state", "/schema", "/metadata", "/health"} <= set(paths)
        assert {f"/openenv{path}" for path in paths} <= set((await client.get("/openapi.json")).json()["paths"])
        call = {"jsonrpc": "2.0", "id": 4, "method": "tools/list"}
        answer = (await client.post("/openenv/mcp", json=call)).json()
        assert (answer["jsonrpc"], answer["id"], answer["error"]["code"]) == ("2.0", 4, -32601)

    with_server(work)


def test_what_is_shown_is_what_the_schemas_say() -> None:
    async def work(client: Client) -> None:
        said = await client.ask("reset", {"task": LOGIN.id})
        jsonschema_rs.validate(schemas()["observation"], said["observation"])
        jsonschema_rs.validate(schemas()["state"], await client.ask("state"))
        assert set(said["observation"]) == set(schemas()["observation"]["properties"])

    over_the_socket(work)


@pytest.mark.parametrize("kind", ACTION_KINDS)
def test_the_schema_of_actions_takes_every_action(kind: Any) -> None:
    action = Action(kind, x=3, y=4.5, text="a", keys=("ctrl", "a"), amount=-1, seconds=0.5, name="n", args={"a": [1]})
    for one in (action, Action(kind)):
        jsonschema_rs.validate(schemas()["action"], to_json(one))
        assert read_openenv_action(to_json(one)) == [one]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"kind": "jump"},
        {"kind": "click", "z": 1},
        {"kind": "type", "text": 5},
        {"kind": "key", "keys": "a"},
        {"pyautogui": 5},
        [],
    ],
)
def test_what_the_schema_of_actions_refuses_is_refused(given: Any) -> None:
    assert not jsonschema_rs.is_valid(schemas()["action"], given)
    with pytest.raises(BadRequest, match="action"):
        read_openenv_action(given)


def test_a_field_without_a_schema_is_named() -> None:
    assert json_schema(Observation)["properties"]["tree"]["anyOf"][0]["items"]["required"] == ["role"]
    assert json_schema(Element)["properties"]["box"]["anyOf"][0]["maxItems"] == 4
    with pytest.raises(TypeError, match="ndarray"):
        json_schema(ChatMessage)


@pytest.mark.parametrize(
    ("message", "code", "said"),
    [
        ("no JSON", "INVALID_JSON", "no JSON"),
        (b"\xff\xfe", "INVALID_JSON", "no JSON"),
        ("[]", "UNKNOWN_TYPE", "type: must be one of"),
        ('{"type": "jump"}', "UNKNOWN_TYPE", "type: must be one of"),
        ('{"type": ["reset"]}', "UNKNOWN_TYPE", "type: must be one of"),
        ('{"type": "step", "data": 5}', "VALIDATION_ERROR", "data: must be an object"),
        ('{"type": "reset", "dat": {}}', "VALIDATION_ERROR", "did you mean 'data'"),
        ('{"type": "reset", "data": {"tsak": "x"}}', "VALIDATION_ERROR", "did you mean 'task'"),
        ('{"type": "reset", "data": {"task": "nothing"}}', "VALIDATION_ERROR", "there is no task 'nothing'"),
        ('{"type": "reset", "data": {"seed": "x"}}', "VALIDATION_ERROR", "seed: must be a whole number"),
        ('{"type": "reset", "data": {"images": "gif"}}', "VALIDATION_ERROR", "images: must be"),
        ('{"type": "reset", "data": {"episode_id": 5}}', "VALIDATION_ERROR", "episode_id: must be a string"),
        ('{"type": "step", "data": {"kind": "wait"}}', "SESSION_ERROR", "send a reset"),
    ],
)
def test_bad_messages_are_answered_and_the_connection_goes_on(message: str | bytes, code: str, said: str) -> None:
    async def work(client: Client) -> None:
        await client.connection.send(message)
        answer = json.loads(await client.connection.recv())
        assert (answer["type"], answer["data"]["code"]) == ("error", code)
        assert said in answer["data"]["message"]
        assert "observation" in await client.ask("reset", {})

    over_the_socket(work)


def test_a_bad_action_changes_nothing() -> None:
    async def work(client: Client) -> None:
        await client.ask("reset", {"task": LOGIN.id})
        for action in ({"kind": "jump"}, {"kind": "click", "x": 10**400}, {"pyautogui": "import os; os.system('x')"}, {}):
            assert (await client.ask("step", action))["code"] == "VALIDATION_ERROR"
        assert (await client.ask("state"))["step_count"] == 0
        assert (await client.ask("step", {"kind": "wait"}))["observation"]["step"] == 1

    over_the_socket(work)


@pytest.mark.parametrize("where", ["reset", "step", "evaluate"])
@pytest.mark.parametrize(
    ("how", "status", "kind"), [("failure", 502, "env_error"), ("mistake", 502, "env_error"), ("hang", 504, "timeout")]
)
def test_a_broken_environment_is_an_error_and_never_a_reward(where: str, how: str, status: int, kind: str) -> None:
    task = breaking(where, how)

    async def run() -> None:
        async with serving(app(Breaking, deadline=1.0)) as address, connected(address) as client:
            said = await client.ask("reset", {"task": task})
            if where != "reset":
                said = await client.ask("step", {"kind": "done"})
            assert (said["code"], said["kind"]) == ("EXECUTION_ERROR", kind)
            assert "reward" not in said
            assert (await client.ask("step", {"kind": "done"}))["code"] == "SESSION_ERROR"
            assert (await health(address))["episodes"] == 0
            async with httpx.AsyncClient(base_url=f"http://{address}/openenv") as plain:
                answer = await plain.post("/reset", json={"task": task})
                if where != "reset":
                    episode = {"episode_id": answer.json()["observation"]["episode_id"]}
                    answer = await plain.post("/step", json={**episode, "action": {"kind": "done"}})
                assert (answer.status_code, answer.json()["kind"]) == (status, kind)
            assert (await health(address))["episodes"] == 0

    asyncio.run(run())


def test_a_step_may_have_a_deadline_of_its_own() -> None:
    async def work(client: httpx.AsyncClient) -> None:
        said = (await client.post("/openenv/reset", json={"task": breaking("step", "hang")})).json()
        body = {"episode_id": said["observation"]["episode_id"], "action": {"kind": "wait"}, "timeout_s": 0.2}
        assert (await client.post("/openenv/step", json={**body, "timeout_s": 0})).status_code == 400
        async with asyncio.timeout(5.0):
            assert (await client.post("/openenv/step", json=body)).status_code == 504

    with_server(work, app(Breaking, deadline=60.0))


def test_both_faces_share_the_capacity_and_nobody_is_turned_out() -> None:
    async def run() -> None:
        async with (
            serving(app(capacity=2)) as address,
            httpx.AsyncClient(base_url=f"http://{address}") as plain,
            connected(address) as first,
            connected(address) as second,
        ):
            await first.ask("reset", {"task": LOGIN.id})
            other = (await plain.post("/reset", json={"task": LOGIN.id})).json()
            refused = await second.ask("reset", {"task": LOGIN.id})
            assert (refused["code"], refused["active_sessions"], refused["max_sessions"]) == ("CAPACITY_REACHED", 2, 2)
            assert (await plain.post("/openenv/reset", json={})).status_code == 503
            assert (await first.ask("step", {"kind": "wait"}))["observation"]["step"] == 1
            await plain.post("/close", json={"episode_id": other["episode_id"]})
            assert "observation" in await second.ask("reset", {"task": LOGIN.id})
            # A second reset of one client takes the place of its first episode, not one more.
            assert "observation" in await second.ask("reset", {"task": LOGIN.id})

    asyncio.run(run())


def test_a_lease_runs_out_unless_state_renews_it() -> None:
    async def run() -> None:
        async with serving(app(lease=1.0)) as address, connected(address) as lively, connected(address) as silent:
            for client in (lively, silent):
                await client.ask("reset", {"task": LOGIN.id})
            for _ in range(8):
                await asyncio.sleep(0.3)
                await lively.ask("state")
            assert (await health(address))["counts"]["expired"] == 1
            assert (await lively.ask("step", {"kind": "wait"}))["observation"]["step"] == 1
            error = await silent.ask("step", {"kind": "wait"})
            assert (error["code"], error["kind"]) == ("SESSION_ERROR", "unknown_episode")
            assert "lease ran out" in error["message"]
            assert "observation" in await silent.ask("reset", {})

    asyncio.run(run())


class Slow(FormsEnvironment):
    """Takes long to start, and even longer to act."""

    async def reset(self, task: Task, seed: int) -> Observation:
        await asyncio.sleep(0.5)
        return await super().reset(task, seed)

    async def step(self, action: Action) -> Observation:
        await asyncio.sleep(30)
        return await super().step(action)


@pytest.mark.parametrize("during", ["reset", "step", "nothing", "close"])
def test_a_client_that_goes_ends_its_episode(during: str) -> None:
    async def run() -> None:
        async with serving(app(Slow)) as address:
            async with connected(address) as client:
                await client.send("reset", {"task": LOGIN.id})
                if during != "reset":
                    await client.connection.recv()
                    assert (await health(address))["episodes"] == 1
                if during in ("step", "close"):
                    await client.send(during, {"kind": "wait"} if during == "step" else None)
                await asyncio.sleep(0.2)
                if during == "close":
                    with pytest.raises(websockets.ConnectionClosedOK):
                        await client.connection.recv()
            found = await until_none_runs(address)
            assert found["counts"]["closed"] == found["counts"]["started"] == (0 if during == "reset" else 1)

    asyncio.run(run())


@pytest.mark.parametrize("path", sorted(openenv_paths("/openenv")))
def test_every_route_wants_the_token(path: str) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        method = next(iter(openenv_paths("/openenv")[path])).upper()
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Authorization": "Basic !"}):
            assert (await client.request(method, path, headers=headers, json={})).status_code == 401
        assert (await client.request(method, path, auth=("anybody", "wrong"), json={})).status_code == 401
        assert (await client.request(method, path, auth=("anybody", TOKEN), json={})).status_code != 401

    with_server(work, app(token=TOKEN))


def test_the_socket_wants_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openenv_socket, "INTRODUCTION", 0.3)

    async def run() -> None:
        async with serving(app(token="secret")) as address:
            for headers in ({"Authorization": "Bearer wrong"}, {"Authorization": "secret"}):
                with pytest.raises(websockets.InvalidStatus, match="403"):
                    await websockets.connect(f"ws://{address}/openenv/ws", additional_headers=headers)
            with pytest.raises(websockets.InvalidStatus, match="403"):
                await websockets.connect(f"ws://me:wrong@{address}/openenv/ws")
            async with connected(address, additional_headers={"Authorization": "Bearer secret"}) as client:
                assert "observation" in await client.ask("reset", {})
            async with connected(f"me:secret@{address}") as client:
                assert "observation" in await client.ask("reset", {})
            async with connected(address) as client:
                assert "observation" in await client.ask("reset", {"token": "secret"})
                await asyncio.sleep(0.5)
                assert "observation" in await client.ask("step", {"kind": "wait"})
            for kind, data in (("reset", {}), ("reset", {"token": "wrong"}), ("state", None), ("close", None), ("jump", None)):
                async with connected(address) as client:
                    error = await client.ask(kind, data)
                    assert "message" in error
                    with pytest.raises(websockets.ConnectionClosedError, match="1008"):
                        await client.connection.recv()
            async with connected(address) as client:
                with pytest.raises(websockets.ConnectionClosedError, match="1008"):
                    await asyncio.wait_for(client.connection.recv(), 5.0)  # it said nothing

    asyncio.run(run())


def test_pages_of_other_sites_cannot_play_where_no_token_is_wanted() -> None:
    async def run() -> None:
        async with serving(app()) as address:
            with pytest.raises(websockets.InvalidStatus, match="403"):
                await websockets.connect(f"ws://{address}/openenv/ws", origin="https://example.org")  # type: ignore[arg-type]
        async with serving(app(token="secret")) as address, connected(address, origin="https://example.org") as client:
            assert "observation" in await client.ask("reset", {"token": "secret"})

    asyncio.run(run())


def test_the_accessibility_tree_is_xml_and_comes_through() -> None:
    async def open_one(images: ImageStore) -> Environment:
        return FormsEnvironment(images, tree=True)

    async def run() -> None:
        server = make_app(open_one, TASKS, ServerSettings())
        local, bridged = (
            FormsEnvironment(ImageStore(), tree=True),
            BridgeEnvironment(ImageStore(), url="http://one", transport=Network(one=server)),
        )
        shown = await local.reset(LOGIN, 0)
        assert await bridged.reset(LOGIN, 0) == shown
        await bridged.close()
        assert shown.tree is not None
        async with httpx.AsyncClient(transport=httpx.ASGITransport(server), base_url="http://127.0.0.1") as client:
            body = {"task": LOGIN.id, "seed": 0}
            xml = (await client.post("/reset", json=body)).json()["accessibility_tree"]
            assert (await client.post("/openenv/reset", json=body)).json()["observation"]["accessibility_tree"] == xml
        names = [node.get("name") for node in ElementTree.fromstring(xml).iter()]
        assert names == ["", *(element.name for element in shown.tree)]

    asyncio.run(run())


def test_the_xml_of_a_tree() -> None:
    tree = (
        Element("window", "A & B", box=(0.4, 0, 100, 50)),
        Element("push button", "OK\x00", states=("disabled", "focused"), box=(1, 2, 3.6, 4), parent=0),
        Element("textbox", "Secret", "typed", states=("password", "readonly")),
    )
    root = ElementTree.fromstring(tree_xml(tree))
    window, secret = root
    (button,) = window
    place, state = ("{https://accessibility.ubuntu.example.org/ns/" + part + "}" for part in ("component", "state"))
    assert (root.tag, window.tag, button.tag, secret.tag) == ("desktop-frame", "window", "push-button", "password-text")
    assert (window.get("name"), button.get("name"), secret.text) == ("A & B", "OK", "typed")
    assert (button.get(f"{place}screencoord"), button.get(f"{place}size")) == ("(1, 2)", "(4, 4)")
    assert secret.get(f"{place}size") is None
    states = [{name.removeprefix(state) for name in node.attrib if name.startswith(state)} for node in (window, button, secret)]
    assert states == [
        {"showing", "visible", "enabled", "sensitive"},
        {"showing", "visible", "focused"},
        {"read-only", "enabled", "sensitive"},
    ]


def test_their_own_client_can_play() -> None:
    """Only where the package `openenv` is installed; `Client` above sends what it sends."""
    found = pytest.importorskip("openenv.core.generic_client", exc_type=ImportError)

    async def run() -> None:
        async with serving(app(token="secret")) as address:
            async with found.GenericEnvClient(base_url=f"http://me:secret@{address}/openenv") as client:
                result = await client.reset(seed=0, task=LOGIN.id)
                assert (result.done, result.reward) == (False, None)
                assert base64.b64decode(result.observation["screenshot_base64"]).startswith(PNG)
                assert not (await client.step({"kind": "click", "x": 80, "y": 100})).done
                assert (await client.state())["step_count"] == 1
                with pytest.raises(RuntimeError, match="VALIDATION_ERROR"):
                    await client.step({"kind": "jump"})
                result = await client.step({"kind": "done"})
                assert (result.done, result.reward) == (True, 0.0)
            with pytest.raises(ConnectionError, match="403"):
                await found.GenericEnvClient(base_url=f"http://me:wrong@{address}/openenv").connect()

    asyncio.run(run())


@pytest.mark.parametrize("number", [0, 1], ids=["their client", "binary"])
def test_the_examples_of_the_documentation(number: int) -> None:
    page = (Path(__file__).parent.parent / "docs/serve.md").read_text()
    program = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[number]
    if "openenv.core" in program:
        pytest.importorskip("openenv.core", exc_type=ImportError)

    async def run() -> str:
        async with serving(app(token="secret")) as address:
            code = program.replace("127.0.0.1:8765", address)
            environment = {**os.environ, "STEPLADDER_BRIDGE_TOKEN": "secret"}
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", code, env=environment, stdout=asyncio.subprocess.PIPE
            )
            said, _ = await asyncio.wait_for(process.communicate(), 60)
            assert process.returncode == 0
            return said.decode()

    first, last = asyncio.run(run()).splitlines()
    local = FormsEnvironment(ImageStore())
    asyncio.run(local.reset(LOGIN, 0))
    assert first.startswith(local.task.instruction)
    assert last == "True 0.0"
