"""OSWorld's task files: read as they are, set up, graded; what is not there is named and never a score of 0."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from stepladder import cli
from stepladder.envs.osworld.cache import FileCache, download_name
from stepladder.envs.osworld.coverage import lacks
from stepladder.envs.osworld.environment import OSWorldEnvironment
from stepladder.envs.osworld.getters import Got, State, get
from stepladder.envs.osworld.grading import grade
from stepladder.envs.osworld.lacking import Lacks
from stepladder.envs.osworld.machine import Executed
from stepladder.envs.osworld.measuring import measure
from stepladder.envs.osworld.metrics import metric as metric_of
from stepladder.envs.osworld.pyautogui_command import pyautogui_code, without_pyautogui
from stepladder.envs.osworld.steps import Setup
from stepladder.envs.osworld.task_file import load_tasks, make_task
from stepladder.errors import TaskError
from stepladder.images import ImageStore
from stepladder.interfaces import EnvironmentFailure
from stepladder.rollout.demonstrate import run_demonstration
from stepladder.types import Action, Limits

SHARED = Path(__file__).parent.parent.parent / "shared" / "data" / "osworld"
shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the public task files are not here")


class Machine:
    """A machine in memory: files, and what commands answer."""

    size, password = (1920, 1080), "secret"

    def __init__(self, files: dict[str, bytes] | None = None, answers: dict[str, Executed] | None = None) -> None:
        self.files, self.answers = dict(files or {}), dict(answers or {})
        self.done: list[Any] = []

    async def execute(self, command: Any, shell: bool, seconds: float = 120.0) -> Executed:
        self.done.append(("execute", command, shell))
        return self.answers.get(str(command), Executed("", "", 0))

    async def launch(self, command: Any, shell: bool) -> None:
        self.done.append(("launch", command, shell))

    async def read(self, path: str) -> bytes | None:
        return self.files.get(path)

    async def write(self, path: str, content: bytes) -> None:
        self.files[path] = content

    async def act(self, action: Action) -> None:
        self.done.append(action)

    async def activate_window(self, name: str, strict: bool, by_class: bool) -> bool:
        self.done.append(("activate", name, strict, by_class))
        return True

    async def close_window(self, name: str, strict: bool, by_class: bool) -> bool:
        return True

    async def screenshot(self) -> bytes:
        raise EnvironmentFailure("a machine in memory has no screen")

    async def accessibility(self) -> str:
        return "<desktop-frame/>"


def state(
    files: dict[str, bytes] | None = None, answers: dict[str, Executed] | None = None, cache: FileCache | None = None
) -> State:
    return State(Machine(files, answers), cache or FileCache(None, "t"))


def score(evaluator: dict[str, Any], of: State, gave_up: bool = False) -> float:
    return asyncio.run(grade(evaluator, of, gave_up))


def line(command: str, expected: str) -> dict[str, Any]:
    """The evaluator of a command's output."""
    result = {"type": "vm_command_line", "command": command, "shell": True}
    return {"func": "exact_match", "result": result, "expected": {"type": "rule", "rules": {"expected": expected}}}


# --------------------------------------------------------------------------------------------------------------- task files


