"""`stepladder simulate` says what the simulation says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from stepladder import cli
from stepladder.errors import UserError
from stepladder.planning.presets import PRESETS, preset
from stepladder.planning.simulation import predict

QUICK = ["--updates", "2", "--warm-up", "1", "--seeds", "2", "--set", "loop.groups=2"]


def said(*arguments: str) -> str:
    result = CliRunner().invoke(cli.app, ["simulate", "dart-7b", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_command_predicts(tmp_path: Path) -> None:
    picture = tmp_path / "folder" / "scale.png"
    found = json.loads(said("--environments", "8,16", "--staleness", "1,2", "--picture", str(picture), "--json", *QUICK))
    rows = {(row["loop"], row["environments"]): row for row in found["predictions"]}
    loops = ("synchronous", "asynchronous, 1", "asynchronous, 2")
    assert list(rows) == [(loop, count) for loop in loops for count in (8, 16)]
    base = preset("dart-7b")
    loop = replace(base.loop, groups=2, environments=16, mode="synchronous")
    expected = predict(replace(base, loop=loop, engine=replace(base.engine, staggered=0)), 2, 1, 2)
    assert rows["synchronous", 16]["updates_per_hour"] == list(expected.figures["updates_per_hour"])
    assert found["pipeline"]["loop"]["groups"] == 2
    assert Image.open(picture).size[0] > 500


def test_the_table_names_what_holds_it_up() -> None:
    output = said("--mode", "synchronous", "--environments", "8", *QUICK)
    assert "waiting for one another" in output or "environments" in output
    assert "were it the only thing that takes time" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no preset 'nowhere'; there are osworld-8b, dart-7b"),
        (["--environments", "many"], "--environments is 'many'"),
        (["--staleness", "-1"], "--staleness is '-1'"),
        (["--mode", "neither"], "--mode is 'neither'"),
        (["--set", "loop.enviroments=3"], "environments"),
        (["--seeds", "1"], "seeds is 1"),
    ],
)
def test_mistakes_of_the_user(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        CliRunner().invoke(cli.app, ["simulate", *arguments], catch_exceptions=False)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_hold_together(name: str) -> None:
    """An asynchronous loop on them learns faster than one that waits."""
    base = preset(name)
    small = replace(base.loop, environments=base.loop.environments // 20, groups=2)
    rates = {}
    for mode in ("synchronous", "asynchronous"):
        pipeline = replace(base, loop=replace(small, mode=mode), engine=replace(base.engine, replicas=2, staggered=0))  # type: ignore[arg-type]
        rates[mode] = predict(pipeline, 6, 2, 2)["updates_per_hour"]
    assert rates["asynchronous"] > rates["synchronous"]
