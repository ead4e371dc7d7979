"""Result directories of OSWorld, AgentNet's lines, and what all conversions share: reports, names, records."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import TASKS, episode
from typer.testing import CliRunner

from stepladder import cli
from stepladder.codec import to_json
from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.interchange import agentnet, osworld_results
from stepladder.interchange.folder import ConvertError, TrajectoryFolder
from stepladder.interchange.pictures import checked_path, data_url, read_picture
from stepladder.interchange.records import read_records
from stepladder.interchange.report import Report
from stepladder.stages.convert import READERS, WRITERS, ConvertConfig, main
from stepladder.stages.convert import TASKS as TASK_FORMATS
from stepladder.types import Action, Observation, Step, Trajectory

ROOT = Path(__file__).parent.parent
PLACE = "pyautogui/screenshot/a-model/chrome"


def picture(number: int = 0) -> bytes:
    """A PNG that differs from number to number."""
    images = ImageStore()
    screen = episode(images, TASKS[0], number, steps=1).steps[0].observation.screenshot
    assert screen is not None
    return images.get(screen)


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def osworld_line(number: int, action: Any, shot: str, **more: Any) -> str:
    record = {
        "step_num": number,
        "action_timestamp": f"20261125@10200{number}123456",
        "action": action,
        "response": "Thought: …  <image> \u2028 click",
        "reward": 0,
        "done": False,
        "info": {},
        "screenshot_file": shot,
    }
    return json.dumps(record | more, ensure_ascii=False) + "\n"


def osworld_task(folder: Path, lines: list[str], result: str | None = "1.0\n") -> Path:
    folder.mkdir(parents=True)
    (folder / "traj.jsonl").write_text("".join(lines))
    for number, line in enumerate(lines):
        name = json.loads(line).get("screenshot_file")
        if name:
            (folder / name).write_bytes(picture(number))
    if result is not None:
        (folder / "result.txt").write_text(result)
    (folder / "runtime.log").write_text("[INFO] step\r\n")
    (folder / "recording.mp4").write_bytes(bytes(range(256)))
    return folder


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A result directory with everything that runners leave there."""
    results = tmp_path / "results"
    osworld_task(
        results / PLACE / "first",
        [
            osworld_line(1, "import pyautogui; pyautogui.click(x=30, y=40)", "step_1_a.png"),
            osworld_line(2, "pyautogui.write('a\\nb')", "step_2_a.png", natural_language_action="Type it"),
            osworld_line(2, "pyautogui.press('enter')", "step_2_b.png"),
            osworld_line(3, "DONE", "step_3_a.png", done=True),
        ],
    )
    osworld_task(results / PLACE / "second", [osworld_line(1, "exec('rm')", "step_1_a.png")], "0.25")
    osworld_task(
        results / PLACE / "broken",
        [osworld_line(1, "WAIT", "step_1_a.png"), json.dumps({"Error": "Time limit exceeded in chrome/broken"}) + "\n"],
        None,
    )
    osworld_task(
        results / "computer_13/screenshot/other/os/third",
        [
            osworld_line(1, {"action_type": "CLICK", "parameters": {"x": 10, "y": 20}}, "step_1_a.png"),
            osworld_line(2, {"action_type": "FAIL"}, "step_2_a.png"),
        ],
        "1\r\n",
    )
    claude = {
        "name": "computer",
        "input": {"action": "left_click"},
        "action_type": "tool_use",
        "command": "pyautogui.click(5, 6)\n",
    }
    osworld_task(results / "claude_computer_use/screenshot/claude/gimp/fourth", [osworld_line(1, claude, "step_1_a.png")], "0.0\n")
    (results / PLACE / "first/step_2_a.png").write_bytes(b"")  # a screenshot that failed
    (results / PLACE / "first/logs/inner").mkdir(parents=True)
    (results / PLACE / "first/logs/inner/app.log").write_text("x")
    (results / "pyautogui/screenshot/a-model/args.json").write_text('{"model": "a-model"}')
    (results / "summary").mkdir()
    (results / "summary/results.json").write_text("[]")
    return results


def trajectories(folder: Path) -> dict[str, Trajectory]:
    with TrajectoryFolder(folder) as source:
        return {trajectory.id: trajectory for trajectory in source}