@shared
def test_the_public_files_are_read() -> None:
    tasks = load_tasks(SHARED)
    assert len(tasks) == 19
    assert sum("infeasible" in task.tags for task in tasks) == 5
    assert all(task.instruction and task.env == "osworld" for task in tasks)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"id": "x", "instruction": "y"}, "the field 'evaluator' is missing"),
        ({"id": "x", "instruction": "y", "evaluator": {}}, "evaluator must be an object with the field 'func'"),
        (
            {"id": "x", "instruction": "y", "evaluator": {"func": ["a", "b"], "result": [{}]}},
            "evaluator.result must be a list of 2",
        ),
        ({"id": "x", "instruction": "y", "config": [5], "evaluator": {"func": "a"}}, "step 0 of config"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(content: dict[str, Any], said: str) -> None:
    with pytest.raises(TaskError, match=said):
        make_task(content, "os", "file.json")


def test_a_folder_without_tasks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text(json.dumps({"os": ["a"]}))
    with pytest.raises(TaskError, match="has no task file"):
        load_tasks(tmp_path)
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(TaskError, match=r"broken.json"):
        load_tasks(tmp_path)


# -------------------------------------------------------------------------------------------------------------------- setup


def run_steps(machine: Machine, *steps: dict[str, Any], cache: FileCache | None = None) -> None:
    asyncio.run(Setup(machine, cache or FileCache(None, "t")).run(steps))


def step(kind: str, **parameters: Any) -> dict[str, Any]:
    return {"type": kind, "parameters": parameters}


def test_placeholders_are_filled_in_commands_that_are_run_and_not_in_those_that_are_launched() -> None:
    machine = Machine()
    run_steps(
        machine,
        step("execute", command="echo {CLIENT_PASSWORD} {SCREEN_WIDTH_HALF}", shell=True),
        step("launch", command=["{SCREEN_WIDTH}"]),
    )
    assert machine.done == [("execute", "echo secret 960", True), ("launch", ["{SCREEN_WIDTH}"], False)]


def test_pyautogui_is_read_and_other_python_is_run() -> None:
    other = ["python", "-c", "import pathlib; pathlib.Path('x').touch()"]
    click = "import pyautogui; import time; pyautogui.click(960, 540); time.sleep(0.5);"
    assert pyautogui_code(["python", "-c", click]) == [Action("click", 960.0, 540.0), Action("wait", seconds=0.5)]
    assert pyautogui_code(other) is None
    assert without_pyautogui(other) == other


def test_a_command_is_run_until_its_condition_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(answers={"probe": Executed("not yet", "", 1)})
    monkeypatch.setattr("stepladder.envs.osworld.steps.PATIENCE", 0.5)
    with pytest.raises(EnvironmentFailure, match="did not come to"):
        run_steps(machine, step("execute", command="probe", until={"returncode": 0}))
    assert len(machine.done) > 1
    machine.answers["probe"] = Executed("ready", "", 0)
    run_steps(machine, step("execute", command="probe", until={"stdout": "ready"}))


def test_downloads_come_from_the_users_cache_under_osworlds_names(tmp_path: Path) -> None:
    url, path = "https://example.org/a/b.xlsx", "/home/user/Desktop/c.xlsx"
    file = {"url": url, "path": path}
    machine = Machine()
    with pytest.raises(Lacks, match=r"file https://example.org/a/b.xlsx"):
        run_steps(machine, step("download", files=[file]), cache=FileCache(tmp_path, "t"))
    (tmp_path / "t").mkdir()
    name = download_name(url, path)
    assert name.endswith("_c.xlsx")
    (tmp_path / "t" / name).write_bytes(b"content")
    run_steps(machine, step("download", files=[file]), cache=FileCache(tmp_path, "t"))
    assert machine.files == {path: b"content"}


@pytest.mark.parametrize(
    ("given", "said"),
    [(step("googledrive"), "setup step googledrive"), (step("sleep"), "parameters"), (step("launch", cmd="x"), "launch")],
)
def test_a_step_that_cannot_be_done_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(EnvironmentFailure, match=said):
        run_steps(Machine(), given)


# ------------------------------------------------------------------------------------------------------------------ grading


def test_a_task_that_cannot_be_done_is_solved_by_giving_up() -> None:
    assert score({"func": "infeasible"}, state(), gave_up=True) == 1.0
    assert score({"func": "infeasible"}, state()) == 0.0
    assert score(line("x", ""), state(), gave_up=True) == 0.0
    assert score(line("x", ""), state()) == 1.0


@pytest.mark.parametrize(
    ("conj", "wanted", "expected"),
    [("and", ["a", "a"], 1.0), ("and", ["a", "b"], 0.0), ("or", ["b", "a"], 1.0), ("or", ["b", "c"], 0.0)],
)
def test_several_functions_are_joined(conj: str, wanted: list[str], expected: float) -> None:
    result = {"type": "vm_command_line", "command": "x"}
    rules = [{"type": "rule", "rules": {"expected": one}} for one in wanted]
    evaluator = {"func": ["exact_match", "exact_match"], "conj": conj, "result": [result, result], "expected": rules}
    assert score(evaluator, state(answers={"x": Executed("a", "", 0)})) == expected


def test_what_is_not_there_is_named_and_no_score() -> None:
    with pytest.raises(Lacks, match="metric compare_dreams"):
        score({"func": "compare_dreams", "result": None}, state())
    with pytest.raises(Lacks, match="getter dream"):
        score({"func": "exact_match", "result": {"type": "dream"}}, state())
    with pytest.raises(Lacks, match=r"file https://example.org/x"):
        asyncio.run(get(state(), {"type": "cloud_file", "path": "https://example.org/x", "dest": "x"}))


def test_steps_before_grading_are_done() -> None:
    of = state()
    score({**line("x", ""), "postconfig": [step("activate_window", window_name="Writer", strict=True)]}, of)
    assert of.machine.done[0] == ("activate", "Writer", True, False)  # type: ignore[attr-defined]


def test_a_window_that_the_agent_has_closed_is_passed_over_before_grading(monkeypatch: pytest.MonkeyPatch) -> None:
    class Empty(Machine):
        async def activate_window(self, name: str, strict: bool, by_class: bool) -> bool:
            return False

    monkeypatch.setattr("stepladder.envs.osworld.steps.WINDOW_SECONDS", 0.2)
    of = State(Empty(), FileCache(None, "t"))
    steps = [step("activate_window", window_name="Writer"), step("execute", command="probe", until={"returncode": 5})]
    monkeypatch.setattr("stepladder.envs.osworld.steps.PATIENCE", 0.2)
    assert score({**line("x", ""), "postconfig": steps}, of) == 1.0
    with pytest.raises(EnvironmentFailure, match="no window 'Writer' came"):
        asyncio.run(Setup(of.machine, of.cache).run(steps))
    of.machine.done.clear()  # type: ignore[attr-defined]
    assert score({**line("x", ""), "postconfig": steps}, of, gave_up=True) == 0.0
    assert of.machine.done == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["python", "-c", "import pyautogui\nwhile True: pyautogui.press('a')"], r"pyautogui code \(line 2: .*not while"),
        (["python", "-c", "import pyautogui; pyautogui.press('a'); DONE"], "ends an episode"),
        ("python3 -c 'import pyautogui; pyautogui.press(1)' && ls", "pyautogui outside"),
    ],
)
def test_pyautogui_that_cannot_be_read_is_lacking_and_not_left_out(command: Any, said: str) -> None:
    with pytest.raises(Lacks, match=said):
        pyautogui_code(command)


