"""Formats of supervised data: ShareGPT, Parquet, UI-TARS' lists, the files of slime's OSWorld cookbook."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_up import TASKS, episode
from pyarrow import parquet

from stepladder.agents import AGENTS, agent_class
from stepladder.agents.qwen3_vl import Qwen3VLAgent
from stepladder.agents.replies import thought_length, write_reply
from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.interchange.chat import Dialect, conversations
from stepladder.interchange.cookbook_tasks import SCHEMA as TASK_SCHEMA
from stepladder.interchange.cookbook_tasks import config_of, read_tasks
from stepladder.interchange.curation import TurnMask
from stepladder.interchange.folder import ConvertError, TrajectoryFolder
from stepladder.interchange.pictures import data_url
from stepladder.interchange.report import Report
from stepladder.stages.convert import ConvertConfig, UnionConfig, main, union
from stepladder.types import Action, Observation, Step, Trajectory

FORMATS = {
    "sharegpt": ("sharegpt", "data.jsonl"),
    "sharegpt-classic": ("sharegpt", "data.jsonl"),
    "hf": ("hf", "data.parquet"),
    "ui-tars": ("ui-tars", "data.jsonl"),
    "cookbook-sft": ("cookbook", "data.jsonl"),
    "cookbook-replay": ("cookbook", "data.jsonl"),
}


def fill(folder: Path, made: list[Trajectory], images: ImageStore) -> Path:
    with TrajectoryFolder(folder, "a") as into:
        for trajectory in made:
            for step in trajectory.steps:
                assert step.observation.screenshot is not None
                into.images.put(images.get(step.observation.screenshot))
            into.store.append(replace(trajectory, final=None))
    return folder


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """Three successful episodes with thoughts, of actions that every dialect can say."""
    images = ImageStore()
    said = (
        Action("click", x=20, y=80),
        Action("double_click", x=70, y=140),
        Action("type", text='"Aurelie"\n<b>'),
        Action("key", keys=("ctrl", "a")),
        Action("done"),
    )
    made = []
    for seed in range(3):
        one = episode(images, TASKS[seed], seed, steps=len(said))
        steps = [
            replace(step, action=action, thought=f"I see step {number}.\nAction: Do number {number}.")
            for number, (step, action) in enumerate(zip(one.steps, said, strict=True))
        ]
        made.append(replace(one, steps=tuple(steps)))
    return fill(tmp_path / "ours", made, images)


def trajectories(folder: Path) -> list[Trajectory]:
    with TrajectoryFolder(folder) as source:
        return list(source)


def place(action: Action | None) -> tuple[float, float] | None:
    return None if action is None or action.x is None or action.y is None else (action.x, action.y)


@pytest.mark.parametrize("per", ["step", "episode"])
@pytest.mark.parametrize("form", FORMATS)
def test_everything_comes_back(ours: Path, tmp_path: Path, form: str, per: str) -> None:
    reader, name = FORMATS[form]
    words: dict[str, Any] = {"agent": "qwen3_vl", "agent_options": {"thought": "thinking"}, "per": per}
    report = main(ConvertConfig(ours, tmp_path / "out" / name, write=form, **words))
    assert (report.kept, report.steps, report.dropped) == (15 if per == "step" else 3, 15, {})
    report = main(ConvertConfig(tmp_path / "out" / name, tmp_path / "back", read=reader, **words))
    assert (report.kept, report.steps, report.dropped) == (3, 15, {})
    for back, wanted in zip(trajectories(tmp_path / "back"), trajectories(ours), strict=True):
        assert (back.id, back.task.id, back.task.instruction) == (wanted.id, wanted.task.id, wanted.task.instruction)
        assert (back.reward, back.status) == (1.0, "done")
        for step, other in zip(back.steps, wanted.steps, strict=True):
            assert step.thought == other.thought
            assert step.observation.screenshot == other.observation.screenshot
            assert step.action is not None
            assert other.action is not None
            assert replace(step.action, x=None, y=None) == replace(other.action, x=None, y=None)
            assert (place(step.action) is None) == (place(other.action) is None)
            if (at := place(step.action)) is not None:
                assert at == pytest.approx(place(other.action), abs=0.2)


@pytest.mark.parametrize("agent", ["opencua", "kimi", "ui_tars_2", "evocua_s1", "computer_13", "anthropic", "openai_computer"])
def test_steps_come_back_in_every_dialect(ours: Path, tmp_path: Path, agent: str) -> None:
    """Also where the past stands in other words than it was said in."""
    main(ConvertConfig(ours, tmp_path / "data.jsonl", write="sharegpt", agent=agent))
    report = main(ConvertConfig(tmp_path / "data.jsonl", tmp_path / "back", read="sharegpt", agent=agent))
    assert (report.kept, report.steps, report.dropped) == (3, 15, {})
    kinds = [[step.action.kind for step in one.steps if step.action] for one in trajectories(tmp_path / "back")]
    assert kinds == [["click", "double_click", "type", "key", "done"]] * 3


@pytest.mark.parametrize("agent", [name for name in AGENTS if name != "reasoning"])  # which answers and does not act
def test_samples_are_what_the_agent_shows_and_says(ours: Path, agent: str) -> None:
    """Law 3: the prompt of a sample is the agent's own, and its reply reads back as what was done."""
    dialect = Dialect(agent_class(agent)())
    with TrajectoryFolder(ours) as source:
        report = Report()
        made = list(conversations(source, dialect, report, masks=True))
        assert len(made) == 15, report.dropped
        for conversation in made:
            trajectory, index = source.store.get(conversation.about["trajectory"]), conversation.about["step"]
            step = trajectory.steps[index]
            prompt = dialect.agent.prompt(trajectory.task, trajectory.steps[:index], step.observation)
            assert [message.content for message in conversation.messages[:-1]] == [message.content for message in prompt]
            assert conversation.messages[-1].text == write_reply(dialect.agent, step.thought, step.actions, step.observation)
            assert conversation.learned == (*[False] * len(prompt), True)