def test_a_result_directory_comes_back_file_by_file(recorded: Path, tmp_path: Path) -> None:
    report = main(ConvertConfig(recorded, tmp_path / "ours", read="osworld"))
    assert (report.kept, report.reasons.total(), report.unreadable_steps) == (5, 0, 2)
    main(ConvertConfig(tmp_path / "ours", tmp_path / "again", write="osworld"))
    assert tree(tmp_path / "again") == tree(recorded)


def test_what_a_result_directory_says(recorded: Path, tmp_path: Path) -> None:
    main(ConvertConfig(recorded, tmp_path / "ours", read="osworld"))
    found = trajectories(tmp_path / "ours")
    first = found[f"{PLACE}/first"]
    kinds = [[action.kind for action in step.actions] for step in first.steps]
    assert kinds == [["click"], ["type", "key"], ["done"]]
    assert (first.reward, first.status, first.policy, first.task.setup["domain"]) == (1.0, "done", "a-model", "chrome")
    assert first.steps[0].observation.screenshot is None  # OSWorld does not keep the first screen
    assert first.steps[1].observation.screenshot is not None
    second = found[f"{PLACE}/second"]
    assert (second.reward, second.steps[0].action) == (0.25, None)
    assert "exec" in (second.steps[0].error or "")
    broken = found[f"{PLACE}/broken"]
    assert (broken.status, broken.reward, broken.error) == ("env_error", None, "Time limit exceeded in chrome/broken")
    third = found["computer_13/screenshot/other/os/third"]
    assert [(step.action.kind, step.action.x) for step in third.steps if step.action] == [("click", 10), ("fail", None)]
    assert third.status == "gave_up"
    fourth = found["claude_computer_use/screenshot/claude/gimp/fourth"]
    assert fourth.steps[0].action == Action("click", x=5, y=6)


def test_the_result_directory_of_one_task_comes_back(tmp_path: Path) -> None:
    folder = osworld_task(tmp_path / "task", [osworld_line(1, "DONE", "step_1_a.png")])
    main(ConvertConfig(folder, tmp_path / "ours", read="osworld"))
    main(ConvertConfig(tmp_path / "ours", tmp_path / "again", write="osworld"))
    assert tree(tmp_path / "again") == tree(folder)


