"""Runs as pages that open from disk or any web host: the same pages, with the API's answers as files.

    index.html       the page
    static/          styles, the bundled scripts
    data/            answers of the API: files.js says which lie where, each file holds one or several
    images/          screenshots by content

Names from trajectories become neither file names nor code: files are numbered, and answers are JSON in a string.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from stepladder.config import ConfigError
from stepladder.store import StoreError
from stepladder.viewer import listing, trajectory_page
from stepladder.viewer.api import Api
from stepladder.viewer.bundle import bundle
from stepladder.viewer.json_answers import encode
from stepladder.viewer.run_view import Missing, RunView
from stepladder.viewer.server import STATIC

#: Points of a series in a chart.
_POINTS = 1000
_POLICY = (
    "default-src 'none'; script-src 'self' file:; style-src 'self' file:; img-src 'self' file: data:; base-uri 'none'; "
    "form-action 'none'"
)
_PICTURE = re.compile(rb'"/api/images/[^"/]+/([0-9a-f]{64})"')


@dataclass
class Exported:
    """What was written: trajectories and pictures; how many trajectories were left out, and pictures that were not there."""

    trajectories: int = 0
    pictures: int = 0
    left_out: int = 0
    missing_pictures: int = 0
    _seen: set[str] = field(default_factory=set)


def export(api: Api, directory: Path, most: int | None = None) -> Exported:
    """Write the runs of `api` into `directory`, of each store the last `most` trajectories or all. Raises ConfigError for a
    directory that holds something else, BundleError."""
    _make_room(directory)
    files = _Files(directory / "data")
    exported = Exported()
    runs = api.runs.all()
    for run in runs:
        while not run.refresh(5.0):
            pass
    files.write([(("runs",), "", _without_live(api.answer(["runs"], {})))])
    chosen = {run.id: _chosen(run, most, exported) for run in runs}
    for run in runs:
        _write_run(api, run, chosen, files, exported, directory)
    files.finish()
    _write_pages(directory)
    return exported


class _Files:
    """Numbered data files, and which answer lies in which."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._paths: list[tuple[str, int]] = []
        self._number = 0

    def write(self, answers: Sequence[tuple[Sequence[str], str, Any]], path: Sequence[str] | None = None) -> bytes:
        """Write answers, given as (path segments, query, value), into one file; with `path` the file is listed under that alone.
        The JSON of them all."""
        self._number += 1
        written = []
        for parts, query, value in answers:
            text = encode(value)
            written.append(text)
            with (self.directory / f"{self._number}.js").open("ab") as file:
                name = _address(parts) + query
                file.write(b"stepladder.put(" + encode(name) + b", " + encode(text.decode("ascii")) + b");\n")
            if path is None:
                self._paths.append((name, self._number))
        if path is not None:
            self._paths.append((_address(path), self._number))
        return b"".join(written)

    def finish(self) -> None:
        (self.directory / "files.js").write_bytes(b"stepladder.list(" + encode(json.dumps(self._paths)) + b");\n")


def _write_run(
    api: Api, run: RunView, chosen: Mapping[str, Mapping[str, list[str]]], files: _Files, exported: Exported, directory: Path
) -> None:
    here = ("runs", run.id)
    answer = _without_live(api.answer(here, {}))
    files.write([(here, "", {**answer, "report": None, "reports": {}})])
    for phase in answer["metrics"]:
        query = {"phase": phase["phase"], "points": str(_POINTS)}
        files.write([((*here, "metrics"), f"?phase={_component(phase['phase'])}", api.answer((*here, "metrics"), query))])
    for store in ("", *(store["id"] for store in answer["stores"])):
        query = {"store": store} if store else {}
        files.write([((*here, "tasks"), f"?store={_component(store)}", api.answer((*here, "tasks"), query))])
    mine = chosen[run.id]
    listed = [one for one in _all(api, (*here, "trajectories"), "trajectories") if one["id"] in mine.get(one["store"], ())]
    files.write([((*here, "trajectories"), "", {"total": len(listed), "trajectories": listed})])
    groups = list(_all(api, (*here, "groups"), "groups"))
    files.write([((*here, "groups"), "", {"total": len(groups), "groups": groups})])
    for group in groups:
        path = (*here, "groups", group["store"], group["group"])
        files.write([(path, "", api.answer(path, {}))])
    for store, identifiers in mine.items():
        for place, identifier in enumerate(identifiers):
            path = (*here, "trajectories", store, identifier)
            try:
                page = api.answer(path, {})
            except (Missing, StoreError):
                exported.left_out += 1
                continue
            page["neighbours"] = {
                "previous": identifiers[place - 1] if place else None,
                "next": identifiers[place + 1] if place + 1 < len(identifiers) else None,
            }
            page["same_start"] = [one for one in page["same_start"] if one["id"] in chosen[one["run"]].get(one["store"], ())]
            text = files.write([(path, "", page)])
            _write_trees(api, run, path, page, files)
            _copy_pictures(run, text, directory / "images", exported)
            exported.trajectories += 1