@pytest.mark.parametrize("agent", ["opencua", "qwen3_vl", "ui_tars_1_5", "ui_tars_2"])
def test_an_episode_is_one_conversation_where_prompts_grow(ours: Path, tmp_path: Path, agent: str) -> None:
    report = main(ConvertConfig(ours, tmp_path / "data.jsonl", write="ui-tars", agent=agent, per="episode"))
    if agent == "opencua":  # its instruction moves on with the last picture
        assert set(report.reasons) == {"opencua does not show an episode as one growing conversation; write it per step"}
        return
    assert report.kept == 3
    for line in (tmp_path / "data.jsonl").read_text().splitlines():
        turns = json.loads(line)
        assert [turn["loss_mask"] for turn in turns] == [int(turn["role"] == "assistant") for turn in turns]
        assert sum(len(turn.get("images", ())) for turn in turns) == 5


def rows(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_sharegpt_as_llama_factory_wants_it(ours: Path, tmp_path: Path) -> None:
    for name, form in (("a", "sharegpt"), ("b", "sharegpt-classic")):
        main(ConvertConfig(ours, tmp_path / f"data/{name}.jsonl", write=form, agent="qwen3_vl"))
    info = json.loads((tmp_path / "data/dataset_info.json").read_text())
    assert info["a"]["columns"] == {"messages": "messages", "images": "images"}
    assert info["b"]["columns"] == {"messages": "conversations", "images": "images", "system": "system"}
    for name, entry in info.items():
        columns, tags = entry["columns"], entry["tags"]
        assert (entry["file_name"], entry["formatting"]) == (f"{name}.jsonl", "sharegpt")
        for row in rows(tmp_path / "data" / entry["file_name"]):
            turns = row[columns["messages"]]
            assert sum(turn[tags["content_tag"]].count("<image>") for turn in turns) == len(row[columns["images"]])
            assert all((tmp_path / "data" / path).is_file() for path in row[columns["images"]])
            roles = [turn[tags["role_tag"]] for turn in turns if turn[tags["role_tag"]] != "system"]
            assert roles == [tags["user_tag"], tags["assistant_tag"]] * (len(roles) // 2)
    # the folder is read by its description, and the file by itself
    report = main(ConvertConfig(tmp_path / "data", tmp_path / "all", read="sharegpt", agent="qwen3_vl"))
    assert (report.kept, len(report.dropped)) == (3, 3)  # the same trajectories stand in both files


def sharegpt_rows(folder: Path, agent: Any) -> list[dict[str, Any]]:
    """Rows of somebody else, without a word on where they are from."""
    images = ImageStore()
    screen = episode(images, TASKS[0], 1, steps=1).steps[0].observation
    assert screen.screenshot is not None
    (folder / "pics").mkdir(parents=True)
    (folder / "pics/a.png").write_bytes(images.get(screen.screenshot))
    asked = agent.prompt(TASKS[0], (), screen)
    messages = [
        {"role": message.role, "content": "".join(part if isinstance(part, str) else "<image>" for part in message.content)}
        for message in asked
    ]
    reply = agent.format("", Action("click", x=20, y=80), screen)
    return [
        {"messages": [*messages, {"role": "assistant", "content": reply}], "images": ["pics/a.png"]},
        {
            "conversations": [{"from": "human", "value": "<image>Close it."}, {"from": "gpt", "value": reply}],
            "images": ["pics/a.png"],
        },
    ]


def test_sharegpt_of_others(tmp_path: Path) -> None:
    good = sharegpt_rows(tmp_path, Qwen3VLAgent())
    user = {"role": "user", "content": "<image>Close it."}
    assistant = good[0]["messages"][-1]
    wrong = [
        ({"messages": [user, assistant], "images": ["../a.png"]}, "'../a.png' is no path inside"),
        ({"messages": [user, assistant], "images": [str(tmp_path / "pics/a.png")]}, "it must be relative"),
        ({"messages": [user, assistant], "images": []}, "more places <image> than pictures"),
        ({"messages": [user, assistant], "images": ["pics/a.png"] * 2}, "2 pictures and 1 places"),
        ({"messages": [user, {"role": "assistant", "content": "Sure!"}], "images": ["pics/a.png"]}, "no reply of qwen3_vl"),
        ({"messages": [user, {"role": "robot", "content": "x"}], "images": ["pics/a.png"]}, "the role is 'robot'"),
        ({"messages": [{"role": "user", "content": "x"}, assistant], "images": []}, "after a picture"),
        (
            {"messages": [{"role": "user", "content": "<image><image>"}, assistant], "images": ["pics/a.png"] * 2},
            "shows 2 pictures",
        ),
        ({"images": []}, "the field 'conversations' is missing"),
        ([], "an object is needed, not list"),
        ({"messages": [user, assistant], "images": ["pics/none.png"]}, "No such file"),
    ]
    for name, separator in (("x.jsonl", "\n"), ("y.json", ",\n")):
        text = separator.join(json.dumps(row) for row in [*good, *(row for row, _ in wrong)])
        (tmp_path / name).write_text(text if name == "x.jsonl" else f"[{text}]")
        report = main(ConvertConfig(tmp_path / name, tmp_path / f"{name}.ours", read="sharegpt", agent="qwen3_vl", reward=1.0))
        assert report.kept == 2
        for number, (_, words) in enumerate(wrong, start=3):
            assert words in report.dropped[f"line {number}"]
        first, second = trajectories(tmp_path / f"{name}.ours")
        assert (first.task.instruction, second.task.instruction) == (TASKS[0].instruction, "Close it.")
        assert (first.reward, first.steps[0].imitated) == (1.0, "reply")


def test_a_text_that_holds_a_place_is_no_sample(tmp_path: Path) -> None:
    images = ImageStore()
    made = episode(images, replace(TASKS[0], instruction="Type <image>"), 1, steps=2)
    folder = fill(tmp_path / "ours", [made], images)
    report = main(ConvertConfig(folder, tmp_path / "data.jsonl", write="sharegpt", agent="qwen3_vl"))
    assert (report.kept, len(report.dropped)) == (0, 2)
    assert "would be taken for a picture" in str(report.dropped)


def test_parquet_with_pictures(ours: Path, tmp_path: Path) -> None:
    main(ConvertConfig(ours, tmp_path / "data.parquet", write="hf", agent="qwen3_vl"))
    table = parquet.read_table(tmp_path / "data.parquet")
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["images"] == [{"_type": "Image"}]
    assert set(features) == set(table.column_names)
    for row in table.to_pylist():
        places = sum(part["type"] == "image" for turn in row["messages"] for part in turn["content"])
        assert places == len(row["images"])
        assert all(image["bytes"].startswith(b"\x89PNG") for image in row["images"])


def test_datasets_decodes_the_pictures(ours: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    main(ConvertConfig(ours, tmp_path / "data.parquet", write="hf", agent="qwen3_vl"))
    found = datasets.load_dataset("parquet", data_files=str(tmp_path / "data.parquet"), cache_dir=str(tmp_path / "cache"))
    assert found["train"][0]["images"][0].size == (160, 210)


def test_a_folder_of_parquet_files_and_wrong_rows(ours: Path, tmp_path: Path) -> None:
    main(ConvertConfig(ours, tmp_path / "many/0.parquet", write="hf", agent="qwen3_vl"))
    table = parquet.read_table(tmp_path / "many/0.parquet")
    wrong = table.to_pylist()[:2]
    for row, path in zip(wrong, ("../x.png", "/etc/hostname"), strict=True):
        row["images"][0] = {"bytes": None, "path": path}
        row["trajectory"] = "wrong"
    parquet.write_table(table.from_pylist(wrong, table.schema), tmp_path / "many/1.parquet")
    report = main(ConvertConfig(tmp_path / "many", tmp_path / "back", read="hf", agent="qwen3_vl"))
    assert report.kept == 3
    assert "inside the folder" in report.dropped["1.parquet, row 1"]
    assert "inside the folder" in report.dropped["1.parquet, row 2"]
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(ConvertError, match=r"text.parquet is no Parquet file"):
        main(ConvertConfig(tmp_path / "text.parquet", tmp_path / "other", read="hf", agent="qwen3_vl"))


def test_parquet_of_trl(tmp_path: Path) -> None:
    """Prompt and completion, texts with places, one "image" column."""
    screen = sharegpt_rows(tmp_path, Qwen3VLAgent())[1]
    reply = screen["conversations"][1]["value"]
    data = {"bytes": (tmp_path / "pics/a.png").read_bytes(), "path": None}
    user = {"role": "user", "content": "<image>Close it."}
    pa = pytest.importorskip("pyarrow")
    parquet.write_table(
        pa.Table.from_pylist(
            [{"prompt": [user], "completion": [{"role": "assistant", "content": reply}], "image": data, "messages": None}]
        ),
        tmp_path / "trl.parquet",
    )
    report = main(ConvertConfig(tmp_path / "trl.parquet", tmp_path / "ours", read="hf", agent="qwen3_vl"))
    assert (report.kept, report.dropped) == (1, {})
    assert trajectories(tmp_path / "ours")[0].id == "trl-1"


def test_ui_tars_own_example(ours: Path, tmp_path: Path) -> None:
    """A list as UI-TARS publishes one: old replies without pictures, one reply learned, no file for a picture."""
    main(ConvertConfig(ours, tmp_path / "data.jsonl", write="ui-tars", agent="ui_tars_1"))
    lists = rows(tmp_path / "data.jsonl")
    assert all([turn["loss_mask"] for turn in turns] == [*[0] * (len(turns) - 1), 1] for turns in lists)
    assert all(("images" in turn) == ("<|vision_start|>" in turn["content"]) for turns in lists for turn in turns)
    (tmp_path / "one.json").write_text(json.dumps(lists[3], indent=1))
    report = main(ConvertConfig(tmp_path / "one.json", tmp_path / "one", read="ui-tars", agent="ui_tars_1"))
    assert (report.kept, report.steps) == (1, 4)
    assert [step.imitated for step in trajectories(tmp_path / "one")[0].steps] == ["nothing"] * 3 + ["reply"]
    for turn in lists[3]:
        turn.pop("images", None)
    lists[4][0]["loss_mask"] = 2
    (tmp_path / "bare.json").write_text(json.dumps(lists[3:5]))
    report = main(ConvertConfig(tmp_path / "bare.json", tmp_path / "bare", read="ui-tars", agent="ui_tars_1"))
    assert sorted(report.reasons) == [
        "message 0: loss_mask is 2; it must be 0 or 1",
        "message 2 has 1 places for pictures and names 0 files in 'images'",
    ]


# ------------------------------------------------------------------------------------------------------------------- curation


def failure(images: ImageStore, turns: int = 18) -> Trajectory:
    """The last of its turns click the same place again and again; turn 17 has no reasoning."""
    one = episode(images, TASKS[0], 9, False, steps=turns)
    places = [min(turn, 9) for turn in range(1, turns + 1)]
    places[1] = places[2] = 3  # an early repetition
    steps = [
        replace(
            step,
            action=Action("click", x=10.0 * at, y=90),
            thought="Action: Click." if turn == 17 else f"Still turn {turn}.\nAction: Click.",
        )
        for turn, (step, at) in enumerate(zip(one.steps, places, strict=True), start=1)
    ]
    return replace(one, steps=tuple(steps), id="failure")


def test_turn_aware_masking(ours: Path) -> None:
    marked = TurnMask().apply(failure(ImageStore()))
    assert [step.imitated for step in marked.steps] == ["reply"] * 9 + ["thought"] * 7 + ["nothing", "thought"]
    assert marked.parts["curated"] == 1.0
    for success in trajectories(ours):
        assert TurnMask().apply(success) is success
    for early, late in ((-1, 5), (6, 5)):
        with pytest.raises(ValueError, match="early"):
            TurnMask(early, late)


@pytest.mark.parametrize(
    ("agent", "kept"),
    [
        (Qwen3VLAgent(thought="thinking"), "<thinking>\nStill.\n</thinking>\n"),
        (Qwen3VLAgent(thought="full"), "<think>\nStill.\n</think>\n\n"),
        (Qwen3VLAgent(thought="action"), ""),
        (agent_class("ui_tars_1_5")(), "Thought: Still.\n"),
        (agent_class("ui_tars_2")(), "<think>Still.</think>\n"),
        (agent_class("stepladder.agents.opencua:OpenCUAAgent")(), "## Thought:\nStill.\n"),
    ],
)
def test_where_the_reasoning_of_a_reply_ends(agent: Any, kept: str) -> None:
    screen = episode(ImageStore(), TASKS[0], 1, steps=1).steps[0].observation
    step = Step(screen, Action("click", x=20, y=80), thought="Still.\nAction: Act at once.")
    assert write_reply(agent, step.thought, step.actions, screen)[: thought_length(agent, step)] == kept


def test_masks_and_cut_texts(tmp_path: Path) -> None:
    images = ImageStore()
    folder = fill(tmp_path / "ours", [failure(images)], images)
    words: dict[str, Any] = {"agent": "qwen3_vl", "agent_options": {"thought": "thinking"}}
    # as a mask, where the format has one
    main(
        ConvertConfig(folder, tmp_path / "m.jsonl", write="cookbook-sft", per="episode", curate="mask", **words),
    )
    (row,) = rows(tmp_path / "m.jsonl")
    replies = [turn for turn in row["messages"] if turn["role"] == "assistant"]
    assert [turn.get("step_loss_mask", 1) for turn in replies] == [1] * 9 + [0] * 9
    assert all("<tool_call>" in turn["content"] for turn in replies)
    assert (row["reward"], row["quality_rank"], row["num_steps"]) == (0.0, 3, 18)
    # as edited text, as the cookbook does it: reasoning stays, the action goes, an empty reply goes altogether
    main(ConvertConfig(folder, tmp_path / "e.jsonl", write="cookbook-sft", per="episode", curate="edit", **words))
    (row,) = rows(tmp_path / "e.jsonl")
    texts = [turn["content"] for turn in row["messages"] if turn["role"] == "assistant"]
    assert ["<tool_call>" in text for text in texts] == [True] * 9 + [False] * 8
    assert texts[9] == "<thinking>\nStill turn 10.\n</thinking>"
    # a format without masks leaves the sample out
    report = main(ConvertConfig(folder, tmp_path / "s.jsonl", write="sharegpt", per="episode", curate="mask", **words))
    assert (report.kept, list(report.dropped)) == (0, ["failure"])
    report = main(ConvertConfig(folder, tmp_path / "t.jsonl", write="sharegpt", curate="edit", **words))
    assert (report.kept, report.reasons) == (17, {"masked: nothing of it is to be learned": 1})
    # and into our own form, for the trainer
    main(ConvertConfig(folder, tmp_path / "curated", curate="mask"))
    (marked,) = trajectories(tmp_path / "curated")
    assert [step.imitated for step in marked.steps] == ["reply"] * 9 + ["thought"] * 7 + ["nothing", "thought"]
    with TrajectoryFolder(tmp_path / "curated") as source:
        for step in marked.steps:
            assert step.observation.screenshot is not None
            assert source.images.get(step.observation.screenshot)
    with pytest.raises(ConfigError, match="the source itself"):
        main(ConvertConfig(folder, folder, curate="mask"))


def test_a_mask_of_ui_tars_comes_back(tmp_path: Path) -> None:
    images = ImageStore()
    folder = fill(tmp_path / "ours", [failure(images)], images)
    words: dict[str, Any] = {"agent": "ui_tars_1", "per": "episode"}
    main(ConvertConfig(folder, tmp_path / "m.jsonl", write="ui-tars", curate="mask", **words))
    main(ConvertConfig(tmp_path / "m.jsonl", tmp_path / "back", read="ui-tars", **words))
    assert [step.imitated for step in trajectories(tmp_path / "back")[0].steps] == ["reply"] * 9 + ["nothing"] * 9


# ------------------------------------------------------------------------------------------------------------------- cookbook


def test_cookbook_rows_keep_their_fields(ours: Path, tmp_path: Path) -> None:
    words: dict[str, Any] = {"agent": "qwen3_vl", "agent_options": {"thought": "thinking"}, "per": "episode"}
    main(ConvertConfig(ours, tmp_path / "a.jsonl", write="cookbook-sft", **words))
    changed = []
    for row in rows(tmp_path / "a.jsonl"):
        row |= {
            "source_dataset": "sft_hybrid",
            "quality_rank": 2,
            "task_id": "abc_chunk3",
            "original_task_id": "abc_chunk3",
            "own": [1],
        }
        row["metadata"] |= {"domain": "os", "is_success": True}
        changed.append(row)
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in changed))
    main(ConvertConfig(tmp_path / "b.jsonl", tmp_path / "back", read="cookbook", **words))
    main(ConvertConfig(tmp_path / "back", tmp_path / "c.jsonl", write="cookbook-sft", **words))
    again = rows(tmp_path / "c.jsonl")
    assert again == changed
    main(ConvertConfig(tmp_path / "back", tmp_path / "d.jsonl", write="cookbook-replay", **words))
    assert {row["task_id"] for row in rows(tmp_path / "d.jsonl")} == {"abc"}


def test_cookbook_reasoning_trajectories(tmp_path: Path) -> None:
    agent = Qwen3VLAgent(thought="thinking")
    shown = sharegpt_rows(tmp_path, agent)
    data = (tmp_path / "pics/a.png").read_bytes()
    call = shown[1]["conversations"][1]["value"]
    row = {
        "task_id": "abc",
        "task_reward": 0.0,
        "instruction": "Close it.",
        "messages": [
            {"role": "user", "content": "Close it.", "images": [data_url(data).partition(",")[2]]},
            {"role": "assistant", "content": call, "thinking": " I see it. "},
        ],
    }
    (tmp_path / "r.jsonl").write_text(json.dumps(row) + "\n")
    report = main(ConvertConfig(tmp_path / "r.jsonl", tmp_path / "ours", read="cookbook", agent="qwen3_vl"))
    assert report.dropped == {}
    (found,) = trajectories(tmp_path / "ours")
    assert (found.task.instruction, found.reward, found.steps[0].thought) == ("Close it.", 0.0, "I see it.")


def osworld_task(folder: Path, name: str, **more: Any) -> dict[str, Any]:
    config = {
        "id": name,
        "snapshot": "chrome",
        "instruction": f"Do {name}.",
        "source": "",
        "config": [{"type": "sleep", "parameters": {"seconds": 1}}],
        "related_apps": ["chrome"],
        "evaluator": {"func": "infeasible"},
        **more,
    }
    (folder / "chrome").mkdir(parents=True, exist_ok=True)
    (folder / f"chrome/{name}.json").write_text(json.dumps(config))
    return config


def test_tasks_as_a_table_and_back(tmp_path: Path) -> None:
    configs = {name: osworld_task(tmp_path / "files", name) for name in ("a1", "b2")}
    osworld_task(tmp_path / "files", "c3", snapshot="excel")
    main(ConvertConfig(tmp_path / "files", tmp_path / "tasks.parquet", read="osworld-tasks", write="cookbook-tasks"))
    table = parquet.read_table(tmp_path / "tasks.parquet")
    assert table.schema.names == TASK_SCHEMA.names
    found = {row["task_id"]: row for row in table.to_pylist()}
    assert {name: row["platform"] for name, row in found.items()} == {"a1": "ubuntu", "b2": "ubuntu", "c3": "windows"}
    assert (found["a1"]["prompt"], found["a1"]["domain"], found["a1"]["instruction"]) == ("a1", "chrome", "Do a1.")
    assert json.loads(found["a1"]["task_config"]) == configs["a1"]
    main(ConvertConfig(tmp_path / "tasks.parquet", tmp_path / "again", read="cookbook-tasks", write="osworld-tasks"))
    for name, config in configs.items():
        assert json.loads((tmp_path / f"again/chrome/{name}.json").read_text()) == config
    (task,) = [task for task in read_tasks(tmp_path / "tasks.parquet", Report()) if task.setup["id"] == "a1"]
    assert config_of(task) == configs["a1"]
    hostile = [{**found["a1"], "task_id": "../../x"}]
    parquet.write_table(table.from_pylist(hostile, table.schema), tmp_path / "hostile.parquet")
    with pytest.raises(ConvertError, match=r"'../../x' cannot be the name of a file"):
        main(ConvertConfig(tmp_path / "hostile.parquet", tmp_path / "out", read="cookbook-tasks", write="osworld-tasks"))
    with pytest.raises(ConvertError, match="only OSWorld's have a task file"):
        config_of(TASKS[0])


def test_the_union_of_data_sets(ours: Path, tmp_path: Path) -> None:
    words: dict[str, Any] = {"agent": "qwen3_vl", "per": "episode"}
    main(ConvertConfig(ours, tmp_path / "source.jsonl", write="cookbook-sft", **words))
    first, second, third = rows(tmp_path / "source.jsonl")
    for row, name in ((first, "a1_chunk2"), (second, "b2"), (third, "c3")):
        row["task_id"] = name
    unread = json.loads(json.dumps(third))
    unread["messages"][-1]["content"] = "I am done."
    nameless = {key: value for key, value in third.items() if key not in ("task_id", "metadata", "original_task_id")}
    (tmp_path / "best.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (second, unread, nameless)) + "{\n")
    worse = json.loads(json.dumps(second))
    worse["messages"][0]["content"] = "An old system message."
    (tmp_path / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (worse, first, first)))
    for name in ("a1", "c3", "d4"):
        osworld_task(tmp_path / "files", name)
    osworld_task(tmp_path / "table", "b2")
    osworld_task(tmp_path / "table", "w5", snapshot="word")
    main(ConvertConfig(tmp_path / "table", tmp_path / "t.parquet", read="osworld-tasks", write="cookbook-tasks"))
    report, stats = union(
        UnionConfig(
            (tmp_path / "best.jsonl", tmp_path / "other.jsonl"),
            tmp_path / "out",
            tables=(tmp_path / "t.parquet",),
            task_files=tmp_path / "files",
        )
    )
    assert stats == {
        "union_task_ids": 4,
        "task_config_distill": 2,
        "task_config_osworld": 3,
        "union_all_rows": 4,
        "union_ready_rows": 3,
        "replay_ready_rows": 2,
        "platform_counts": {"ubuntu": 3, "windows": 1},
        "replay_stats": {
            "input_samples": 6,
            "kept_samples": 2,
            "dropped_parse": 1,
            "deduped": 2,
            "per_dataset": {"best": 1, "other": 1},
        },
    }
    assert json.loads((tmp_path / "out/osworld_train_stats.json").read_text()) == stats
    kept = rows(tmp_path / "out/osworld_replay_train.jsonl")
    assert [(row["task_id"], row["original_task_id"], row["quality_rank"], row["source_dataset"]) for row in kept] == [
        ("b2", "b2", 5, "best"),
        ("a1", "a1_chunk2", 4, "other"),
    ]
    assert all(row["images"] == source["images"] for row, source in zip(kept, (second, first), strict=True))
    everything = {row["task_id"]: row for row in parquet.read_table(tmp_path / "out/osworld_tasks_all.parquet").to_pylist()}
    sources = {name: row["task_config_source"] for name, row in everything.items()}
    assert sources == {"a1": "osworld_repo", "b2": "distill_data", "c3": "osworld_repo", "w5": "distill_data"}
    train = parquet.read_table(tmp_path / "out/osworld_tasks_train.parquet").to_pylist()
    assert [row["task_id"] for row in train] == ["a1", "b2"]
    assert {"best.jsonl, line 2", "best.jsonl, line 3", "other.jsonl, line 1"} <= set(report.dropped)
    with pytest.raises(ConvertError, match="is there already"):
        union(UnionConfig((tmp_path / "best.jsonl",), tmp_path / "out"))


# --------------------------------------------------------------------------------------------------------------------- memory


def many(folder: Path, count: int) -> Path:
    images = ImageStore()
    one = episode(images, TASKS[0], 1, steps=2)
    return fill(folder, [replace(one, id=f"{one.id}-{number}", task=TASKS[0]) for number in range(count)], images)


def peak_of(run: Iterator[None]) -> int:
    tracemalloc.start()
    for _ in run:
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("form", ["sharegpt", "hf", "ui-tars", "cookbook-sft"])
def test_memory_does_not_grow_with_the_number_of_samples(tmp_path: Path, form: str) -> None:
    """Of every trajectory only its entry in the index stays, a kilobyte at most; the samples are far larger."""
    reader, name = FORMATS[form]

    def convert(source: Path, out: Path) -> Iterator[None]:
        yield
        main(ConvertConfig(source, out / name, write=form, agent="qwen_vl"))
        main(ConvertConfig(out / name, out / "back", read=reader, agent="qwen_vl"))

    few, more = 50, 350
    sources = [many(tmp_path / f"{turn}", count) for turn, count in enumerate((2, few, more))]  # the first one only warms up
    peaks = [peak_of(convert(source, tmp_path / f"out{turn}")) for turn, source in enumerate(sources)]
    assert peaks[2] - peaks[1] < (more - few) * 1500, peaks


def test_observations_keep_what_the_environment_says(tmp_path: Path) -> None:
    images = ImageStore()
    one = episode(images, TASKS[0], 1, steps=2)
    told = replace(one.steps[1], observation=Observation(one.steps[1].observation.screenshot, text="A dialog: saved."))
    folder = fill(tmp_path / "ours", [replace(one, steps=(one.steps[0], told))], images)
    words: dict[str, Any] = {"agent": "qwen_vl", "agent_options": {"screenshots": 2}}
    main(ConvertConfig(folder, tmp_path / "a.jsonl", write="sharegpt", **words))
    main(ConvertConfig(tmp_path / "a.jsonl", tmp_path / "back", read="sharegpt", **words))
    assert trajectories(tmp_path / "back")[0].steps[1].observation.text == "A dialog: saved."