@settings(max_examples=25, deadline=None)
@given(
    endings=st.lists(st.sampled_from(["\n", "\r\n", "\n\n", " \n", "\n  \n"]), min_size=1, max_size=4),
    last=st.sampled_from(["", "\n", "\n\n"]),
    text=st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
    score=st.sampled_from(["1", "0.5\n", "True", "nan", "", "-3\n"]),
)
def test_any_lines_come_back(
    tmp_path_factory: pytest.TempPathFactory, endings: list[str], last: str, text: str, score: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    task = folder / "results/a/b/c/d/e"
    task.mkdir(parents=True)
    lines = [osworld_line(number, "WAIT", "", extra=text).rstrip("\n") for number in range(len(endings))]
    written = "".join(line + end for line, end in zip(lines, endings, strict=True)).rstrip("\n") + last
    (task / "traj.jsonl").write_bytes(written.encode())
    (task / "result.txt").write_bytes(score.encode())
    main(ConvertConfig(folder / "results", folder / "ours", read="osworld"))
    main(ConvertConfig(folder / "ours", folder / "again", write="osworld"))
    assert tree(folder / "again") == tree(folder / "results")


def test_wrong_result_directories(tmp_path: Path) -> None:
    with pytest.raises(ConvertError, match=r"holds no traj\.jsonl"):
        main(ConvertConfig(tmp_path, tmp_path / "ours", read="osworld"))
    results = tmp_path / "results"
    osworld_task(results / "a/b/c/d/hostile", [osworld_line(1, "WAIT", "")])
    (results / "a/b/c/d/hostile/traj.jsonl").write_text(osworld_line(1, "WAIT", "../../../secret.png"))
    osworld_task(results / "a/b/c/d/torn", [osworld_line(1, "WAIT", "")])
    (results / "a/b/c/d/torn/traj.jsonl").write_text(osworld_line(1, "WAIT", "") + '{"step_num": 2, "act')
    report = main(ConvertConfig(results, tmp_path / "others", read="osworld"))
    assert report.kept == 0
    assert "'../../../secret.png'" in report.dropped["a/b/c/d/hostile"]
    assert "traj.jsonl, line 2 is no JSON" in report.dropped["a/b/c/d/torn"]
    assert json.loads((tmp_path / "others/convert.json").read_text())["dropped"] == 2


def show_result(results: Path, action_space: str, observation_type: str, model: str) -> dict[str, list[float]]:
    """Scores by domain, read as OSWorld's show_result.py reads them: every directory with a result.txt counts."""
    scores: dict[str, list[float]] = {}
    root = results / action_space / observation_type / model
    for domain in root.iterdir():
        for task in domain.iterdir() if domain.is_dir() else ():
            if "result.txt" in {path.name for path in task.iterdir()}:
                scores.setdefault(domain.name, []).append(float((task / "result.txt").read_text()))
    return scores


def test_our_trajectories_as_a_result_directory(tmp_path: Path) -> None:
    images = ImageStore(tmp_path / "run/images")
    kept = [episode(images, TASKS[0], 1, True), episode(images, TASKS[0], 2, False), episode(images, TASKS[1], 1, None)]
    with TrajectoryFolder(tmp_path / "run", "a") as folder:
        for trajectory in kept:
            folder.store.append(trajectory)
    main(ConvertConfig(tmp_path / "run/trajectories.jsonl", tmp_path / "results", write="osworld"))
    scores = show_result(tmp_path / "results", "pyautogui", "screenshot", "made-up")
    assert {domain: sorted(found) for domain, found in scores.items()} == {"miniwob": [0.0, 1.0]}
    failed = tmp_path / "results/pyautogui/screenshot/made-up/miniwob" / f"{TASKS[1].id}-1-0"
    assert not (failed / "result.txt").exists()
    lines = [json.loads(line) for line in (failed / "traj.jsonl").read_text().splitlines()]
    assert lines[-1] == {"Error": "env_error"}
    fields = {"step_num", "action_timestamp", "action", "response", "reward", "done", "info", "screenshot_file"}
    assert all(set(line) == fields for line in lines[:-1])
    report = main(ConvertConfig(tmp_path / "results", tmp_path / "back", read="osworld"))
    assert report.unreadable_steps == 1  # the line that says that the environment failed
    back = trajectories(tmp_path / "back")[f"pyautogui/screenshot/made-up/miniwob/{TASKS[0].id}-1-0"]
    assert [step.action.kind for step in back.steps if step.action] == ["click", "type", "drag"]
    with pytest.raises(ConvertError, match="is there already"):
        main(ConvertConfig(tmp_path / "run", tmp_path / "results", write="osworld"))


# ------------------------------------------------------------------------------------------------------------------- AgentNet


def agentnet_record(pictures: Path, name: str = "t1", **more: Any) -> dict[str, Any]:
    pictures.mkdir(parents=True, exist_ok=True)
    steps = []
    codes = ["pyautogui.click(x=0.5, y=0.25)", "pyautogui.write(message='hi')\npyautogui.press('enter')", "computer.wait()"]
    codes += ["pyautogui.moveTo(0.1, 0.2)\npyautogui.dragTo(0.4, 0.5, button='left')", "computer.terminate(status='success')"]
    for index, code in enumerate(codes):
        (pictures / f"{name}-{index}.png").write_bytes(picture(index))
        value = {
            "code": code,
            "observation": "A page.",
            "thought": "I click.\nThen I type.",
            "action": "Click the button.",
            "last_step_correct": True,
            "last_step_redundant": False,
            "reflection": None,
        }
        steps.append({"index": index, "image": f"{name}-{index}.png", "value": value})
    return {
        "task_id": name,
        "task_completed": True,
        "alignment_score": 8,
        "traj": steps,
        "instruction": "Say hi — “now”",
        "natural_language_task": "x",
        **more,
    }


def test_agentnet_comes_back_without_loss(tmp_path: Path) -> None:
    records = [agentnet_record(tmp_path / "images", f"t{number}", efficiency_score=number) for number in range(3)]
    records[2].pop("task_completed")
    records[2]["traj"][0]["value"] = {"code": "pyautogui.click(x=0.5, y=0.25)"}
    records[2]["traj"][1]["value"]["code"] = "os.system('x')"
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    (tmp_path / "data.jsonl").write_text(lines)
    report = main(ConvertConfig(tmp_path / "data.jsonl", tmp_path / "ours", read="agentnet"))
    assert (report.kept, report.steps, report.unreadable_steps) == (3, 15, 1)
    (tmp_path / "again").mkdir()
    main(ConvertConfig(tmp_path / "ours", tmp_path / "again/data.jsonl", write="agentnet"))
    assert (tmp_path / "again/data.jsonl").read_text() == lines
    assert tree(tmp_path / "again/images") == tree(tmp_path / "images")
    found = trajectories(tmp_path / "ours")["agentnet-t0"]
    screen = found.steps[0].observation.screenshot
    assert screen is not None
    assert found.steps[0].action == Action("click", x=0.5 * screen.width, y=0.25 * screen.height)
    assert [action.kind for action in found.steps[1].actions] == ["type", "key"]
    assert found.steps[0].thought == "Observation:\nA page.\n\nThought:\nI click.\nThen I type.\nAction: Click the button."
    assert (found.status, found.reward) == ("done", 1.0)
    assert trajectories(tmp_path / "ours")["agentnet-t2"].reward is None


def test_our_trajectories_as_agentnet(tmp_path: Path) -> None:
    images = ImageStore(tmp_path / "run/images")
    made = episode(images, TASKS[0], 1, True, steps=6)
    call = replace(made, id="call", steps=(replace(made.steps[0], action=Action("call", name="open")),))
    with TrajectoryFolder(tmp_path / "run", "a") as folder:
        folder.store.append(made)
        folder.store.append(call)
    report = main(ConvertConfig(tmp_path / "run", tmp_path / "out/data.jsonl", write="agentnet"))
    assert report.kept == 1
    assert "cannot call functions" in report.dropped["call"]
    main(ConvertConfig(tmp_path / "out/data.jsonl", tmp_path / "back", read="agentnet"))
    (back,) = trajectories(tmp_path / "back").values()
    assert back.task.instruction == made.task.instruction
    assert [step.thought for step in back.steps] == [step.thought for step in made.steps]
    for step, wanted in zip(back.steps, made.steps, strict=True):
        assert step.action is not None
        assert wanted.action is not None
        assert (step.action.kind, step.action.text, step.action.keys) == (
            wanted.action.kind,
            wanted.action.text,
            wanted.action.keys,
        )
        if wanted.action.x is not None:
            assert step.action.x == pytest.approx(wanted.action.x, abs=0.01)


def test_wrong_agentnet_lines(tmp_path: Path) -> None:
    good = agentnet_record(tmp_path / "images")
    (tmp_path / "secret.png").write_bytes(picture())
    hostile = [
        agentnet_record(tmp_path / "images", "h", traj=[{**good["traj"][0], "image": name}])
        for name in ("../secret.png", str(tmp_path / "secret.png"), "none.png", "")
    ]
    lines = [good, *hostile, {"task_id": "no steps", "instruction": "x", "traj": []}, [1], good]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "{broken\n")
    report = main(ConvertConfig(tmp_path / "data.jsonl", tmp_path / "ours", read="agentnet"))
    assert report.kept == 1
    for number, words in {2: "'../secret.png'", 3: "relative", 4: "No such file", 5: "''", 6: "no step", 9: "no JSON"}.items():
        assert words in report.dropped[f"line {number}"]
    assert "line 7" in report.dropped
    assert "already holds" in report.dropped["agentnet-t1"]


