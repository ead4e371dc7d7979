"""Runs as files: the bundler of the pages' modules, what lies in an export, and the exported pages in a real browser, from disk."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from starlette.testclient import TestClient
from typer.testing import CliRunner
from viewer_run import HOSTILE, make_hostile_run, make_run

from stepladder.cli_viewer import app
from stepladder.config import ConfigError
from stepladder.envs.browser.find import find_chromium
from stepladder.viewer.api import Api
from stepladder.viewer.bundle import BundleError, bundle
from stepladder.viewer.export import export, exported_page
from stepladder.viewer.runs import Runs
from stepladder.viewer.server import STATIC, make_app


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("runs")
    make_run(made / "first", "first", many=12)
    make_run(made / "second", "second")
    make_hostile_run(made / "hostile")
    return made


@pytest.fixture(scope="module")
def site(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("export") / "site"
    runs = Runs([folder])
    export(Api(runs), directory)
    runs.close()
    return directory


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(find_chromium()), args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    yield opened
    opened.close()
    assert faults == []


# --------------------------------------------------------------------------------------------------------------- the bundler


def modules(folder: Path, **sources: str) -> Path:
    for name, source in sources.items():
        (folder / f"{name}.js").write_text(source)
    return folder


MODULES = {
    "main": """import { add, count as howOften } from "./sums.js";
import {
  Shape,
  name,
} from "./shapes.js";
import "./alone.js";
globalThis.found = [add(2, 3), howOften(), new Shape(4).size, name, globalThis.alone];
import("./later.js").then((later) => globalThis.found.push(later.show(1), howOften()));
""",
    "sums": """let calls = 0;
export function add(a, b) {
  calls++;
  return a + b;
}
const count = () => calls;
export { count };
""",
    "shapes": """import { add } from "./sums.js";
export class Shape {
  constructor(n) {
    this.size = add(n, n);
  }
}
const inner = 'a shape';
export { inner as name };
""",
    "alone": "globalThis.alone = true;\n",
    "later": """import { add } from "./sums.js";
