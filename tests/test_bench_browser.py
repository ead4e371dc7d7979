"""The browser bench with very short settings: what is compared, who is missing, what is printed and written."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console


@pytest.fixture
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("browser_bench", Path(__file__).parent.parent / "bench" / "browser.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown(bench: ModuleType, result: dict) -> str:
    text = io.StringIO()
    bench.show(result, Console(file=text, width=200))
    return text.getvalue()


def slow(bench: ModuleType, called: str) -> type:
    """A contestant that is this environment and waits before every step."""

    class Slow(bench.Ours):  # type: ignore[misc, name-defined]
        name = called

        async def step(self, x: int, y: int) -> bool:
            await asyncio.sleep(0.2)
            return bool(await super().step(x, y))

    return Slow


def test_one_that_is_slower_and_one_that_cannot_be_started(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Broken(slow(bench, "gymnasium")):  # type: ignore[misc]
        async def open(self, task: str, width: int, height: int) -> None:
            raise OSError("no chromedriver [here]\nand more")

    monkeypatch.setattr(bench, "SIZES", ((160, 210),))
    monkeypatch.setattr(bench, "contestants", lambda width, browsergym: ([bench.Ours(), slow(bench, "playwright")(), Broken()], []))
    path = tmp_path / "bench.json"
    monkeypatch.setattr(sys, "argv", ["browser.py", "--rounds", "2", "--seconds", "0.05", "--json", str(path)])
    bench.main()
    result = json.loads(path.read_text())
    size = result["sizes"][0]
    assert set(size["figures"]) == {"stepladder", "playwright"}
    assert all(len(values) == 2 and min(values) > 0 for record in size["figures"].values() for values in record.values())
    assert all(len(values) == 2 for values in size["ratios"]["playwright"].values())
    assert min(size["ratios"]["playwright"]["steps_per_second"]) > 1
    assert result["goals"]["gymnasium"] is None
    text = shown(bench, result)
    assert "gymnasium could not be started: OSError: no chromedriver [here]" in text
    assert "at least 50x Gymnasium: not measured" in text


@pytest.mark.parametrize(("rate", "answer"), [(19.0, "yes"), (21.0, "no")])
def test_ratios_and_goals(bench: ModuleType, rate: float, answer: str) -> None:
    figures = {
        "stepladder": {"steps_per_second": [100.0, 100.0, 100.0], "reset_ms": [2.0, 2.0, 2.0], "screenshot_ms": [1.0, 1.0, 1.0]},
        "playwright": {"steps_per_second": [1.0, rate, 50.0], "reset_ms": [4.0, 6.0, 8.0], "screenshot_ms": [3.0, 3.0, 3.0]},
        "gymnasium": {"steps_per_second": [rate / 10] * 3, "reset_ms": [200.0] * 3, "screenshot_ms": []},
    }
    faster = bench.ratios(figures)
    assert faster["playwright"]["reset_ms"] == [2.0, 3.0, 4.0]
    assert faster["gymnasium"]["screenshot_ms"] == []
    size = {"width": 160, "height": 210, "figures": figures, "ratios": faster, "missing": []}
    result = {"task": "t", "rounds": 3, "seconds": 1.0, "sizes": [size], "goals": bench.goals(faster), "load": 0.0, "cores": 2}
    text = shown(bench, result)
    assert f"at least 5x Playwright: {answer}" in text
    assert f"at least 50x Gymnasium: {answer}" in text
    assert "3.0 (2.0 to 4.0)" in text