def test_a_faulty_task_file_is_no_score() -> None:
    evaluator = {"func": "check_config_status", "result": {"type": "vm_file", "path": "/f", "dest": "f"}}
    with pytest.raises(EnvironmentFailure, match="check_config_status cannot be worked out: KeyError"):
        score({**evaluator, "expected": {"type": "rule", "rules": {"value": 1}}}, state({"/f": b"x y"}))


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("cd /tmp && no-such-program --x; ls", ["program no-such-program"]),
        ("A=1 sudo apt-get install x", ["the rights of root", "program apt-get"]),
        (["google-chrome", "https://example.org"], ["a network"]),
        ("timedatectl status | grep zone", ["systemd"]),
        ("echo 'unclosed", []),
    ],
)
def test_what_commands_need(command: Any, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: name if name in ("chromium", "ls", "grep") else None)
    content = {"id": "t", "instruction": "y", "config": [step("launch", command=command)], "evaluator": {"func": "infeasible"}}
    assert lacks(make_task(content, "os", "f.json"), None) == expected


PREFERENCES = "/home/user/.config/google-chrome/Default/Preferences"


@pytest.mark.parametrize(
    ("getter", "preferences", "expected"),
    [
        ("enable_do_not_track", {"enable_do_not_track": True}, "true"),
        ("enable_do_not_track", {}, "false"),
        ("data_delete_automacally", {"profile": {"default_content_setting_values": {"cookies": 4}}}, "true"),
        ("data_delete_automacally", {"profile": {"default_content_setting_values": {"cookies": 1}}}, "false"),
        ("default_search_engine", {"default_search_provider_data": {"template_url_data": {"short_name": "Bing"}}}, "Bing"),
        ("default_search_engine", {}, "Google"),
        ("enable_safe_browsing", {"safebrowsing": {"enabled": True}}, "true"),
        ("enable_enhanced_safety_browsing", {"safebrowsing": {"enabled": True}}, "false"),
        ("profile_name", {"profile": {"name": "Thomas"}}, "Thomas"),
        ("new_startup_page", {"session": {"restore_on_startup": 4}}, "false"),
    ],
)
def test_settings_of_the_browser(getter: str, preferences: dict[str, Any], expected: Any) -> None:
    found = state({PREFERENCES: json.dumps(preferences).encode()})
    assert asyncio.run(get(found, {"type": getter})) == expected


