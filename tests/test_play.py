"""Plays: one loop for agent and person, what becomes of proposals, what is learned, and who may say what over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes import FakeEnvironment, WordAgent
from small_models import renderer
from starlette.applications import Starlette

from stepladder.agents.qwen_vl import QwenVLAgent
from stepladder.codec import to_json
from stepladder.config import ConfigError
from stepladder.data.demonstrations import Demonstrations, held_back
from stepladder.data.regions import RegionStore
from stepladder.envs.forms.environment import FormsEnvironment
from stepladder.images import ImageStore
from stepladder.interfaces import Agent, Environment, EnvironmentFailure, Policy
from stepladder.policies.random import RandomPolicy
from stepladder.policies.scripted import ScriptedPolicy
from stepladder.rollout.episode import PolicyActor, act_out, run_episode
from stepladder.stages.play import PlayConfig, open_play
from stepladder.stages.policies import BASELINES
from stepladder.stages.sft_setup import lessons
from stepladder.store import NoStore, TrajectoryStore
from stepladder.train.sample import ROW, from_step
from stepladder.types import Action, Completion, ImageRef, Limits, Message, Observation, Prompt, Sampling, Step, Task, Trajectory
from stepladder.viewer.play import COMMANDS, routes
from stepladder.viewer.play_actor import Deed, GuidedActor, NotNow
from stepladder.viewer.play_orders import BadOrder, read_deed, read_events
from stepladder.viewer.play_session import Acting, Opened, Play, Player, PlaySettings
from stepladder.viewer.play_starts import DemonstratorActor, OwnInstruction, start_of

TASK = Task("fake", "", "fakes:FakeEnvironment", max_steps=5)
SCREEN = ImageRef("0" * 64, 100, 80)
CLICK = Deed("", (Action("click", 35, 25),))


class Guided:
    """An episode of the fake environment with a guided actor, and what happens to it."""

    def __init__(
        self,
        replies: Sequence[str],
        environment: Environment | None = None,
        policy: Policy | None = None,
        agent: Agent | None = None,
    ) -> None:
        self.environment = environment or FakeEnvironment(goal=2)
        agent = agent or WordAgent()
        self.policy = policy or ScriptedPolicy(replies)
        self.actor = GuidedActor(PolicyActor(agent, self.policy, Sampling()), agent, lambda: None)

    async def play(self, person: Callable[[GuidedActor], Awaitable[None]] | None = None) -> Trajectory:
        limits = Limits(max_steps=20, max_parse_errors=21)
        episode = asyncio.create_task(act_out(self.environment, self.actor, TASK, 7, limits=limits))
        if person is not None:
            await person(self.actor)
        async with asyncio.timeout(5):
            return await episode


async def until(actor: GuidedActor, doing: str, steps: int | None = None) -> None:
    async with asyncio.timeout(5):
        while actor.doing != doing or (steps is not None and len(actor.steps) != steps):
            await asyncio.sleep(0)


def kinds(trajectory: Trajectory) -> list[str]:
    return [step.action.kind if step.action else "error" for step in trajectory.steps]


def by(trajectory: Trajectory) -> list[str]:
    return [
        ("corrected" if "proposed" in one.extra else "person") if one.extra.get("person") else "agent" for one in trajectory.steps
    ]


# ---------------------------------------------------------------------------------------------------------------- the loop


def test_nobody_interferes_and_it_is_an_ordinary_episode() -> None:
    replies = ["wait", "hm", "click", "click"]

    async def main() -> tuple[Trajectory, Trajectory]:
        limits = Limits(max_steps=20, max_parse_errors=21)
        plain = await run_episode(
            FakeEnvironment(), WordAgent(), ScriptedPolicy(replies), TASK, 7, sampling=Sampling(), limits=limits
        )
        return plain, await Guided(replies).play()

    plain, guided = (replace(one, steps=tuple(replace(s, seconds={}) for s in one.steps)) for one in asyncio.run(main()))
    assert to_json(guided) == to_json(plain)
    assert guided.reward == 1.0


def test_take_over_in_the_middle_and_hand_back() -> None:
    async def person(actor: GuidedActor) -> None:
        actor.look_at_proposals(True)
        await until(actor, "proposed")
        actor.carry_out()
        await until(actor, "proposed", steps=1)
        actor.take_over()
        await until(actor, "person")
        actor.act(Deed("I know better.", (Action("click", 35, 25),)))
        await until(actor, "person", steps=2)
        actor.hand_back()
        await until(actor, "proposed", steps=2)
        actor.look_at_proposals(False)

    guided = Guided(["wait", "fail", "click"])
    trajectory = asyncio.run(guided.play(person))
    assert (kinds(trajectory), by(trajectory)) == (["wait", "click", "click"], ["agent", "corrected", "agent"])
    assert (trajectory.reward, trajectory.status, trajectory.policy) == (1.0, "done", "scripted+person")
    persons = trajectory.steps[1]
    assert (persons.completion, persons.prompt, persons.thought) == (None, None, "I know better.")
    assert persons.extra["proposed"]["actions"] == [{"kind": "fail"}]
    assert persons.extra["proposed"]["completion"]["text"] == "fail"
    last = trajectory.steps[2].prompt
    assert last is not None
    assert last.messages[-1].text.endswith(" wait click"), "the agent is told what the person did, as its own past (law 3)"
    assert [step.imitated for step in guided.actor.marked(trajectory.steps)] == ["reply"] * 3


def test_a_correction_is_carried_out_in_place_of_the_proposal() -> None:
    async def person(actor: GuidedActor) -> None:
        actor.pause()
        await until(actor, "paused")
        actor.look_at_proposals(True)
        actor.step()
        await until(actor, "proposed")
        with pytest.raises(NotNow, match="take over first"):
            actor.act(CLICK)
        actor.correct(CLICK)
        await until(actor, "paused", steps=1)
        actor.run()
        await until(actor, "proposed")
        actor.carry_out()

    guided = Guided(["hm", "click"])
    trajectory = asyncio.run(guided.play(person))
    assert (by(trajectory), kinds(trajectory), trajectory.reward) == (["corrected", "agent"], ["click", "click"], 1.0)
    assert "'hm' is no action" in trajectory.steps[0].extra["proposed"]["error"]


def test_one_step_at_a_time() -> None:
    async def person(actor: GuidedActor) -> None:
        actor.pause()
        for number in range(3):
            await until(actor, "paused", steps=number)
            actor.step()

    trajectory = asyncio.run(Guided(["wait", "click", "click"]).play(person))
    assert kinds(trajectory) == ["wait", "click", "click"]


def test_steps_before_a_take_over_are_not_learned_unless_somebody_looked() -> None:
    async def person(actor: GuidedActor) -> None:
        actor.look_at_proposals(True)
        await until(actor, "proposed")
        actor.carry_out()
        await until(actor, "proposed", steps=1)
        actor.pause()
        actor.look_at_proposals(False)
        for number in (2, 3, 4):  # the first one has been proposed already
            actor.step()
            await until(actor, "paused", steps=number)
        actor.take_over()
        await until(actor, "person")
        assert actor.marks == {2: "nothing", 3: "nothing"}
        actor.mark(3, "reply")
        actor.act(CLICK)
        actor.act(CLICK)

    guided = Guided(["wait"] * 4)
    trajectory = asyncio.run(guided.play(person))
    assert by(trajectory) == ["agent"] * 4 + ["person"] * 2
    learned = [step.imitated for step in guided.actor.marked(trajectory.steps)]
    assert learned == ["reply", "reply", "nothing", "reply", "reply", "reply"]


class Hanging:
    """A policy that answers when it is told to."""

    name, version = "hanging", 0

    def __init__(self) -> None:
        self.asked = self.cancelled = 0
        self.go = asyncio.Event()

    async def generate(self, messages: tuple[Message, ...], sampling: Sampling) -> tuple[Prompt, Completion]:
        self.asked += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return Prompt(messages), Completion("wait")


def test_the_person_need_not_wait_for_the_agent() -> None:
    async def main() -> None:
        policy = Hanging()
        guided = Guided([], policy=policy)

        async def person(actor: GuidedActor) -> None:
            await until(actor, "thinking")
            actor.take_over()
            await until(actor, "person")
            assert policy.cancelled == 1
            actor.act(CLICK)
            await until(actor, "person", steps=1)
            actor.hand_back()
            await until(actor, "thinking")
            actor.finish(Action("done", text="enough"))

        trajectory = await guided.play(person)
        assert (kinds(trajectory), by(trajectory)) == (["click", "done"], ["person", "person"])
        assert (trajectory.status, trajectory.reward) == ("done", 0.0)
        assert (policy.asked, policy.cancelled) == (2, 2)

    asyncio.run(main())


def test_an_agent_that_cannot_be_asked_pauses_the_play() -> None:
    async def person(actor: GuidedActor) -> None:
        await until(actor, "paused")
        assert "the script has 1 replies" in actor.notice
        actor.take_over()
        await until(actor, "person")
        actor.act(CLICK)

    trajectory = asyncio.run(Guided(["click"]).play(person))
    assert (by(trajectory), trajectory.reward) == (["agent", "person"], 1.0)


def test_replies_that_cannot_be_read_pause_the_play() -> None:
    async def person(actor: GuidedActor) -> None:
        await until(actor, "paused", steps=3)
        assert "3 replies in a row" in actor.notice
        actor.finish(Action("fail"))

    trajectory = asyncio.run(Guided(["hm"] * 9).play(person))
    assert (kinds(trajectory), trajectory.status) == (["error"] * 3 + ["fail"], "gave_up")


@pytest.mark.parametrize("place", ["reset", "step", "evaluate"])
def test_a_broken_environment_is_no_failure_of_anybody(place: str) -> None:
    guided = Guided(["click", "click"], FakeEnvironment(faults={place: "crash"}))
    trajectory = asyncio.run(guided.play())
    assert (trajectory.status, trajectory.reward, trajectory.error) == ("env_error", None, "the browser is gone")


def test_what_the_dialect_cannot_say_is_refused() -> None:
    async def person(actor: GuidedActor) -> None:
        actor.pause()
        await until(actor, "paused")
        actor.take_over()
        await until(actor, "person")
        with pytest.raises(NotNow, match="qwen_vl, the dialect of this agent, cannot say that"):
            actor.act(Deed("", (Action("call", name="no function"),)))
        actor.finish(Action("done"))

    agent = QwenVLAgent()
    asyncio.run(Guided([], policy=RandomPolicy(agent), agent=agent).play(person))


def test_orders_that_do_not_fit_are_refused() -> None:
    alone = GuidedActor(None, None, lambda: None)
    for work in (alone.take_over, alone.step, alone.carry_out, lambda: alone.act(CLICK), lambda: alone.finish(Action("done"))):
        with pytest.raises(NotNow, match="not begun"):
            work()
    with pytest.raises(NotNow, match="no step 1"):
        alone.mark(0, "nothing")

    async def person(actor: GuidedActor) -> None:
        actor.pause()
        await until(actor, "paused")
        with pytest.raises(NotNow, match="no proposal"):
            actor.carry_out()
        actor.finish(Action("done"))

    asyncio.run(Guided([]).play(person))


def test_the_demonstrator_goes_on_after_a_person() -> None:
    async def main() -> None:
        environment = FormsEnvironment(ImageStore())
        task = FormsEnvironment.tasks(["login"])[0]
        inner = DemonstratorActor(environment)
        actor = GuidedActor(inner, None, lambda: None)
        actor.look_at_proposals(True)
        episode = asyncio.create_task(act_out(environment, actor, task, 3, limits=Limits(max_steps=40)))
        await until(actor, "proposed")
        first = actor.proposal
        assert first is not None
        actor.correct(Deed("", (Action("wait", seconds=0),)))
        await until(actor, "proposed", steps=1)
        assert actor.proposal is not None
        assert actor.proposal.action == first.action, "what was turned down is proposed again where it is still right"
        actor.take_over()
        await until(actor, "person")
        actor.act(Deed("", first.actions))
        await until(actor, "person", steps=2)
        actor.look_at_proposals(False)
        actor.hand_back()
        trajectory = await episode
        await inner.close()
        assert (trajectory.reward, trajectory.policy, trajectory.agent) == (1.0, "oracle+person", "")
        assert by(trajectory)[:3] == ["corrected", "corrected", "agent"]

    asyncio.run(main())


# ------------------------------------------------------------------------------------------------------ what is learned


def test_training_learns_from_a_play(tmp_path: Path) -> None:
    """The person's steps are learned in the agent's words, after a past that is told as it was; the agent's wrong ones are not."""
    images = ImageStore(tmp_path / "images")
    agent = QwenVLAgent(thought="full")
    environment = FormsEnvironment(images)
    task = FormsEnvironment.tasks(["login"])[0]
    regions = RegionStore(tmp_path / "regions.jsonl")

    async def main(seed: int) -> Trajectory:
        actor = GuidedActor(PolicyActor(agent, RandomPolicy(agent), Sampling(seed=1)), agent, lambda: None)
        actor.pause()

        async def watch(_: Environment, observation: Observation, steps: Sequence[Step]) -> None:
            assert observation.screenshot is not None
            regions.append(observation.screenshot, await environment.regions())

        episode = asyncio.create_task(act_out(environment, actor, task, seed, limits=Limits(max_steps=40), watch=watch))
        await until(actor, "paused")
        actor.step()
        await until(actor, "paused", steps=1)
        actor.take_over()
        await until(actor, "person")
        solution = environment.solve()
        async for thought, action in solution:
            done = len(actor.steps)
            actor.act(Deed(thought, (action,)))
            while not episode.done() and (len(actor.steps) == done or actor.doing != "person"):
                await asyncio.sleep(0)
        trajectory = await episode
        return replace(trajectory, steps=actor.marked(trajectory.steps))

    trajectory = next(one for seed in range(9) if not held_back((one := asyncio.run(main(seed))).id) and one.success)
    with TrajectoryStore(tmp_path / "plays.jsonl", "a") as store:
        store.append(trajectory)
        found = Demonstrations(store, regions.get)
    steps = found.train[task.id]
    assert [step.index for step in steps] == list(range(1, len(trajectory.steps)))
    assert found.words()
    render = renderer(images)
    for step in steps:
        sample = from_step(render, agent, trajectory.task, step.trajectory.steps, step.index)
        said = agent.format(step.step.thought, step.step.action or Action("done"), step.step.observation)
        assert render.decode(sample.tokens[sample.fields[ROW["w_ce"]] > 0]).startswith(said)


