"""The report, from made-up trajectories: its JSON is exact, its HTML stands alone, its rates hide nothing."""

import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made_up import TASKS, episode, report, result
from PIL import Image

from stepladder.images import ImageStore
from stepladder.report import Curve, Report, Rung, choose_strips, write_report
from stepladder.report.figures import curve_svg
from stepladder.report.frames import describe_action, draw_action, frames, outcome
from stepladder.report.markdown import table
from stepladder.report.markdown_text import inline, plain
from stepladder.report.words import duration, percent
from stepladder.results import summarise
from stepladder.stats import success_rate, wilson_interval
from stepladder.types import Action

VOID = {"meta", "img", "br", "path", "use", "link", "rect", "circle"}


class Balanced(HTMLParser):
    """Fails on tags that do not nest, and collects every outside address."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.pictures = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._attributes(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._attributes(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def _attributes(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.pictures += tag == "img"
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and value and not value.startswith(("data:", "#")):
                self.addresses.append(value)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("report")
    assert write_report(directory, report(ImageStore())) == directory / "report.html"
    return directory


def test_json_has_the_promised_shape(written: Path) -> None:
    data = json.loads((written / "report.json").read_text())
    assert data["tasks"] == [task.id for task in TASKS]
    assert [rung["rung"] for rung in data["rungs"]] == ["untrained", "perception", "behaviour_cloning"]
    assert set(data["baselines"]) == {"random", "idle", "oracle"}
    assert data["seconds"] == 4520.0
    last = data["rungs"][-1]
    assert {"rung", "success", "low", "high", "n", "per_task", "seconds"} <= set(last)
    assert 0 <= last["low"] <= last["success"] <= last["high"] <= 1
    assert last["n"] == sum(part["n"] for part in last["per_task"].values()) == 50 * len(TASKS) - 2
    assert last["missing"] == {"env_error": 2}
    assert last["per_task"]["click-test"]["missing"] == {"env_error": 2}
    assert last["per_task"]["click-test"]["n"] == 48
    assert last["seeds"] == list(range(100_000, 100_050))
    assert last["task_set"]
    assert data["baselines"]["idle"]["success"] == 0.0


def test_html_stands_alone_and_is_well_formed(written: Path) -> None:
    text = (written / "report.html").read_text()
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert parser.addresses == []
    assert "@import" not in text
    assert "url(http" not in text
    assert "<script" not in text
    assert parser.pictures > 20
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids)), "two charts on one page must not share ids"
    assert "prefers-color-scheme: dark" in text
    for colour in ("#23282d", "#68717a"):
        assert colour not in text[text.index("</style>") :], "charts take the colours of the page"
    assert "2 env_error missing" in text
    assert "Action: Click the Okay button" in text


def test_markdown_names_its_pictures_and_all_of_them_exist(written: Path) -> None:
    text = (written / "report.md").read_text()
    linked = re.findall(r"\]\((report_files/[^)]+)\)", text)
    assert sorted(linked) == sorted(f"report_files/{path.name}" for path in (written / "report_files").iterdir())
    assert len(linked) == 2 + 6
    assert "| behaviour cloning |" in text
    assert "2 env_error missing" in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")


def test_text_from_outside_is_escaped(tmp_path: Path) -> None:
    images = ImageStore()
    strips = choose_strips([episode(images, TASKS[0], 1)])
    hostile = "<script>alert(1)</script>"
    one = result([0.5] * len(TASKS), range(4), "p")
    data = Report(
        hostile, hostile, (Rung(hostile, one),), {hostile: one}, 1.0, strips=strips, about={hostile: hostile}, images=images
    )
    assert hostile not in write_report(tmp_path, data).read_text()


def test_markdown_shows_text_from_outside_as_it_is(tmp_path: Path) -> None:
    """What a page or a model has written can become no markup, no link and no picture in report.md, and no line of its own."""
    images = ImageStore()
    hostile = "# Done <img src=x onerror=alert(1)>\n\n![p](https://example.org/a.png) **100 %** of `all`\n- one | two_"
    one = episode(images, TASKS[0], 1)
    task = replace(one.task, id="a`b|c [x](https://example.org/) <b>", instruction=hostile)
    steps = tuple(replace(step, action=Action("type", text=hostile), thought=hostile) for step in one.steps)
    strips = [replace(choose_strips([replace(one, task=task, steps=steps)])[0], note=hostile)]
    found = summarise([replace(one, task=task)], [task], [1], policy="p", task_set="", seconds=1.0)
    rungs = (Rung(hostile, found),)
    write_report(
        tmp_path,
        Report(hostile, hostile, rungs, {hostile: found}, 1.0, strips=tuple(strips), about={hostile: hostile}, images=images),
    )
    text = (tmp_path / "report.md").read_text()
    assert "<img" not in text
    assert "<b>" not in text.replace("`a'b\\|c [x](https://example.org/) <b>`", "")
    assert (
        re.findall(r"(?<!\\)!?\[[^\]]*(?<!\\)\]\((?!report_files/)", text.replace("`a'b\\|c [x](https://example.org/) <b>`", ""))
        == []
    )
    assert "**100" not in text.replace("**100.0 %**", "")
    assert (
        r"> \# Done &lt;img src=x onerror=alert(1)&gt; !\[p\](https://example.org/a.png) \*\*100 %\*\* of \`all\` - one | two\_"
        in text
    )
    assert not [line for line in text.splitlines() if line.startswith(("- one", "# Done", "!\\["))]
    assert "4 click_test a_b" in inline("4 click_test a_b"), "words stay as they are"
    assert [plain(one) for one in ("1. go", "- go", "+ go", "12) go", "--- go", "2 go")] == [
        *(r"1\. go", r"\- go", r"\+ go", r"12\) go", r"\--- go", "2 go")
    ]


def test_a_report_without_anything_is_still_a_report(tmp_path: Path) -> None:
    write_report(tmp_path, Report("Nothing", "yet", (), {}, 0.0))
    assert json.loads((tmp_path / "report.json").read_text())["rungs"] == []


def test_a_rate_of_nothing_is_null(tmp_path: Path) -> None:
    perception = {"read_word": {"known": success_rate(0, 0)}}
    write_report(tmp_path, Report("Nothing", "asked", (), {}, 0.0, perception=perception))
    rate = json.loads((tmp_path / "report.json").read_text())["perception"]["read_word"]["known"]
    assert (rate["rate"], rate["n"]) == (None, 0)
    assert "NaN" not in (tmp_path / "report.json").read_text()
    assert "| read word | – |" in (tmp_path / "report.md").read_text()


def test_a_later_report_leaves_no_pictures_of_the_earlier_one(tmp_path: Path) -> None:
    curve = Curve("Loss", "steps", {"a": [(0, 1.0), (10, 0.1)]})
    write_report(tmp_path, Report("Something", "first", (), {}, 0.0, curves=(curve,)))
    assert (tmp_path / "report_files" / "curve-01.svg").exists()
    write_report(tmp_path, Report("Nothing", "yet", (), {}, 0.0))
    assert list((tmp_path / "report_files").iterdir()) == []


def test_summary_counts_what_is_missing_and_keeps_it_out_of_the_rate() -> None:
    images, tasks = ImageStore(), TASKS[:2]
    made = [episode(images, tasks[0], seed, success=seed < 3, steps=2) for seed in range(4)]
    made += [episode(images, tasks[1], 0, success=None), episode(images, tasks[1], 1, success=True)]
    found = summarise(made, tasks, range(4), policy="p", task_set="abc", seconds=1.0)
    assert (found.n, found.successes, found.rate) == (5, 4, 0.8)
    assert (found.low, found.high) == wilson_interval(4, 5)
    assert found.missing == {"env_error": 1, "not run": 2}
    assert found.tasks[0].steps == 2
    assert found.tasks[0].seconds == pytest.approx(0.02)
    assert found.tasks[1].statuses == {"done": 1}
    assert found.tasks[1].n == 1
    nothing = summarise([], tasks, range(2), policy="p", task_set="abc", seconds=0.0)
    assert nothing.rate is None
    assert nothing.missing == {"not run": 4}


def test_a_retried_episode_counts_once_and_an_unasked_one_is_an_error() -> None:
    images, task = ImageStore(), TASKS[0]
    good, bad = episode(images, task, 0, success=True), episode(images, task, 0, success=None)
    for order in ([bad, good], [good, bad]):
        found = summarise(order, [task], [0], policy="p", task_set="abc", seconds=0.0)
        assert (found.n, found.successes, found.missing) == (1, 1, {})
    with pytest.raises(ValueError, match="seed 7, which were not asked for"):
        summarise([episode(images, task, 7)], [task], [0], policy="p", task_set="abc", seconds=0.0)


def test_strips_show_successes_and_failures_of_different_tasks_first() -> None:
    images = ImageStore()
    made = [episode(images, task, seed, success=seed % 2 == 0, steps=1 + seed) for task in TASKS[:3] for seed in range(4)]
    made += [episode(images, TASKS[4], 0, success=None), episode(images, TASKS[5], 0, steps=0)]
    strips = choose_strips(made, successes=4, failures=2)
    assert [strip.trajectory.success for strip in strips] == [True] * 4 + [False] * 2
    assert len({strip.trajectory.task.id for strip in strips[:3]}) == 3
    assert strips == choose_strips(list(reversed(made)), successes=4, failures=2)
    assert choose_strips([]) == ()


def test_the_click_is_drawn_where_it_was() -> None:
    pixels = np.full((210, 160, 3), 128, dtype=np.uint8)
    plain = np.asarray(draw_action(pixels, None))
    assert plain.shape == (420, 320, 3)
    for action in (Action("click", x=40, y=150), Action("double_click", x=40, y=150), Action("scroll", x=40, y=150, amount=-1)):
        changed = (np.asarray(draw_action(pixels, action)) != plain).any(-1)
        rows, columns = np.nonzero(changed)
        assert changed[300, 80], "a dot marks the very place"
        assert abs(columns.mean() - 80) < 3
        assert (rows.min(), columns.min()) >= (270, 50)
    drag = (np.asarray(draw_action(pixels, Action("drag", x=20, y=20, x2=120, y2=20))) != plain).any(-1)
    assert drag[40, 40:240].all()
    outside = Action("drag", x=-1e9, y=20, x2=1e9, y2=20)
    assert (np.asarray(draw_action(pixels, outside)) != plain).any()
    assert not (np.asarray(draw_action(pixels, Action("type", text="x"))) != plain).any()
    assert np.asarray(draw_action(np.zeros((720, 1280, 3), np.uint8), Action("click", x=1279, y=719))).shape == (450, 800, 3)


def test_frames_end_with_the_outcome() -> None:
    images = ImageStore()
    item = episode(images, TASKS[0], 3, steps=20)
    shown = list(frames(item, images, most=5))
    assert len(shown) == 6
    assert shown[0].caption.startswith("1. click (")
    assert shown[-2].caption.startswith("20. ")
    assert shown[-1].caption == outcome(item) == "success, reward 1"
    assert (shown[0].width, shown[0].height) == (160, 210)
    assert Image.open(io.BytesIO(shown[0].png)).size == (320, 420)
    assert outcome(episode(images, TASKS[0], 3, success=None)) == "not graded (env_error)"


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (Action("click", x=51.6, y=130), "click (52, 130)"),
        (Action("click"), "click"),
        (Action("right_click", x=1, y=2, keys=("ctrl",)), "right click (1, 2) with ctrl"),
        (Action("drag", x=1, y=2, x2=3, y2=4), "drag (1, 2) to (3, 4)"),
        (Action("scroll", amount=-3), "scroll down 3"),
        (Action("scroll", amount=2, name="horizontal"), "scroll right 2"),
        (Action("type", text="a\nb" + "x" * 50), "type “a⏎b" + "x" * 36 + "…”"),
        (Action("key", keys=("ctrl", "a")), "press ctrl+a"),
        (Action("key_down", keys=("shift",)), "key down shift"),
        (Action("wait", seconds=1.5), "wait 1.5 s"),
        (Action("call", name="open"), "call open"),
        (Action("done"), "done"),
        (Action("fail", text="no"), "fail “no”"),
    ],
)
def test_actions_in_words(action: Action, words: str) -> None:
    assert describe_action(action) == words


def test_charts_share_a_page_and_can_stand_alone() -> None:
    curve = Curve("Loss", "steps", {"a": [(0, 1.0), (10, 0.1)], "b": [(0, 2.0)]}, logarithmic=True)
    assert curve_svg(curve) == curve_svg(curve), "the same chart is the same text"
    assert curve_svg(curve).startswith("<svg")
    assert "var(--series-2)" in curve_svg(curve)
    alone = curve_svg(curve, themed=False)
    assert alone.startswith("<?xml")
    assert "var(--" not in alone


def test_numbers_in_words() -> None:
    assert [percent(value) for value in (0.6244, None, float("nan"), 1.0)] == ["62.4 %", "–", "–", "100.0 %"]
    assert [duration(value) for value in (7.21, 65, 3599.6, 11520)] == ["7.2 s", "1 min 05 s", "1 h 00 min", "3 h 12 min"]
    assert table(["a", "b"], [["x|y", "1"]]).splitlines()[2] == "| x\\|y | 1 |"