def metric(name: str, result: Any, rules: Any = None, **options: Any) -> float:
    return metric_of(name)(result, *([] if rules is None else [rules]), **options)


def got(text: str) -> Got:
    return Got("file", text.encode())


BAR = {
    "bookmark_bar": {
        "children": [{"type": "folder", "name": "Favorites", "children": []}, {"type": "url", "url": "u", "name": "n"}]
    }
}
AUTOSAVE = (
    '<oor:items xmlns:oor="http://openoffice.org/2001/registry"><item oor:path="/org.openoffice.Office.Recovery/AutoSave">'
    '<prop oor:name="AutoSaveTimeIntervall"><value>3</value></prop></item></oor:items>'
)


@pytest.mark.parametrize(
    ("name", "result", "rules", "expected"),
    [
        ("exact_match", "a", {"expected": "a"}, 1),
        ("match_in_list", "Bing", {"expected": ["Microsoft Bing", "Bing"]}, 1),
        ("check_include_exclude", "vlc.desktop", {"include": ["vlc"], "exclude": ["totem"]}, 1),
        ("check_include_exclude", None, {"include": ["vlc"]}, 0),
        ("is_expected_bookmarks", BAR, {"type": "bookmark_bar_folders_names", "names": ["Favorites"]}, 1),
        ("is_expected_bookmarks", BAR, {"type": "bookmark_bar_folders_names", "names": ["Other"]}, 0),
        ("is_expected_bookmarks", [], {"type": "bookmark_bar_folders_names", "names": []}, 0),
        ("check_config_status", got('# x\n(theme "Light")\n'), {"key": "theme", "value": '"Light"'}, 1),
        ("check_config_status", got("(undo-levels 5)"), {"key": "undo-levels", "value": "100"}, 0),
        ("check_config_status", None, {"key": "theme", "value": "x"}, 0),
        ("check_play_and_exit", got("#play-and-exit=1\n"), {"expected_play_and_exit": 0}, 1),
        ("check_play_and_exit", got("play-and-exit=1\n"), {"expected_play_and_exit": 0}, 0),
        (
            "is_vlc_recordings_folder",
            got("input-record-path=/home/user/Desktop\n"),
            {"recording_file_path": "/home/user/Desktop"},
            1,
        ),
        ("check_qt_slider_colours", got("qt-slider-colours=1;2;3;4;5;6;7;8;9;10;11;12"), {"type": "blackish"}, 1),
        ("check_qt_slider_colours", got(""), {"type": "blackish"}, 0),
        ("check_auto_saving_time", got(AUTOSAVE), {"minutes": 3}, 1),
        ("check_auto_saving_time", got(AUTOSAVE), {"minutes": 5}, 0),
        ("check_auto_saving_time", got("<broken"), {"minutes": 5}, 0),
        ("check_list", got("alpha\nbeta 5"), {"expect": [r"beta \d"], "unexpect": ["gamma"]}, 1),
        ("check_list", got("alpha"), {"expect": ["beta"]}, 0),
        ("check_json", got('{"a": {"b": 3}}'), {"expect": [{"key": ["a", "b"], "method": "ge", "ref": 2}]}, 1),
        ("check_json", got('{"a": 1}'), {"unexpect": [{"key": ["a"], "method": "eq", "ref": 1}]}, 0),
        ("check_json", got("no json"), {"expect": []}, 0),
        ("check_direct_json_object", {"a": "x"}, {"expected": {"a": "x"}}, 1),
        ("check_direct_json_object", "{'a': 'xyz'}", {"expected": {"a": ["q", "xyz"]}, "expect_in_result": True}, 1),
        ("check_json_settings", got('{"a": 1, "b": 2}'), {"expected": {"b": 2}}, 1),
    ],
)
def test_metrics(name: str, result: Any, rules: Any, expected: float) -> None:
    assert metric(name, result, rules) == expected