def test_what_supervised_training_takes_of_plays(tmp_path: Path) -> None:
    """Collected demonstrations as they are; of plays what the agent can say, and the steps on screens whose contents are known."""
    with pytest.raises(NoStore):
        list(lessons(tmp_path, QwenVLAgent(), RegionStore(tmp_path / "regions.jsonl")))
    regions = RegionStore(tmp_path / "regions.jsonl")
    regions.append("1" * 64, ())
    known, unknown = (Observation(ImageRef(digit * 64, 100, 80)) for digit in "12")
    click, unsayable = Action("click", 5, 5), Action("call", name="no function")
    played = [
        Trajectory("said", TASK, (Step(known, click), Step(unknown, click)), None, "done", 1.0),
        Trajectory("unsaid", TASK, (Step(known, unsayable),), None, "done", 1.0),
    ]
    with TrajectoryStore(tmp_path / "plays.jsonl", "a") as store:
        for trajectory in played:
            store.append(trajectory)
    found = list(lessons(tmp_path, QwenVLAgent(), regions))
    assert [[step.imitated for step in one.steps] for one in found] == [["reply", "nothing"]]
    with TrajectoryStore(tmp_path / "trajectories.jsonl", "a") as store:
        store.append(replace(played[1], id="collected"))
    assert [one.id for one in lessons(tmp_path, QwenVLAgent(), regions)] == ["collected", "said"]


