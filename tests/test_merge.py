"""Parameter interpolation: the mean is the mean, and only checkpoints that belong together are merged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_models import SIZES, renderer
from torch import Tensor
from typer.testing import CliRunner

from stepladder import cli
from stepladder.config import ConfigError
from stepladder.models.checkpoint import load_checkpoint, save_checkpoint
from stepladder.models.processor import ImageTextProcessor, image_processor
from stepladder.models.small import build_model
from stepladder.models.tokenizer import build_tokenizer
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.merge import MERGE_FILE, MergeConfig, main

RENDERER = renderer()


def checkpoint(path: Path, seed: int, sizes: object = SIZES, options: AgentOptions | None = None) -> Path:
    model = build_model(sizes, RENDERER.processor.tokenizer, seed)  # type: ignore[arg-type]
    save_checkpoint(path, model, RENDERER.processor)
    (options or AgentOptions()).save(path)
    return path


@pytest.fixture(scope="module")
def experts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    folder = tmp_path_factory.mktemp("experts")
    a, b, c = (checkpoint(folder / name, seed) for seed, name in enumerate("abc"))
    return a, b, c


def tensors(path: Path) -> dict[str, Tensor]:
    return load_file(path / "model.safetensors")


def test_the_weights_are_the_weighted_mean_and_load_again(experts: tuple[Path, ...], tmp_path: Path) -> None:
    out = main(MergeConfig(experts, (0.5, 0.75, -0.25), tmp_path / "merged"))
    a, b, c = map(tensors, experts)
    merged = tensors(out)
    assert merged.keys() == a.keys()
    assert any(not torch.equal(a[name], b[name]) for name in a)
    for name, value in merged.items():
        assert value.dtype == torch.float32
        assert torch.allclose(value, 0.5 * a[name] + 0.75 * b[name] - 0.25 * c[name], atol=1e-6), name
    model, processor = load_checkpoint(out)
    assert dict(model.named_parameters())["model.language_model.norm.weight"].isfinite().all()
    assert processor.tokenizer.get_vocab() == RENDERER.processor.tokenizer.get_vocab()
    assert AgentOptions.of_checkpoint(out) == AgentOptions()
    told = json.loads((out / MERGE_FILE).read_text())
    assert (told["checkpoints"], told["weights"]) == ([str(path) for path in experts], [0.5, 0.75, -0.25])


def test_a_checkpoint_merged_with_itself_is_itself(experts: tuple[Path, ...], tmp_path: Path) -> None:
    out = main(MergeConfig((experts[0], experts[0]), (), tmp_path / "merged"))
    for name, value in tensors(out).items():
        assert torch.allclose(value, tensors(experts[0])[name], atol=1e-7), name


def test_half_precision_is_averaged_in_full(experts: tuple[Path, ...], tmp_path: Path) -> None:
    halves = []
    for number, path in enumerate(experts[:2]):
        model, processor = load_checkpoint(path, dtype=torch.bfloat16)
        save_checkpoint(tmp_path / str(number), model, processor)
        AgentOptions().save(tmp_path / str(number))
        halves.append(tmp_path / str(number))
    one, two = map(tensors, halves)
    name = next(name for name, value in one.items() if value.ndim == 2 and not torch.equal(value, two[name]))
    assert one[name].dtype == torch.bfloat16
    merged = tensors(main(MergeConfig(tuple(halves), (), tmp_path / "merged")))[name]
    assert torch.equal(merged, (one[name].float() + two[name].float()) / 2)


def test_what_does_not_belong_together_is_refused_with_what_differs(experts: tuple[Path, ...], tmp_path: Path) -> None:
    wider = checkpoint(tmp_path / "wider", 0, replace(SIZES, layers=3))
    asked = checkpoint(tmp_path / "asked", 0, options=AgentOptions(screenshots=2))
    tokenizer = build_tokenizer(["quite other words in here altogether"] * 5, len(RENDERER.processor.tokenizer))
    other = ImageTextProcessor(image_processor(), tokenizer, tokenizer.chat_template)
    spoken = tmp_path / "spoken"
    model = build_model(SIZES, RENDERER.processor.tokenizer, 0)
    save_checkpoint(spoken, model, other)
    AgentOptions().save(spoken)
    for path, message in (
        (wider, r"another architecture than .*: .*num_hidden_layers.* is 3, not 2"),
        (asked, "has other agent options"),
        (spoken, "another vocabulary"),
    ):
        with pytest.raises(ConfigError, match=message):
            main(MergeConfig((experts[0], path), (), tmp_path / "merged"))
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"checkpoints": 1}, "checkpoints: 1 given; give at least two"),
        ({"weights": (1.0,)}, "weights: 1 given for 2 checkpoints"),
        ({"weights": (0.5, 0.6)}, "weights are 0.5, 0.6; they must be finite and their sum 1"),
        ({"weights": (float("nan"), 0.6)}, "they must be finite"),
        ({"missing": True}, "is no directory"),
        ({"output": True}, "is there already; name a new directory"),
    ],
)
def test_settings_that_cannot_be(given: dict[str, object], message: str, experts: tuple[Path, ...], tmp_path: Path) -> None:
    paths = (tmp_path / "nowhere", experts[0]) if "missing" in given else experts[: given.get("checkpoints", 2)]  # type: ignore[misc]
    output = tmp_path if "output" in given else tmp_path / "merged"
    with pytest.raises(ConfigError, match=message):
        main(MergeConfig(paths, given.get("weights", ()), output))  # type: ignore[arg-type]


def test_from_the_command_line(experts: tuple[Path, ...], tmp_path: Path) -> None:
    words = ["merge", str(experts[0]), str(experts[1]), "--weights"]
    done = CliRunner().invoke(cli.app, [*words, "2,-1", "--output", str(tmp_path / "merged")])
    assert done.exit_code == 0, done.output
    name = "model.language_model.embed_tokens.weight"
    a, b = (tensors(path)[name] for path in experts[:2])
    assert torch.allclose(tensors(tmp_path / "merged")[name], 2 * a - b, atol=1e-6)
    refused = CliRunner().invoke(cli.app, [*words, "half,half", "--output", str(tmp_path / "other")])
    assert "--weights is 'half,half'; write numbers with commas, such as 0.5,0.5" in str(refused.exception)