def test_texts_are_compared_as_asked() -> None:
    assert metric("compare_text_file", got("A  b\n"), got("a b"), ignore_blanks=True, ignore_case=True) == 1
    assert metric("compare_text_file", got("A b"), got("a b")) == 0
    status = "Local time: x\nUniversal time: x\nRTC time: x\nTime zone: Etc/UTC (UTC, +0000)\n"
    assert metric("is_utc_0", status) == 1
    assert metric("is_utc_0", status.replace("+0000", "+0200")) == 0


OF_FILES: dict[str, dict[str, Any]] = {
    "check_config_status": {"key": "theme", "value": "x"},
    "check_play_and_exit": {"expected_play_and_exit": 1},
    "is_vlc_recordings_folder": {"recording_file_path": "/x"},
    "check_one_instance_when_started_from_file": {"expected_one_instance_when_started_from_file": 1},
    "check_qt_max_volume": {"expected_qt_max_volume": 1},
    "check_qt_minimal_view": {"expected_qt_minimal_view": 1},
    "check_qt_bgcone": {"expected_qt_bgcone": [0]},
    "check_qt_slider_colours": {"type": "whitish"},
    "check_global_key_play_pause": {"expected_global_key_play_pause": 1},
    "check_auto_saving_time": {"minutes": 1},
    "check_list": {"expect": ["x"], "unexpect": ["y"]},
    "check_json": {"expect": [{"key": ["a", 0], "method": "le", "ref": 1}]},
    "check_json_settings": {"expected": {"a": 1}},
    "file_contains": {"expected": ["x"]},
}
contents = st.binary(max_size=80) | st.sampled_from(
    [b"qt-slider-colours=;", b'{"a": [[]]}', b"[1]", b"<a><b><c/></b></a>", b"(", b"theme"]
)


@given(st.sampled_from(sorted(OF_FILES)), contents)
def test_no_file_that_an_agent_leaves_is_more_than_a_score(name: str, content: bytes) -> None:
    assert 0 <= measure(name, Got("f", content), [OF_FILES[name]], None) <= 1


# ----------------------------------------------------------------------------------------------------------------- coverage


def test_coverage_names_what_is_lacking(tmp_path: Path) -> None:
    evaluator = {
        "func": ["compare_dreams", "exact_match"],
        "result": [{"type": "vm_file", "path": "/f", "dest": "f"}, {"type": "googledrive_file"}],
        "expected": [{"type": "cloud_file", "path": "https://example.org/f", "dest": "f"}, None],
        "postconfig": [{"type": "launch", "parameters": {"command": ["no-such-program"]}}],
    }
    content = {
        "id": "t",
        "instruction": "y",
        "config": [{"type": "login", "parameters": {}}],
        "evaluator": evaluator,
        "proxy": True,
    }
    found = lacks(make_task(content, "os", "f.json"), tmp_path)
    assert found == [
        *("setup step login", "program no-such-program", "a network", "metric compare_dreams", "getter googledrive_file"),
        "file https://example.org/f",
    ]