export async function wait() {}
export const show = (n) => `${add(n, 41)}`;
""",
}


def test_a_bundle_does_what_the_modules_do(tmp_path: Path, page: Page) -> None:
    modules(tmp_path, **MODULES)
    (tmp_path / "bundle.js").write_text(bundle(tmp_path))
    (tmp_path / "index.html").write_text('<!doctype html><title>x</title><script src="bundle.js"></script>')
    page.goto((tmp_path / "index.html").as_uri())
    page.wait_for_function("globalThis.found.length === 7")
    assert page.evaluate("globalThis.found") == [5, 1, 8, "a shape", True, "42", 3]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"main": 'import { a } from "./gone.js";'}, "main.js imports gone.js, which is not there"),
        ({"main": 'import all from "./sums.js";'}, "main.js: 'import all from"),
        ({"main": 'import * as all from "./sums.js";'}, "does not know"),
        ({"main": "export default 5;"}, "'export default 5;'"),
        ({"main": 'import { a } from "https://evil.example/x.js";'}, "does not know"),
        ({"sums": 'import { name } from "./shapes.js";\nexport const add = 1;'}, "circle: sums.js -> shapes.js -> sums.js"),
    ],
)
def test_modules_that_cannot_be_bundled(tmp_path: Path, changed: dict[str, str], message: str) -> None:
    modules(tmp_path, **{**MODULES, **changed})
    with pytest.raises(BundleError, match=re.escape(message)):
        bundle(tmp_path)


def test_the_pages_can_be_bundled() -> None:
    text = bundle(STATIC / "js")
    for path in (STATIC / "js").glob("*.js"):
        assert f'modules["{path.name}"] = ' in text, f"{path.name} is reached from main.js"


def test_the_page_of_an_export() -> None:
    page = exported_page((STATIC / "index.html").read_text())
    assert 'type="module"' not in page
    for address in re.findall(r"""(?:src|href)="([^"]*)""", page):
        assert not address.startswith(("/", "http")), address
    with pytest.raises(ValueError, match="as a module"):
        exported_page("<head></head>")
    with pytest.raises(ValueError, match="does not lie below"):
        exported_page('<head><script type="module" src="/static/js/main.js"></script><img src="/x.png">')


# ------------------------------------------------------------------------------------------------------------- what was written


def test_files_of_an_export(site: Path) -> None:
    assert sorted(path.name for path in site.iterdir()) == ["data", "images", "index.html", "static"]
    for path in (site / "data").iterdir():
        assert re.fullmatch(r"\d+\.js|files\.js", path.name)
        text = path.read_bytes()
        assert text.isascii()
        for line in text.splitlines():
            assert re.match(rb'stepladder\.(put\("/api/|list\(")', line), "nothing but calls with strings"
    assert all(re.fullmatch(r"[0-9a-f]{64}\.png", path.name) for path in (site / "images").iterdir())


def test_an_export_takes_the_place_of_an_earlier_one_and_of_nothing_else(folder: Path, tmp_path: Path) -> None:
    runs = Runs([folder / "second"])
    written = export(Api(runs), tmp_path / "site", most=2)
    assert (written.trajectories, written.left_out, written.missing_pictures) == (2, 10, 0)
    again = export(Api(runs), tmp_path / "site", most=1)
    assert again.trajectories == 1
    assert len(list((tmp_path / "site" / "images").iterdir())) == again.pictures
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "index.html").write_text("mine")
    with pytest.raises(ConfigError, match="which is no export"):
        export(Api(runs), tmp_path / "mine")
    assert (tmp_path / "mine" / "index.html").read_text() == "mine"
    with pytest.raises(ConfigError, match="no export"):
        export(Api(runs), folder)
    runs.close()


def test_the_command(folder: Path, tmp_path: Path) -> None:
    arguments = ["export", str(folder / "second"), "--html", str(tmp_path / "site"), "--most", "3"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "3 trajectories" in result.output
    assert "9 trajectories were left out (--most)" in result.output
    for wrong, message in (
        (["export", str(tmp_path / "none")], "there is no run directory"),
        ([*arguments[:-1], "0"], "most is 0"),
    ):
        assert message in str(CliRunner().invoke(app, wrong).exception)
    (tmp_path / "empty").mkdir()
    assert "there is no run in" in str(CliRunner().invoke(app, ["export", str(tmp_path / "empty")]).exception)


# ---------------------------------------------------------------------------------------------------------------- in a browser


def side(run: str, seed: int, index: int) -> str:
    return "/".join(quote(part, safe="") for part in (run, "episodes", f"press-{seed}-{run}-{index}"))


LISTED = "/api/runs/first/trajectories"
#: What pages ask, and the server must have answered alike.
ASKED = [
    *(f"{LISTED}?{urlencode(query)}" for query in (
        {}, {"limit": 5, "offset": 10}, {"sort": "-steps"}, {"sort": "reward", "limit": 1000}, {"sort": "-reward"}, {"q": "PRESS"},
        {"task": "scroll-down", "reward": "0.2..0.8"}, {"reward": "none"}, {"reward": "1"}, {"reward": "..0.5"}, {"step": "3"},
        {"step": "2..3"}, {"status": "done,env_error"}, {"policy": "first", "seed": 1}, {"group": "update-0/press/1"},
        {"store": "episodes", "sort": "-id"},
    )),
    "/api/runs/first/groups?limit=2&offset=1",
    "/api/runs/first/groups?store=episodes&task=scroll-down",
    "/api/runs/first/groups/episodes/update-0%2Fpress%2F1",
    "/api/runs/first/tasks",
    "/api/runs/first/tasks?store=episodes",
    "/api/runs/first/trajectories/episodes/press-1-first-2/tree/1",
    "/api/runs/first/trajectories/episodes/press-1-first-2",
    "/api/runs/hostile/trajectories?limit=1000",
    *(f"/api/compare?{urlencode(dict(zip('abc', sides, strict=False)))}" for sides in (
        [side("first", 1, 0), side("second", 1, 1)],
        [side("first", 1, 1), side("first", 1, 1)],
        [side("second", 2, 0), side("first", 2, 0), side("first", 2, 1)],
        [side("first", 0, 1), side("first", 1, 1)],
    )),
]  # fmt: skip


def test_answers_out_of_files_are_those_of_the_server(folder: Path, site: Path, page: Page) -> None:
    runs = Runs([folder])
    client = TestClient(make_app(runs), base_url="http://127.0.0.1")
    page.goto((site / "index.html").as_uri())
    for path in ASKED:
        wanted = client.get(path)
        assert wanted.status_code == 200, f"{path}: {wanted.text}"
        found = page.evaluate("path => globalThis.stepladder.get(path)", path)
        assert comparable(found) == comparable(wanted.json()), path
    assert page.evaluate("globalThis.stepladder.get('/api/live/first/screens').catch((error) => error.message)").startswith(
        "This is not in the export"
    )
    runs.close()


def comparable(answer: Any) -> Any:
    """The sides of a comparison are whole pages in an export, with their neighbours, which no comparison shows."""
    if "sides" in answer:
        beside = ("neighbours", "same_start")
        answer["sides"] = [{key: value for key, value in one.items() if key not in beside} for one in answer["sides"]]
    return answer


def test_metrics_of_an_export(site: Path, page: Page) -> None:
    page.goto((site / "index.html").as_uri())
    answer = page.evaluate("globalThis.stepladder.get('/api/runs/first/metrics?phase=rl&points=200')")
    assert len(answer["series"]["entropy"]) == 60
    assert page.evaluate("globalThis.stepladder.get('/api/runs/first/metrics')")["phase"] in ("rl", "sft")


def test_pages_open_from_disk(site: Path, page: Page) -> None:
    page.goto((site / "index.html").as_uri())
    page.get_by_role("link", name="first").first.click()
    page.wait_for_url("**/index.html#/run/first*")
    page.goto(f"{(site / 'index.html').as_uri()}#/run/first/trajectory/episodes/press-1-first-0")
    page.reload()
    page.wait_for_selector("main img")
    page.wait_for_function("[...document.querySelectorAll('main img')].some((image) => image.naturalWidth === 640)")
    assert "press" in page.inner_text("main")
    page.goto(f"{(site / 'index.html').as_uri()}#/compare?{urlencode({'a': side('first', 1, 0), 'b': side('second', 1, 1)})}")
    page.reload()
    page.wait_for_function("document.querySelectorAll('main img').length >= 2")


def test_hostile_text_runs_nothing_in_an_export(site: Path, page: Page) -> None:
    page.goto((site / "index.html").as_uri())
    for address in (
        "/run/hostile",
        f"/run/hostile/trajectory/episodes/{quote(f'{HOSTILE} 0', safe='')}",
        f"/run/hostile/group/episodes/{quote(HOSTILE, safe='')}",
    ):
        page.goto(f"{(site / 'index.html').as_uri()}#{address}")
        page.reload()
        page.wait_for_selector("main :text('onerror')", state="attached")
        assert page.evaluate("globalThis.broken") is None
        assert page.evaluate("document.querySelectorAll('main script').length") == 0


def test_json_of_pictures_that_are_missing(folder: Path, tmp_path: Path) -> None:
    """A run whose pictures were removed can be exported all the same."""
    make_run(tmp_path / "bare", "first", seeds=1, attempts=1)
    for path in (tmp_path / "bare" / "images").rglob("*.png"):
        path.unlink()
    runs = Runs([tmp_path])
    written = export(Api(runs), tmp_path / "site")
    assert (written.trajectories, written.pictures) == (1, 0)
    assert written.missing_pictures > 0
    assert json.loads((tmp_path / "site/data/files.js").read_text().removeprefix("stepladder.list(").rstrip(");\n"))
    runs.close()
