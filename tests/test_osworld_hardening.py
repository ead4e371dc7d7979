"""What an agent leaves behind cannot fake a score, stop the grader, or take an episode out of the count."""

from __future__ import annotations

import asyncio
import io
import subprocess
import time
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from office_files import docx_file

from stepladder.envs.osworld import apart as apart_module
from stepladder.envs.osworld import dock, measuring
from stepladder.envs.osworld.apart import TooMuch, apart
from stepladder.envs.osworld.cache import FileCache
from stepladder.envs.osworld.commands import commands_directory
from stepladder.envs.osworld.environment import OSWorldEnvironment
from stepladder.envs.osworld.getters import Got, State, get
from stepladder.envs.osworld.grading import grade
from stepladder.envs.osworld.lacking import Lacks
from stepladder.envs.osworld.machine import Executed
from stepladder.envs.osworld.task_file import make_task
from stepladder.images import ImageStore
from stepladder.interfaces import EnvironmentFailure
from stepladder.types import Task

FAKE = b"#!/bin/sh\nprintf wanted\n"


def reading(command: str | list[str], **more: Any) -> Task:
    """A task whose score is 1 when a command prints "wanted"."""
    result = {"type": "vm_command_line", "command": command, "shell": isinstance(command, str)}
    evaluator = {"func": "exact_match", "result": result, "expected": {"type": "rule", "rules": {"expected": "wanted"}}, **more}
    return make_task({"id": "t", "instruction": "y", "config": [], "evaluator": evaluator}, "os", "f.json")


def play(task: Task, work: Callable[[OSWorldEnvironment], Awaitable[Any]]) -> float:
    """The score after `work`, which stands for what an agent does."""

    async def run() -> float:
        environment = OSWorldEnvironment(ImageStore(), width=640, height=480)
        try:
            await environment.reset(task, 0)
            await work(environment)
            return await environment.evaluate()
        finally:
            await environment.close()

    return asyncio.run(run())


# ------------------------------------------------------------------------------------------------------- faking what is there


@pytest.mark.parametrize("command", ["cat ~/result", ["cat", "/home/user/result"], "sudo cat ~/result"])
def test_a_program_of_the_agents_own_is_never_run_for_grading(command: str | list[str]) -> None:
    async def work(environment: OSWorldEnvironment) -> None:
        guest = environment.desktop.guest
        await guest.write("/home/user/result", b"other")
        for name in ("cat", "sh", "bash", "sudo", "env"):
            await guest.write(f"/home/user/.local/bin/{name}", FAKE, 0o755)
            await guest.write(f"/home/user/bin/{name}", FAKE, 0o755)
            await guest.write(f"/home/user/{name}", FAKE, 0o755)

    assert play(reading(command), work) == 0.0


def test_nothing_that_grading_looks_for_programs_in_can_be_written_to_or_moved_away() -> None:
    async def work(environment: OSWorldEnvironment) -> None:
        guest = environment.desktop.guest
        script = (
            "IFS=:; for folder in $PATH; do [ -e $folder ] || continue; touch $folder/made && echo $folder; "
            "mv $folder $folder.old; [ -e $folder ] || echo moved $folder; done; "
            "mv /opt/stepladder /opt/other && echo moved; rm /bin && echo removed; "
            "mkdir /new && echo made; true"
        )
        ran = await guest.run(["bash", "-c", script])
        assert (ran.output, ran.returncode) == ("", 0)
        assert (await guest.run(["bash", "-c", "cd /var/tmp && echo x > y && cat y && command -v google-chrome"])).output == (
            "x\n/opt/stepladder/commands/google-chrome\n"
        )

    play(reading("true"), work)


def test_python_of_grading_loads_nothing_that_the_agent_left() -> None:
    async def work(environment: OSWorldEnvironment) -> None:
        guest = environment.desktop.guest
        version = (await guest.run(["python3", "-c", "import site; print(site.getusersitepackages())"])).output.strip()
        await guest.write(f"{version}/usercustomize.py", b"print('wanted', end=''); import os; os._exit(0)")

    assert play(reading(["python3", "-c", "print('other')"]), work) == 0.0


def test_the_tree_of_a_folder_is_told_by_no_module_of_the_agents() -> None:
    async def work(environment: OSWorldEnvironment) -> None:
        await environment.desktop.guest.write("/home/user/json.py", b"import os; os.write(1, b'{}'); os._exit(0)")
        assert environment._episode is not None
        state = State(environment._episode.machine, FileCache(None, "t"))
        tree = await get(state, {"type": "list_directory", "path": "/home/user/Desktop"})
        assert (tree["type"], tree["name"]) == ("directory", "Desktop")

    play(reading("true"), work)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "-n x"),
        ("-u user", "-n x"),
        ("-uuser", "-n x"),
        ("-S -u user --", "-n x"),
        ("-Su user -n", "-n x"),
        ("--user user", "-n x"),
        ("--user=user -E", "-n x"),
        ("-p '' -k", "-n x"),
        ("A=1", "-n x"),
    ],
)
def test_sudo_passes_its_own_options_over_and_those_of_the_command_on(options: str, said: str) -> None:
    sudo = commands_directory() / "sudo"
    ran = subprocess.run(
        ["bash", "-c", f"{sudo} {options} /usr/bin/printf '%s ' -n x"], capture_output=True, text=True, check=False
    )
    assert (ran.stdout.strip(), ran.stderr) == (said, "")


# -------------------------------------------------------------------------------------------------------- files without measure


class Files:
    """A machine in memory that has files."""

    size, password = (640, 480), ""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    async def read(self, path: str) -> bytes | None:
        return self.files.get(path)

    async def execute(self, command: Any, shell: bool, seconds: float = 120.0) -> Executed:
        return Executed("", "", 0)


