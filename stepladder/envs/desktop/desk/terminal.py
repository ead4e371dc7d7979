"""Tasks in a terminal, xterm with bash."""

from __future__ import annotations

from random import Random

from stepladder.envs.desktop.actions import wait, write
from stepladder.envs.desktop.desk.case import Case, DeskTask, Opened, Solve
from stepladder.envs.desktop.desk.checks import absent, all_of, holds, moves, present
from stepladder.envs.desktop.desk.draw import file_name, lines, sentence, word, words
from stepladder.envs.desktop.look import Look
from stepladder.words import WordPart

_OPENED = (Opened("xterm"),)


def _commands(*lines_: str) -> Solve:
    return moves(*(write(f"{line}\n", f"Run {line!r}.") for line in lines_), wait(0.3, "Wait for the output."))


def _folders(random: Random, part: WordPart) -> Case:
    outer, first, second = words(random, part, 3)
    instruction = f"With the terminal, make a folder “{outer}” in your home, with two folders “{first}” and “{second}” in it."

    async def check(look: Look) -> bool:
        return await present(f"{outer}/")(look) and sorted(await look.names(outer)) == sorted([f"{first}/", f"{second}/"])

    return Case(instruction, check, _commands(f"mkdir -p {outer}/{first} {outer}/{second}"), {}, _OPENED)


def _count(random: Random, part: WordPart) -> Case:
    text = lines(random, part, random.randint(5, 9)) * random.randint(2, 6)
    name = f"{word(random, part)}.log"
    instruction = (
        f"With the terminal, count the lines of “{name}” and write the bare number into the file “count.txt” in your home."
    )
    return Case(
        instruction,
        holds("count.txt", str(len(text))),
        _commands(f"wc -l < {name} > count.txt"),
        {name: "\n".join([*text, ""]).encode()},
        _OPENED,
    )


def _executable(random: Random, part: WordPart) -> Case:
    names = [f"{one}.sh" for one in words(random, part, 3)]
    chosen = random.choice(names)

    async def check(look: Look) -> bool:
        modes = {name: (await look.run("stat", "-c", "%a", name)).output.strip() for name in names}
        return all((int(mode or "0", 8) & 0o111 == 0o111) == (name == chosen) for name, mode in modes.items())

    files = dict.fromkeys(names, b"#!/bin/sh\necho hello\n")
    instruction = f"With the terminal, make the script “{chosen}” executable for everybody, and no other."
    return Case(instruction, check, _commands(f"chmod a+x {chosen}"), files, _OPENED)


def _largest(random: Random, part: WordPart) -> Case:
    names = [f"{one}.dat" for one in words(random, part, 5)]
    sizes = random.sample(range(200, 5000), 5)
    largest = max(zip(sizes, names, strict=True))[1]
    files = {f"data/{name}": b"x" * size for name, size in zip(names, sizes, strict=True)}
    instruction = "With the terminal, move the largest file of the folder “data” into your home; leave the others."
    check = all_of(present(largest), absent(f"data/{largest}"), present(*(f"data/{name}" for name in names if name != largest)))
    return Case(instruction, check, _commands("mv data/$(ls -S data | head -n 1) ."), files, _OPENED)


def _append(random: Random, part: WordPart) -> Case:
    name, old, new = file_name(random, part), lines(random, part, 3), sentence(random, part, 3)
    instruction = f"With the terminal, append the line “{new}” to the file “{name}” in your home."
    files = {name: "\n".join([*old, ""]).encode()}
    return Case(instruction, holds(name, "\n".join([*old, new])), _commands(f'echo "{new}" >> {name}'), files, _OPENED)


def _pack(random: Random, part: WordPart) -> Case:
    name, text = file_name(random, part), sentence(random, part)

    async def check(look: Look) -> bool:
        listed = await look.run("tar", "-xzOf", "archive.tar.gz", name)
        return listed.returncode == 0 and listed.output == f"{text}\n"

    instruction = (
        f"With the terminal, pack the file “{name}” into a compressed archive “archive.tar.gz” in your home, without any folder "
        "in it."
    )
    return Case(instruction, check, _commands(f"tar -czf archive.tar.gz {name}"), {name: f"{text}\n".encode()}, _OPENED)


TASKS = (
    DeskTask("terminal-folders", _folders, ("xterm",), tags=("files",)),
    DeskTask("terminal-count", _count, ("xterm",), tags=("files",)),
    DeskTask("terminal-executable", _executable, ("xterm",), tags=("files",)),
    DeskTask("terminal-largest", _largest, ("xterm",), tags=("files",)),
    DeskTask("terminal-append", _append, ("xterm",), tags=("files",)),
    DeskTask("terminal-pack", _pack, ("xterm",), tags=("files",)),
)