# -------------------------------------------------------------------------------------------------------------- orders


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ({}, "actions: must be a list of 1 to 16"),
        ({"actions": []}, "list of 1"),
        ({"actions": ["click"]}, "must be an object"),
        ({"actions": [{"kind": "jump"}]}, "'jump'; it must be one of"),
        ({"actions": [{"kind": "click", "x": 5}]}, "both numbers"),
        ({"actions": [{"kind": "click", "x": 100, "y": 5}]}, "not on the screen of 100 x 80"),
        ({"actions": [{"kind": "click", "x": float("nan"), "y": 5}]}, "not on the screen"),
        ({"actions": [{"kind": "drag", "x": 5, "y": 5}]}, "needs an end"),
        ({"actions": [{"kind": "key"}]}, "there is no key"),
        ({"actions": [{"kind": "key", "keys": ["conrtol"]}]}, "did you mean 'control'"),
        ({"actions": [{"kind": "scroll", "amount": float("inf")}]}, "amount is inf"),
        ({"actions": [{"kind": "wait", "seconds": 1e6}]}, "seconds is 1e"),
        ({"actions": [{"kind": "type", "text": "x" * 20_001}]}, "20000 characters"),
        ({"actions": [{"kind": "type", "text": 5}]}, "must be str"),
        ({"actions": [{"kind": "type", "txt": "a"}]}, "did you mean 'text'"),
        ({"actions": [{"kind": "done"}], "thought": 3}, "thought: must be a text"),
    ],
)
def test_bad_deeds(order: dict[str, Any], message: str) -> None:
    with pytest.raises(BadOrder, match=message):
        read_deed(order, SCREEN)