def graded(func: str, left: bytes, expected: Got, **options: Any) -> float:
    """The score of a file that an agent left beside one of the cache's."""

    class Cache(FileCache):
        def cloud(self, url: str, name: str) -> bytes:
            return expected.content

    evaluator = {
        "func": func,
        "result": {"type": "vm_file", "path": "/left", "dest": expected.name},
        "expected": {"type": "cloud_file", "path": "https://example.org/x", "dest": expected.name},
        "options": options,
    }
    state = State(Files({"/left": left}), Cache(None, "t"))  # type: ignore[arg-type]

    async def run() -> float:
        longest, before = 0.0, time.monotonic()

        async def watch() -> None:
            nonlocal longest, before
            while True:
                await asyncio.sleep(0.01)
                longest, before = max(longest, time.monotonic() - before), time.monotonic()

        watching = asyncio.create_task(watch())
        await asyncio.sleep(0.05)
        try:
            return await grade(evaluator, state, False)
        finally:
            watching.cancel()
            assert longest < 1.0, f"the event loop stood still for {longest:.1f} s"

    return asyncio.run(run())


def swollen(paragraphs: int) -> bytes:
    """A small document of very many paragraphs."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(docx_file().content)) as before, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as after:
        for entry in before.infolist():
            content = before.read(entry)
            if entry.filename == "word/document.xml":
                head, _, tail = content.partition(b"<w:sectPr")
                content = head + b"<w:p><w:r><w:t>x</w:t></w:r></w:p>" * paragraphs + b"<w:sectPr" + tail
            after.writestr(entry.filename, content)
    return made.getvalue()


def test_a_metric_scores_in_its_own_process_as_it_does_in_this_one() -> None:
    same, other = docx_file(("One", "Two")), docx_file(("One", "Three"))
    assert graded("compare_docx_files", same.content, same) == 1.0
    assert graded("compare_docx_files", other.content, same) == 0.0
    assert measuring.measure("compare_docx_files", same, [same], None) == 1.0


def test_a_document_that_takes_too_long_scores_nothing_and_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart_module, "PROCESSOR_SECONDS", 3)
    content = swollen(700_000)
    assert len(content) < 300_000
    assert graded("compare_docx_files", content, docx_file()) == 0.0


def test_a_document_that_unpacks_to_too_much_is_read_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    content = swollen(1000)
    monkeypatch.setattr(measuring, "LARGEST", measuring.unpacked_size(content) - 1)
    assert measuring.measure("compare_docx_files", Got("a.docx", content), [Got("a.docx", content)], None) == 0.0
    assert measuring.measure("compare_docx_files", docx_file(), [docx_file()], None) == 1.0


def test_what_work_of_its_own_process_comes_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "work_of_a_test.py").write_text(
        "from stepladder.envs.osworld.lacking import Lacks\n"
        "from stepladder.interfaces import EnvironmentFailure\n"
        "import os\n"
        "def echo(value):\n    print('not an answer')\n    return value\n"
        "def lack(value):\n    raise Lacks('metric x', 'a hint')\n"
        "def fail(value):\n    raise EnvironmentFailure('broken')\n"
        "def slip(value):\n    raise KeyError('x')\n"
        "def end(value):\n    os._exit(3)\n"
        "def spin(value):\n    while True: pass\n"
        "def grow(value):\n    return len(bytearray(1 << 34))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(apart_module, "PROCESSOR_SECONDS", 1)

    def work(name: str, value: Any = None) -> Any:
        return asyncio.run(apart(f"work_of_a_test:{name}", value))

    assert [work("echo", value) for value in (1.5, "é", b"\0\xff", ["a"], None)] == [1.5, "é", b"\0\xff", ["a"], None]
    with pytest.raises(Lacks, match=r"metric x \(a hint\)"):
        work("lack")
    for name, said in (("fail", "broken"), ("slip", "KeyError: 'x'"), ("end", "ended with status 3")):
        with pytest.raises(EnvironmentFailure, match=said):
            work(name)
    for name, said in (("spin", "more than 1 s of a processor"), ("grow", "bytes of memory")):
        with pytest.raises(TooMuch, match=said):
            work(name)


def test_a_process_does_not_outlive_who_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[asyncio.subprocess.Process] = []
    create = asyncio.create_subprocess_exec

    async def kept(*arguments: Any, **options: Any) -> asyncio.subprocess.Process:
        started.append(await create(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", kept)

    async def run() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await apart("time:sleep", 60)

    asyncio.run(run())
    assert [process.returncode for process in started] == [-9]


# ------------------------------------------------------------------------------------------- out of the count


def test_a_result_that_is_too_large_is_none_and_no_failure() -> None:
    result = {"type": "vm_file", "path": "/home/user/result", "dest": "result"}
    expected = {"type": "rule", "rules": {"expected": ["x"]}}

    async def work(environment: OSWorldEnvironment) -> None:
        ran = await environment.desktop.guest.run(["truncate", "--size", str((64 << 20) + 1), "/home/user/result"])
        assert ran.returncode == 0

    assert play(reading("true", func="file_contains", result=result, expected=expected), work) == 0.0


def test_a_dock_that_is_stopped_is_no_failure() -> None:
    assert dock.installed(), "tint2 is not installed: make desktop"

    async def work(environment: OSWorldEnvironment) -> None:
        assert (await environment.desktop.guest.run(["/usr/bin/pkill", "-STOP", dock.PROGRAM])).returncode == 0

    assert play(reading("printf wanted"), work) == 1.0