@pytest.mark.parametrize(
    ("evaluator", "expected"),
    [
        ({"func": "is_vlc_fullscreen", "result": {"type": "vm_window_size", "app_class_name": "vlc"}}, ["program wmctrl"]),
        ({"func": "compare_images", "result": {"type": "vm_wallpaper", "dest": "w"}}, ["GNOME"]),
        ({"func": "exact_match", "result": {"type": "vm_terminal_output"}}, ["program gnome-terminal"]),
        ({"func": "compare_config", "result": {"type": "vscode_config", "path": "/a", "dest": "a"}}, []),
        (
            {"func": "compare_config", "result": {"type": "vscode_config", "vscode_extension_command": "x"}},
            ["OSWorld's extension of VS Code"],
        ),
        (
            {
                "func": "check_accessibility_tree",
                "result": {"type": "accessibility_tree"},
                "expected": {"type": "rule", "rules": [{"selectors": ["label[attr|id=a]"]}]},
            },
            ["attributes in the accessibility tree"],
        ),
    ],
)
def test_what_grading_needs_of_the_machine(evaluator: dict[str, Any], expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    content = {"id": "t", "instruction": "y", "config": [], "evaluator": evaluator}
    assert lacks(make_task(content, "os", "f.json"), None) == expected


def test_a_package_that_a_metric_needs_is_lacking_when_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str, table: Any, what: str) -> Any:
        raise ModuleNotFoundError("No module named 'pptx'", name="pptx")

    monkeypatch.setattr("stepladder.plugins.load", absent)
    evaluator = {"func": "compare_pptx_files", "result": {"type": "vm_file", "path": "/f", "dest": "f"}}
    content = {"id": "t", "instruction": "y", "config": [], "evaluator": evaluator}
    assert lacks(make_task(content, "os", "f.json"), None) == ["package pptx"]


@shared
def test_coverage_of_the_public_files() -> None:
    result = CliRunner().invoke(cli.app, ["osworld", "coverage", str(SHARED), "--json"])
    assert result.exit_code == 0
    found = {one["id"]: one for one in json.loads(result.output)["tasks"]}
    assert len(found) == 19
    assert found["e0df059f-28a6-4169-924f-b9623e7184cc"] == {
        "id": "e0df059f-28a6-4169-924f-b9623e7184cc",
        "domain": "os",
        "runnable": True,
        "lacks": [],
    }
    assert not any(lack.startswith(("metric", "getter", "setup step")) for one in found.values() for lack in one["lacks"])


@shared
def test_a_public_task_is_played_from_setup_to_grading() -> None:
    task = load_tasks(SHARED / "os" / "e0df059f-28a6-4169-924f-b9623e7184cc.json")[0]

    async def run() -> tuple[float, float]:
        environment = OSWorldEnvironment(ImageStore())
        try:
            shown = await environment.reset(task, 0)
            assert (shown.screenshot.width, shown.screenshot.height) == (1920, 1080)  # type: ignore[union-attr]
            idle = await environment.evaluate()
            await environment.desktop.guest.run(["bash", "-c", "mv ~/Desktop/todo_list_Jan_1 ~/Desktop/todo_list_Jan_2"])
            return idle, await environment.evaluate()
        finally:
            await environment.close()

    assert asyncio.run(run()) == (0.0, 1.0)


@shared
def test_a_known_solution_scores_one() -> None:
    task = next(one for one in load_tasks(SHARED) if one.id.startswith("osworld/vlc/8ba5ae7a"))

    async def run() -> tuple[str, float | None]:
        environment = OSWorldEnvironment(ImageStore())
        try:
            trajectory, _ = await run_demonstration(environment, task, 0, limits=Limits())
            return trajectory.status, trajectory.reward
        finally:
            await environment.close()

    assert asyncio.run(run()) == ("done", 1.0)


def test_a_task_that_lacks_something_fails_at_its_reset_and_names_it() -> None:
    task = make_task({"id": "t", "instruction": "y", "evaluator": {"func": "compare_dreams", "result": None}}, "os", "f.json")

    async def run() -> None:
        environment = OSWorldEnvironment(ImageStore())
        try:
            with pytest.raises(EnvironmentFailure, match="metric compare_dreams"):
                await environment.reset(task, 0)
        finally:
            await environment.close()

    asyncio.run(run())