def test_deeds() -> None:
    deed = read_deed(
        {"thought": "so", "actions": [{"kind": "key", "keys": ["Control", "A"]}, {"kind": "type", "text": "ä"}]}, SCREEN
    )
    assert deed == Deed("so", (Action("key", keys=("ctrl", "a")), Action("type", text="ä")))
    with pytest.raises(BadOrder, match="no screen yet"):
        read_deed({"actions": [{"kind": "click", "x": 1, "y": 1}]}, None)


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (5, r"events\[0\].kind"),
        ({"kind": "move", "time": 1}, "kind: must be one of"),
        ({"kind": "key_down", "key": "a"}, "time: must be a number"),
        ({"kind": "button_down", "time": 1, "x": 1, "y": 1, "button": 9}, "0 to 7"),
        ({"kind": "button_down", "time": 1, "x": 1, "y": 1, "button": 0}, "it must be 1 to 7"),
        ({"kind": "button_down", "time": 1, "x": 1, "y": 90, "button": 1}, "not on the screen"),
        ({"kind": "button_down", "time": True, "x": 1, "y": 9, "button": 1}, "time: must be a number"),
    ],
)
def test_bad_events(event: Any, message: str) -> None:
    with pytest.raises(BadOrder, match=message):
        read_events({"events": [event]}, SCREEN)


