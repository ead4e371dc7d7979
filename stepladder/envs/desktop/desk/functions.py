"""Functions that an agent may call on a desktop, beside clicking and typing: each is declared by a JSON schema."""

from __future__ import annotations

import io
import posixpath
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stepladder.envs.acting import CannotDo
from stepladder.envs.desktop.applications import APPLICATIONS
from stepladder.envs.desktop.desk.office import read_apart
from stepladder.envs.desktop.look import Look

#: Seconds that a command may run, and characters of its output that are given back.
COMMAND_SECONDS, LONGEST_OUTPUT = 10.0, 4000
#: Seconds that are waited for a file to show.
OPENING_SECONDS = 8.0
_OPENS = {
    **dict.fromkeys(("txt", "md", "log", "csv", "json"), "mousepad"),
    **dict.fromkeys(("xlsx", "ods"), "calc"),
    **dict.fromkeys(("docx", "odt"), "writer"),
    **dict.fromkeys(("pptx", "odp"), "impress"),
    "html": "chromium",
}


@dataclass(frozen=True)
class Function:
    """`parameters` maps names to (JSON type, description); all of them are required. `work` gives the output that the agent
    reads."""

    name: str
    description: str
    parameters: Mapping[str, tuple[str, str]]
    work: Callable[..., Awaitable[str]]

    def schema(self) -> dict[str, Any]:
        """The declaration, in the form that chat interfaces take."""
        properties = {name: {"type": kind, "description": text} for name, (kind, text) in self.parameters.items()}
        parameters = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
        return {"name": self.name, "description": self.description, "parameters": parameters}


async def call(offered: Mapping[str, Function], look: Look, name: str, arguments: Mapping[str, Any]) -> str:
    """Carry out a call. Raises CannotDo for an unknown function or arguments that its schema does not allow."""
    function = offered.get(name)
    if function is None:
        raise CannotDo(f"there is no function {name!r} here; there {_are(list(offered))}")
    for parameter in function.parameters:
        if parameter not in arguments:
            raise CannotDo(f"{name} needs the argument {parameter!r}")
    for argument, value in arguments.items():
        if argument not in function.parameters:
            raise CannotDo(f"{name} has no argument {argument!r}; there {_are(list(function.parameters))}")
        if function.parameters[argument][0] == "string" and not isinstance(value, str):
            raise CannotDo(f"{name}: {argument!r} must be a string, not {type(value).__name__}")
    return await function.work(look, **arguments)


def _are(names: list[str]) -> str:
    return f"are {', '.join(names)}" if len(names) > 1 else f"is {names[0]}" if names else "are none"


async def _run(look: Look, command: str) -> str:
    ran = await look.desktop.guest.run(["bash", "-c", command], COMMAND_SECONDS, cwd=look.path(""), limit=4 * LONGEST_OUTPUT)
    text = (ran.output + ran.errors)[:LONGEST_OUTPUT]
    if ran.timed_out:
        return f"{text}\n[stopped after {COMMAND_SECONDS:g} s]"
    return f"{text}\n[exit status {ran.returncode}]" if ran.returncode else text


async def _read_cell(look: Look, path: str, cell: str) -> str:
    import openpyxl

    content = await look.file(path)
    if content is None:
        raise CannotDo(f"there is no file {path!r}")

    def read(content: bytes) -> tuple[Any]:
        return (openpyxl.load_workbook(io.BytesIO(content), data_only=True).active[cell].value,)

    found = await read_apart(content, read)
    if found is None:
        raise CannotDo(f"the cell {cell!r} of {path!r} cannot be read")
    return "" if found[0] is None else str(found[0])[:LONGEST_OUTPUT]


async def _open_file(look: Look, path: str) -> str:
    if await look.file(path) is None:
        raise CannotDo(f"there is no file {path!r}")
    name = _OPENS.get(posixpath.splitext(path)[1].lower().lstrip("."))
    if name is None:
        raise CannotDo(f"nothing here opens {path!r}; files that end in {', '.join(_OPENS)} can be opened")
    before = await look.titles()
    await look.desktop.launch([*APPLICATIONS[name].command, look.path(path)])

    async def shown() -> bool:
        return await look.titles() != before

    # An application that is open already may show the file in its window.
    opened = await look.until(shown, OPENING_SECONDS)
    await look.desktop.settle()
    return f"opened in {name}" if opened else f"{name} was asked to open it, and no window has changed so far"


_PATH = ("string", "the file, below the home or as a whole path")
FUNCTIONS: dict[str, Function] = {
    function.name: function
    for function in (
        Function(
            "run", "Run a shell command in the home and read its output.", {"command": ("string", "the command, for bash")}, _run
        ),
        Function(
            "read_cell",
            "Read the value of a cell of a spreadsheet file.",
            {"path": _PATH, "cell": ("string", "such as B3")},
            _read_cell,
        ),
        Function("open_file", "Open a file with the application for it.", {"path": _PATH}, _open_file),
    )
}