def _write_trees(api: Api, run: RunView, path: Sequence[str], page: Mapping[str, Any], files: _Files) -> None:
    """The accessibility trees of a trajectory, in a file that is loaded when one of them is looked at."""
    seen = [step["observation"] for step in page["steps"]] + ([page["final"]] if page["final"] is not None else [])
    numbers = [number for number, observation in enumerate(seen) if observation["tree"]]
    if numbers:
        record = run.record(*path[3:5])
        trees = [((*path, "tree", str(number)), "", {"elements": trajectory_page.tree(record, number)}) for number in numbers]
        files.write(trees, (*path, "tree"))


def _copy_pictures(run: RunView, answer: bytes, images: Path, exported: Exported) -> None:
    for found in _PICTURE.findall(answer):
        digest = found.decode()
        if digest in exported._seen:
            continue
        exported._seen.add(digest)
        try:
            shutil.copyfile(run.picture(digest), images / f"{digest}.png")
            exported.pictures += 1
        except Missing:
            exported.missing_pictures += 1


def _chosen(run: RunView, most: int | None, exported: Exported) -> dict[str, list[str]]:
    """The ids of the trajectories of every store that are written, in order."""
    found: dict[str, list[str]] = {}
    for store in run.contents.stores:
        rows = run.index.select("select id from trajectories where store = ? order by number", (run.store_number(store),))
        identifiers = [row["id"] for row in rows]
        found[store] = identifiers if most is None else identifiers[max(0, len(identifiers) - most) :]
        exported.left_out += len(identifiers) - len(found[store])
    return found


def _all(api: Api, path: Sequence[str], name: str) -> Iterator[dict[str, Any]]:
    """Every entry of a list of the API."""
    offset = 0
    while True:
        page = api.answer(path, {"offset": str(offset), "limit": str(listing.MOST)})[name]
        yield from page
        if len(page) < listing.MOST:
            return
        offset += len(page)


def _without_live(answer: dict[str, Any]) -> dict[str, Any]:
    """An export is of one moment."""
    if "runs" in answer:
        return {**answer, "runs": [_without_live(run) for run in answer["runs"]]}
    return {**answer, "indexing": None}


def _write_pages(directory: Path) -> None:
    shutil.copytree(STATIC / "css", directory / "static/css")
    shutil.copyfile(STATIC / "export/answers.js", directory / "static/answers.js")
    (directory / "static/pages.js").write_text(bundle(STATIC / "js"))
    (directory / "index.html").write_text(exported_page((STATIC / "index.html").read_text()))


def exported_page(page: str) -> str:
    """index.html for files: no absolute addresses, classic scripts in place of the module, and the content policy in the page
    itself, for nobody sends headers. Raises ValueError when the page is not as this expects it."""
    scripts = "".join(
        f'<script src="{name}" defer></script>\n' for name in ("static/answers.js", "data/files.js", "static/pages.js")
    )
    page, replaced = re.subn(r'<script type="module" src="/static/js/main\.js"></script>\n?', lambda _: scripts, page)
    if replaced != 1:
        raise ValueError("index.html must load /static/js/main.js as a module, once")
    page = page.replace("<head>", f'<head>\n<meta http-equiv="Content-Security-Policy" content="{_POLICY}">', 1)
    page = page.replace('"/static/', '"static/')
    if 'src="/' in page or 'href="/' in page:
        raise ValueError("index.html names a file that does not lie below /static/")
    return page


def _make_room(directory: Path) -> None:
    """An empty directory, or an earlier export, which is removed."""
    made = ("index.html", "static", "data", "images")
    if directory.exists():
        others = sorted(path.name for path in directory.iterdir() if path.name not in made)
        known = (directory / "data/files.js").is_file() or not any(directory.iterdir())
        if others or not known:
            raise ConfigError(
                f"html: {directory} holds {', '.join(others[:3]) or 'something else'}, which is no export; give another"
            )
        for name in made[1:]:
            shutil.rmtree(directory / name, ignore_errors=True)
    for name in ("data", "images"):
        (directory / name).mkdir(parents=True)


def _address(parts: Sequence[str]) -> str:
    return "/".join(("/api", *map(_component, parts)))


def _component(text: str) -> str:
    """As JavaScript's encodeURIComponent has it, for paths are looked up as they are written."""
    return quote(text, safe="!~*'()", errors="replace")