def test_keys_without_a_name_are_left_out() -> None:
    events = [{"kind": "key_down", "time": 2, "key": "AudioVolumeUp"}, {"kind": "key_down", "time": 1, "key": "試", "text": "試"}]
    assert [(one.key, one.text) for one in read_events({"events": events}, SCREEN)] == [("試", "試")]


def test_starts() -> None:
    assert start_of("desktop").env.endswith(":PlainDesktop")
    assert start_of("https://example.org/a").setup == {"url": "https://example.org/a", "network": ["example.org"]}
    for wrong in ("file:///etc/passwd", "example.org", "http://"):
        with pytest.raises(ConfigError, match="starts"):
            start_of(wrong)


# ---------------------------------------------------------------------------------------------------------------- HTTP


class Client:
    """The API of plays as a page uses it."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def begin(self, **fields: Any) -> str:
        answer = await self.http.post("/api/play/sessions", json={"task": "forms-login", "seed": 1, "player": "person", **fields})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def order(self, identifier: str, command: str, **fields: Any) -> None:
        answer = await self.http.post(f"/api/play/sessions/{identifier}", json={"command": command, **fields})
        assert answer.status_code == 200, answer.text

    async def state(self, identifier: str) -> dict[str, Any]:
        answer = await self.http.get(f"/api/play/sessions/{identifier}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def until(self, identifier: str, doing: str, steps: int | None = None) -> dict[str, Any]:
        async with asyncio.timeout(20):
            while True:
                state = await self.state(identifier)
                if state["doing"] == doing and (steps is None or len(state["steps"]) == steps):
                    return state
                await asyncio.sleep(0.01)


@asynccontextmanager
async def client(tmp_path: Path, **settings: Any) -> AsyncIterator[Client]:
    config = {"tasks": "forms:login", "policies": ("random", "oracle"), "output": tmp_path / "plays", "starts": ("desktop",)}
    with open_play(PlayConfig(**{**config, **settings})) as play:
        transport = httpx.ASGITransport(Starlette(routes=routes(play)))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            yield Client(http)


def kept(tmp_path: Path) -> list[Trajectory]:
    with TrajectoryStore(tmp_path / "plays/plays.jsonl") as store:
        return list(store)


def test_without_leave_there_is_nothing_to_play() -> None:
    async def main() -> None:
        transport = httpx.ASGITransport(Starlette(routes=routes(None)))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            answer = (await http.get("/api/play")).json()
            assert answer["allowed"] is False
            assert "stepladder play" in answer["why"]
            assert (await http.post("/api/play/sessions", json={})).status_code == 404

    asyncio.run(main())


def test_a_person_plays_with_mouse_and_keyboard(tmp_path: Path) -> None:
    """Single events become merged actions, each with the screen before it, and a graded trajectory."""

    async def main() -> None:
        async with client(tmp_path) as page:
            identifier = await page.begin()
            state = await page.until(identifier, "person")
            assert state["alone"]
            assert state["instruction"]
            picture = await page.http.get(state["screenshot"]["url"])
            assert picture.content.startswith(b"\x89PNG")
            environment = FormsEnvironment(ImageStore())
            await environment.reset(FormsEnvironment.tasks(["login"])[0], 1)
            clock, count = 100.0, 0
            async for _, action in environment.solve():
                events: list[dict[str, Any]] = []
                if action.kind == "click":
                    where = {"x": int(action.x or 0), "y": int(action.y or 0), "button": 1}
                    events = [{"kind": kind, "time": clock, **where} for kind in ("button_down", "button_up")]
                else:
                    assert action.kind == "type"
                    for letter in action.text:
                        clock += 0.05
                        events.append({"kind": "key_down", "time": clock, "key": letter, "text": letter})
                await page.order(identifier, "think", text=f"number {count}")
                await page.order(identifier, "input", events=events)
                await environment.step(action)
                clock, count = clock + 2, count + 1
            state = await page.until(identifier, "ended")
            assert (state["reward"], state["status"]) == (1.0, "done")
            assert state["trajectory"] == {"run": "plays", "store": "plays", "id": "forms-login-1-person-0"}

    asyncio.run(main())
    (trajectory,) = kept(tmp_path)
    assert set(kinds(trajectory)) == {"click", "type"}
    assert [step.thought for step in trajectory.steps] == [f"number {number}" for number in range(len(trajectory.steps))]
    assert (trajectory.policy, trajectory.agent, trajectory.reward) == ("person", "", 1.0)
    assert trajectory.extra == {"play": {"person_steps": len(trajectory.steps), "corrected": 0}}
    regions = RegionStore(tmp_path / "plays/regions.jsonl")
    assert all(step.observation.screenshot in regions for step in trajectory.steps if step.observation.screenshot)


def test_an_instruction_of_ones_own_is_judged_by_its_author(tmp_path: Path) -> None:
    async def main() -> None:
        async with client(tmp_path) as page:
            for success in (True, False):
                identifier = await page.begin(player="random", instruction="  Press nothing. ")
                state = await begun(page, identifier)
                assert state["instruction"] == "Press nothing."
                await page.order(identifier, "end", how="done", text="so it is")
                state = await page.until(identifier, "judging")
                assert state["screenshot"]
                await page.order(identifier, "judge", success=success)
                state = await page.until(identifier, "ended")
                assert state["reward"] == float(success)

    asyncio.run(main())
    first, second = kept(tmp_path)
    assert (first.reward, second.reward, first.task.instruction, first.task.check) == (1.0, 0.0, "Press nothing.", {})
    assert first.task.id.startswith("forms-login-own-")
    assert first.task.id == second.task.id
    assert (first.index, second.index) == (0, 1)


@pytest.mark.parametrize("baseline", BASELINES)
def test_every_baseline_plays(tmp_path: Path, baseline: str) -> None:
    async def main() -> None:
        async with client(tmp_path, policies=(baseline,)) as page:
            identifier = await page.begin(player=baseline, review=True)
            await begun(page, identifier)
            await page.until(identifier, "proposed")
            await page.order(identifier, "discard")

    asyncio.run(main())


async def begun(page: Client, identifier: str) -> dict[str, Any]:
    """The state once the play has begun."""
    async with asyncio.timeout(20):
        while (state := await page.state(identifier))["doing"] == "starting" or not state["screenshot"]:
            await asyncio.sleep(0.01)
    return state


def test_who_may_not_say_what(tmp_path: Path) -> None:
    async def main() -> None:
        async with client(tmp_path, sessions=1) as page:
            post = page.http.post
            for fields, message in (
                ({"task": "nothing"}, "task: there is none"),
                ({"player": "gpt"}, "there are random, oracle, person"),
                ({"seed": -1}, "seed: must be a whole number"),
                ({"seed": True}, "seed: must be a whole number"),
                ({"task": "desktop"}, "say what is to be done there"),
                ({"player": "oracle", "instruction": "Do it."}, "an instruction of yours"),
                ({"instruction": "x" * 4001}, "4001 characters"),
                ({"colour": "red"}, "there is no field 'colour'"),
            ):
                answer = await post("/api/play/sessions", json={"task": "forms-login", "seed": 1, "player": "person", **fields})
                assert answer.status_code == 400, fields
                assert message in answer.json()["error"]
            identifier = await page.begin()
            path = f"/api/play/sessions/{identifier}"
            assert (
                await post("/api/play/sessions", json={"task": "forms-login", "seed": 1, "player": "person"})
            ).status_code == 409
            content = json.dumps({"command": "discard"})
            assert (await post(path, content=content, headers={"content-type": "text/plain"})).status_code == 415
            header = {"content-type": "application/json"}
            assert (await post(path, content=content, headers={**header, "origin": "http://evil.example"})).status_code == 403
            assert (await post(path, content=content, headers={**header, "origin": "null"})).status_code == 403
            assert (await post(path, content="[1]", headers=header)).status_code == 400
            assert (await post(path, content="{", headers=header)).status_code == 400
            assert (await post(path, content=" " * (1 << 21), headers=header)).status_code == 413
            assert (await post(path, json={"command": "explode"})).status_code == 400
            assert (await post(path, json={"command": "pause", "why": 1})).status_code == 400
            assert (await post("/api/play/sessions/0123456789abcdef", json={"command": "pause"})).status_code == 404
            await page.until(identifier, "person")
            assert (await post(path, json={"command": "judge", "success": True})).status_code == 409
            assert (await post(path, json={"command": "mark", "step": 0, "learned": False})).status_code == 409
            for digest in ("0" * 64, "..%2F..%2Fplays.jsonl", "x"):
                assert (await page.http.get(f"{path}/images/{digest}")).status_code == 404
            assert (await post(path, content=content, headers={**header, "origin": "http://127.0.0.1"})).status_code == 200
            state = await page.until(identifier, "ended")
            assert "nothing was kept" in state["error"]
            assert await page.begin()

    asyncio.run(main())
    assert kept(tmp_path) == []


def test_every_command_is_refused_before_and_after_or_does_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with client(tmp_path) as page:
            identifier = await page.begin()
            await page.until(identifier, "person")
            await page.order(identifier, "end", how="fail")
            await page.until(identifier, "ended")
            fields: dict[str, dict[str, Any]] = {
                "review": {"on": True},
                "correct": {"actions": [{"kind": "wait"}]},
                "act": {"actions": [{"kind": "wait"}]},
                "input": {"events": []},
                "think": {"text": "?"},
                "mark": {"step": 7, "learned": True},
                "end": {"how": "done"},
                "judge": {"success": True},
            }
            codes = {}
            for command in COMMANDS:
                answer = await page.http.post(
                    f"/api/play/sessions/{identifier}", json={"command": command, **fields.get(command, {})}
                )
                codes[command] = answer.status_code
            refused = {"step", "carry_out", "correct", "take_over", "hand_back", "act", "mark", "end", "judge"}
            assert {command for command, code in codes.items() if code == 409} == refused
            assert all(code in (200, 409) for code in codes.values())

    asyncio.run(main())
    assert [one.status for one in kept(tmp_path)] == ["gave_up"]


def test_events_end_with_the_play(tmp_path: Path) -> None:
    async def main() -> list[dict[str, Any]]:
        async with client(tmp_path) as page:
            identifier = await page.begin(player="oracle")
            # This transport answers when the stream is over: the oracle plays to the end meanwhile.
            text = (await page.http.get(f"/api/play/sessions/{identifier}/events")).text
            return [json.loads(part.removeprefix("data: ")) for part in text.split("\n\n") if part.startswith("data: ")]

    states = asyncio.run(main())
    assert (states[-1]["doing"], states[-1]["reward"]) == ("ended", 1.0)
    counts = [len(state["steps"]) for state in states]
    assert counts == sorted(counts)
    assert len(set(counts)) > 2
    assert [step["by"] for step in states[-1]["steps"]] == ["agent"] * len(states[-1]["steps"])
    assert kept(tmp_path)[0].policy == "oracle"


# ------------------------------------------------------------------------------------------------- left alone, and broken


class Breaking(FakeEnvironment):
    """Breaks at its second click."""

    async def step(self, action: Action) -> Observation:
        if self.clicks == 1:
            raise EnvironmentFailure("the machine is gone")
        return await super().step(action)


def settings(tmp_path: Path, store: TrajectoryStore, player: Player, env: str, **more: Any) -> PlaySettings:
    return PlaySettings(
        tasks=[replace(TASK, env=env)],
        starts=[],
        players={player.name: player},
        store=store,
        images=ImageStore(),
        regions=RegionStore(tmp_path / "regions.jsonl"),
        **more,
    )


def scripted(replies: Sequence[str]) -> Player:
    def act(environment: Environment, task: Task, seed: int) -> Acting:
        agent = WordAgent()
        return PolicyActor(agent, ScriptedPolicy(replies), Sampling()), agent

    async def opened() -> Opened:
        return Opened(act)

    return Player("scripted", opened)


def test_a_machine_that_breaks_is_kept_as_such(tmp_path: Path) -> None:
    async def main() -> None:
        with TrajectoryStore(tmp_path / "plays.jsonl", "a") as store:
            given = settings(tmp_path, store, scripted(["click", "click"]), "test_play:Breaking")
            play = Play("one", given, given.tasks[0], 0, given.players["scripted"], "")
            play.begin()
            states = [state async for state in play.states()]
            assert (states[-1]["status"], states[-1]["reward"], states[-1]["error"]) == ("env_error", None, "the machine is gone")
            assert len(store.get("fake-0-scripted-0").steps) == 2

    asyncio.run(main())


def test_an_environment_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    async def main() -> None:
        with TrajectoryStore(tmp_path / "plays.jsonl", "a") as store:
            given = settings(tmp_path, store, scripted([]), "fakes:NoEnvironment")
            play = Play("one", given, given.tasks[0], 0, given.players["scripted"], "")
            play.begin()
            states = [state async for state in play.states()]
            assert "has no 'NoEnvironment'" in states[-1]["error"]
            assert (states[-1]["doing"], states[-1]["trajectory"], len(store)) == ("ended", None, 0)

    asyncio.run(main())


def test_nobody_looks_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent is stopped; whoever comes back finds it paused; what nobody comes back to is given up, its environment closed."""
    monkeypatch.setattr("stepladder.viewer.play_session.GRACE", 0.2)
    monkeypatch.setattr("stepladder.viewer.play_session.TICK", 0.02)

    async def main() -> None:
        with TrajectoryStore(tmp_path / "plays.jsonl", "a") as store:
            given = settings(tmp_path, store, scripted(["wait"] * 100_000), "fakes:FakeEnvironment", absence=1.5, max_steps=100_000)
            play = Play("one", given, given.tasks[0], 0, given.players["scripted"], "")
            play.begin()
            async with asyncio.timeout(10):
                while not play.actor.paused:
                    await asyncio.sleep(0.01)
                states = play.states()
                assert (await anext(states))["paused"]
                await asyncio.sleep(2)
                assert not play.over, "somebody looks on"
                await states.aclose()
                while not play.over:
                    await asyncio.sleep(0.01)
            assert "nobody has looked at it" in (play.error or "")
            assert len(store) == 0

    asyncio.run(main())