# ---------------------------------------------------------------------------------------------------------------------- common


@given(st.lists(st.recursive(st.none() | st.integers() | st.floats(allow_nan=False) | st.text(), st.lists, max_leaves=5)))
@settings(max_examples=50, deadline=None)
def test_an_array_is_read_entry_by_entry(tmp_path_factory: pytest.TempPathFactory, entries: list[Any]) -> None:
    path = tmp_path_factory.mktemp("records") / "data.json"
    for indent in (None, 2):
        path.write_text(json.dumps(entries, indent=indent))
        assert [record for _, record in read_records(path, Report())] == entries


def test_places_of_records(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text('\n[\n{"a":\n"' + "x" * 300_000 + '"},\n2,\n\n3\n]')
    assert [place for place, _ in read_records(path, Report())] == ["line 3", "line 5", "line 7"]
    for text, words in {
        "[1, 2": "line 1",
        "[\n1,\n{'a': 1},": "line 3: no JSON",
        "[1\n 2]": "line 2: ',' or ']'",
        '{"a": 1': "no JSON",
    }.items():
        path.write_text(text)
        with pytest.raises(ConvertError, match=words):
            list(read_records(path, Report()))
    path.write_text('[\n{"a" 1},\n' + '{"b": 2},\n' * 100_000)
    with pytest.raises(ConvertError, match="line 2: no JSON"):
        next(read_records(path, Report()))
    with pytest.raises(ConvertError, match="is no file"):
        list(read_records(tmp_path / "none.jsonl", Report()))


@pytest.mark.parametrize("name", ["../x.png", "/etc/passwd", "a/../../x", "", "\\\\host\\x", "a\0b", "."])
def test_names_that_lead_elsewhere(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConvertError, match="inside the folder"):
        checked_path(name)
    with pytest.raises(ConvertError, match="inside the folder"):
        read_picture(name, tmp_path)


def test_pictures_of_other_formats(tmp_path: Path) -> None:
    data = picture()
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(data)
    (tmp_path / "b.png").write_bytes(data)
    (tmp_path / "in/link.png").symlink_to(tmp_path / "b.png")
    for entry in ("a.png", data_url(data), {"bytes": data, "path": "x"}, {"bytes": None, "path": "a.png"}):
        assert read_picture(entry, tmp_path / "in") == data
    for entry, words in {
        "link.png": "by a link",
        "data:image/png,abc": "data URL",
        "data:image/png;base64,%%": "no base64",
        "https://example.org/a.png": "elsewhere",
    }.items():
        with pytest.raises(ConvertError, match=words):
            read_picture(entry, tmp_path / "in")
    with pytest.raises(ConvertError, match="not int"):
        read_picture(3, tmp_path)


def test_hostile_names_in_our_own_folder(tmp_path: Path) -> None:
    own = {"directory": "../out", "files": {}, "result": "1\n"}
    step = Step(Observation(), extra={"osworld": {"lines": ["{}\n"], "screenshots": {}}}, error="x")
    with TrajectoryFolder(tmp_path / "ours", "a") as folder:
        folder.store.append(
            replace(episode(folder.images, TASKS[0], 1, steps=1), steps=(step,), final=None, extra={"osworld": own})
        )
    with pytest.raises(ConvertError, match=r"'../out'"):
        main(ConvertConfig(tmp_path / "ours", tmp_path / "results", write="osworld"))
    assert not (tmp_path / "out").exists()


def test_wrong_configurations(tmp_path: Path) -> None:
    for given_, words in (
        ({"read": "osword"}, "--from is 'osword'"),
        ({"write": "x"}, "--to is 'x'"),
        ({"read": "osworld", "write": "agentnet"}, "by way of stepladder"),
        ({}, "nothing to do"),
        ({"write": "sharegpt"}, "agent: say"),
        ({"write": "agentnet", "curate": "edit"}, "no texts to be cut"),
        ({"read": "osworld", "curate": "mask"}, "trajectories of stepladder"),
        (
            {"write": "sharegpt", "agent": "qwen_vl", "agent_options": {"colour": 1}},
            "agent_options.colour: the agent 'qwen_vl' has no option",
        ),
    ):
        with pytest.raises(ConfigError, match=words):
            main(ConvertConfig(tmp_path, tmp_path / "out", **given_))
    with pytest.raises(ConfigError, match="there is no"):
        main(ConvertConfig(tmp_path / "none", tmp_path / "out", read="osworld"))


def test_records_keep_their_type(tmp_path: Path) -> None:
    """What a format adds is kept by the codec, so that it survives the store."""
    with TrajectoryFolder(tmp_path, "a") as folder:
        record = agentnet_record(tmp_path / "pictures")
        trajectory = agentnet.read_record(record, tmp_path / "pictures", folder)
        folder.store.append(trajectory)
        assert to_json(folder.store.get(trajectory.id)) == to_json(trajectory)
    assert osworld_results.NAME == "osworld"


# ---------------------------------------------------------------------------------------------------------------- command line


def command(line: str, folder: Path) -> str:
    """What a command line of the documentation prints."""
    words = shlex.split(line)
    assert words[0] == "stepladder"
    with contextlib.chdir(folder):
        done = CliRunner().invoke(cli.app, words[1:], catch_exceptions=False)
    assert done.exit_code == 0, f"{line}: {done.output}"
    return done.output


def test_commands_of_the_documentation(tmp_path: Path) -> None:
    page = (ROOT / "docs/interchange.md").read_text()
    lines = re.findall(r"```bash\n(.*?)```", page, flags=re.DOTALL)[0].strip().splitlines()
    for line in lines:
        told = command(line, tmp_path)
        if "convert" in line:
            assert " kept" in told
            assert "dropped" not in told, f"{line}: {told}"
    tasks = {trajectory.task.id for trajectory in trajectories(tmp_path / "runs/collect").values()}
    assert {trajectory.task.id for trajectory in trajectories(tmp_path / "runs/read").values()} == tasks
    formats = set(re.findall(r"^\| `([\w-]+)` \|", page, flags=re.MULTILINE)) | {
        "sharegpt-classic",
        "cookbook-sft",
        "cookbook-replay",
    }
    assert formats == {*READERS, *WRITERS, *(name for pair in TASK_FORMATS for name in pair)}


def test_what_the_command_says(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"task_id": "x", "instruction": "x", "traj": []}\n{"traj": []}\n{\n')
    runner = CliRunner()
    result = runner.invoke(cli.app, ["convert", str(tmp_path / "data.jsonl"), str(tmp_path / "out"), "--from", "agentnet"])
    assert result.exit_code == 0
    assert "0 kept" in result.output
    assert "3 dropped" in result.output
    assert "2 (line 1, ...): the trajectory has no step" in result.output
    result = runner.invoke(cli.app, ["convert", "--help"])
    assert all(name in result.output for name in ("source", "target", "--curate", "agentnet"))
    result = runner.invoke(cli.app, ["convert", "data.jsonl", "out", "--to", "hf", "--settings"])
    assert {"source=data.jsonl", "write=hf", "turns.early=5"} <= set(result.output.splitlines())


def test_an_evaluation_also_in_the_layout_of_osworld(tmp_path: Path) -> None:
    """Every policy's episodes, at the time at which they were played, as OSWorld's own tools find them."""
    before = time.time()
    line = "stepladder eval random --tasks forms --episodes 2 --output runs/eval --osworld-results results --set baselines=oracle"
    command(line, tmp_path)
    played = {name: trajectories(tmp_path / f"runs/eval/{name}.jsonl").values() for name in ("random", "oracle")}
    for policy, kept in played.items():
        scores = show_result(tmp_path / "results", "pyautogui", "screenshot", policy)
        assert sorted(scores["forms"]) == sorted(one.reward for one in kept if one.reward is not None)
        for one in kept:
            folder = tmp_path / f"results/pyautogui/screenshot/{policy}/forms/{one.task.id}-{one.seed}-{one.index}"
            lines = [json.loads(text) for text in (folder / "traj.jsonl").read_text().splitlines()]
            assert {record["step_num"] for record in lines} == set(range(1, len(one.steps) + 1))
            for record in lines:
                stamp = datetime.strptime(record["action_timestamp"], "%Y%m%d@%H%M%S%f").replace(tzinfo=UTC)
                assert before - 60 <= stamp.timestamp() <= time.time()
                assert not record["screenshot_file"] or (folder / record["screenshot_file"]).is_file()
    report = main(ConvertConfig(tmp_path / "results", tmp_path / "back", read="osworld"))
    assert report.kept == sum(map(len, played.values()))


def test_episodes_of_one_task_of_osworld(tmp_path: Path) -> None:
    """The first one stands under the task's own id, as OSWorld wants it, the others beside it."""
    task = replace(TASKS[0], env="osworld", setup={"id": "abc-1", "domain": "chrome"})
    images = ImageStore()
    names = []
    for seed in (0, 1):
        one = replace(episode(images, TASKS[0], seed), task=task, policy="claude/opus 5")
        names.append(osworld_results.write_episode(tmp_path, one, images).relative_to(tmp_path).as_posix())
    assert names == [f"pyautogui/screenshot/claude_opus_5/chrome/{name}" for name in ("abc-1", "abc-1-1-0")]
    with pytest.raises(ConvertError, match="is there already"):
        osworld_results.write_episode(tmp_path, one, images)
    hostile = replace(one, task=replace(task, setup={"id": "..", "domain": ".."}))
    with pytest.raises(ConvertError, match="inside the folder"):
        osworld_results.write_episode(tmp_path, hostile, images)