def test_own_instructions_are_the_environments_own_otherwise() -> None:
    async def judge(_: Observation) -> float:
        return 1.0

    async def main() -> None:
        inner = FakeEnvironment()
        environment = OwnInstruction(inner, "Do it.", judge)
        with pytest.raises(EnvironmentFailure, match="not reset"):
            await environment.evaluate()
        await environment.reset(TASK, 1)
        assert (environment.task.instruction, environment.task.max_steps) == ("Do it.", 5)
        assert environment.goal == 2
        with pytest.raises(AttributeError):
            _ = environment.nothing
        await environment.step(Action("wait"))
        assert await environment.evaluate() == 1.0
        await environment.close()
        assert inner.closed

    asyncio.run(main())


def test_what_can_be_played_is_checked_at_the_start(tmp_path: Path) -> None:
    for wrong, message in (
        ({}, "say what can be played"),
        ({"tasks": "forms", "policies": ("nowhere",)}, "'nowhere' is neither"),
        ({"tasks": "forms", "sessions": 0}, "must be above 0"),
        ({"tasks": "forms", "options": {"widht": 3}}, "did you mean 'width'"),
    ):
        with pytest.raises(ConfigError, match=message), open_play(PlayConfig(output=tmp_path / "out", **wrong)):
            pass
