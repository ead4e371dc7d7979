"""docs/sdpo.md: the prompt that it shows is what the code makes, its figures add up, its commands exist."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_models import renderer
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration
from typer.testing import CliRunner

from stepladder import cli
from stepladder.algos.sdpo import Sdpo
from stepladder.config import field_names
from stepladder.envs.desktop.desk.environment import DeskEnvironment
from stepladder.images import ImageStore
from stepladder.models.renderer import Renderer
from stepladder.stages.agent_options import QWEN
from stepladder.stages.rl_config import RlConfig
from stepladder.stages.rl_teacher import with_told
from stepladder.types import EVALUATOR, Action, Element, Group, Message, Observation, Step, Task, Trajectory

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/sdpo.md").read_text()
ALGORITHM_PAGE = (ROOT / "docs/algorithms/sdpo.md").read_text()

#: Qwen3-VL-8B, from its published configuration.
LAYERS, HIDDEN, INNER, HEADS, KEY_VALUE_HEADS, HEAD, VOCABULARY = 36, 4096, 12288, 32, 8, 128, 151936
RANK = 16
WORDS = {8: "eight", 9: "nine", 10: "ten", 11: "eleven"}
REPLY = 64

INSTRUCTION = "Save a copy of the open document as “glass-orange.txt” in the folder Downloads."
QUESTION = "A file named “castle-bottle.txt” already exists.  Do you want to replace it?"
DETAIL = "The file already exists in “Documents”.  Replacing it will overwrite its contents."
#: What the desktop's accessibility tree says of the two screenshots, without what both have inside the file chooser.
BEFORE = (
    Element("frame", "~/Documents/castle-bottle.txt - Mousepad", "", (639, 285, 642, 509)),
    Element("file chooser", "Save As", "", (412, 121, 1098, 885), ("modal",)),
)
AFTER = (
    *BEFORE,
    Element("alert", "Question", "", (689, 502, 546, 166), ("modal",)),
    Element("label", QUESTION, "", (725, 531, 474, 46), parent=2),
    Element("label", DETAIL, "", (726, 587, 472, 19), parent=2),
    Element("push button", "Cancel", "", (690, 633, 272, 34), parent=2),
    Element("push button", "Replace", "", (962, 633, 272, 34), ("focused",), parent=2),
)


def failure(images: ImageStore) -> Trajectory:
    """An episode of desk/editor-save-as: the dialog is confirmed as it stands, and the old file replaced by itself."""
    before, after = (images.put_file(ROOT / f"docs/images/sdpo-{name}.png") for name in ("before", "after"))
    editor = Observation(None, BEFORE[:1])  # no prompt of the page shows its picture
    chooser = Observation(before, BEFORE, state_key=before.sha256[:16])
    asked = Observation(after, AFTER, state_key=after.sha256[:16])
    steps = (
        Step(editor, Action("key", keys=("ctrl", "shift", "s")), "Action: Open the dialog that saves under another name."),
        Step(chooser, Action("key", keys=("enter",)), "Action: Press Enter to save the copy."),
        Step(asked, Action("click", x=1098, y=650), "Action: Click Replace."),
        Step(editor, Action("done"), "Action: The copy is saved."),
    )
    extra = {EVALUATOR: "Downloads/glass-orange.txt does not exist."}
    return Trajectory("failed", Task("desk/editor-save-as", INSTRUCTION, "desk"), steps, editor, "done", 0.0, extra=extra)


def messages_of(episode: Trajectory, number: int, group: Group) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """(the student's, the teacher's) prompt of a step, by the agent of a published Qwen3-VL and the default feedback."""
    student = QWEN.build().prompt(episode.task, episode.steps[:number], episode.steps[number].observation)
    told = Sdpo().told(episode, number, group)
    assert told is not None
    return student, with_told(student, told)


def written(render: Renderer, messages: tuple[Message, ...]) -> str:
    """The tokens of a prompt as text, each picture's placeholders counted."""
    text = render.processor.tokenizer.decode(render.render(messages).tokens, skip_special_tokens=False)
    return re.sub(r"(?:<\|image_pad\|>)+", lambda found: f"<|image_pad|> x {len(found[0]) // len('<|image_pad|>')}", text)


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


def commands(page: str) -> list[str]:
    lines = "".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip()]


def test_the_prompt_is_what_the_code_makes() -> None:
    images = ImageStore()
    render, failed = renderer(images), failure(images)
    student, teacher = (written(render, messages) for messages in messages_of(failed, 1, [failed]))
    reply, shown = blocks(PAGE, "text")
    assert shown.rstrip("\n") == teacher.rstrip("\n")
    step = failed.steps[1]
    assert step.action is not None
    assert reply == QWEN.build().format(step.thought, step.action, step.observation) + "\n"
    start, end = teacher.index(Sdpo.before), teacher.index(Sdpo.behind) + len(Sdpo.behind)
    assert teacher[:start] + teacher[end:] == student


def test_the_pictures_are_those_of_the_prompt() -> None:
    images = ImageStore()
    failed = failure(images)
    _, teacher = messages_of(failed, 1, [failed])
    seen = [image for message in teacher for image in message.images]
    assert seen == [failed.steps[1].observation.screenshot, failed.steps[2].observation.screenshot]
    assert [(image.width, image.height) for image in seen] == [(1920, 1080)] * 2
    assert re.findall(r"\(images/(sdpo-\w+\.png)\)", PAGE) == ["sdpo-before.png", "sdpo-after.png"]


def test_tokens_add_up() -> None:
    images = ImageStore()
    render, failed = renderer(images), failure(images)
    counted = []
    for pictures, messages in enumerate(messages_of(failed, 1, [failed]), 1):
        prompt = render.render(messages)
        assert [length for _, length in prompt.image_spans] == [2040] * pictures
        text = re.sub(r"<\|image_pad\|> x \d+", "", written(render, messages))
        counted.append((len(text), 2040 * pictures, len(text) // 4))
    (few, one, short), (many, two, long) = counted
    assert f"| student's prompt | 1 | {few:,} | {one:,} + {short:,} = {one + short:,} |" in PAGE
    assert f"| teacher's prompt | 2 | {many:,} | {two:,} + {long:,} = {two + long:,} |" in PAGE
    assert f"{one + short:,} + {REPLY} = {one + short + REPLY:,} |" in PAGE
    assert f"{two + long:,} + {REPLY} = {two + long + REPLY:,} |" in PAGE


def gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f}"


def test_memory_adds_up() -> None:
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": VOCABULARY,
            "hidden_size": HIDDEN,
            "intermediate_size": INNER,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "num_key_value_heads": KEY_VALUE_HEADS,
            "head_dim": HEAD,
        },
        vision_config={
            "depth": 27,
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_heads": 16,
            "out_hidden_size": HIDDEN,
            "num_position_embeddings": 2304,
            "deepstack_visual_indexes": [8, 16, 24],
        },
    )
    with torch.device("meta"):
        model = Qwen3VLForConditionalGeneration._from_config(config)
    weights = sum(parameter.numel() for parameter in model.parameters())
    language = model.model.language_model
    layers = sum(parameter.numel() for parameter in language.layers.parameters())
    last = sum(parameter.numel() for parameter in language.layers[-1].parameters())
    everything = sum(parameter.numel() for parameter in language.parameters())
    matrices = [parameter for parameter in language.layers[0].parameters() if parameter.ndim == 2]
    sides = sum(sum(matrix.shape) for matrix in matrices)
    adapters = LAYERS * RANK * sides
    tokens = 3398
    queries_and_keys, values = (HEADS + KEY_VALUE_HEADS) * HEAD, KEY_VALUE_HEADS * HEAD
    # Inputs of two norms, of the query, key and value matrices, of the output matrix and of the feed-forward part; queries and keys
    # before their norms, and what attention reads.
    kept = 5 * HIDDEN + queries_and_keys + (queries_and_keys + values) + 4 * INNER
    cache, activations = LAYERS * 2 * KEY_VALUE_HEADS * HEAD * 2, LAYERS * kept * 2
    parts = {
        f"{weights:,} x 2 bytes": 2 * weights,
        f"{adapters:,} x 4 bytes": 4 * adapters,
        f"{LAYERS} x {RANK} x {sides:,} = {adapters:,} weights x (4 + 4 + 8) bytes": 16 * adapters,
        f"{LAYERS} x 2 x {KEY_VALUE_HEADS} x {HEAD} x 2 = {cache:,} bytes x {tokens:,} x 16": cache * tokens * 16,
        f"{LAYERS} x {kept:,} numbers x 2 bytes x {tokens:,}": activations * tokens,
    }
    for arithmetic, count in parts.items():
        assert f"| {arithmetic} | {gigabytes(count)} |" in PAGE
    assert f"| sum | | {gigabytes(sum(parts.values()))} |" in PAGE
    assert f"{sides:,} is the sum" in PAGE
    assert len(matrices) == 7
    assert f"{weights:,} x 4 = {gigabytes(4 * weights)} GB" in PAGE
    assert f"{last:,} x (4 + 8) = {gigabytes(12 * last)} GB" in PAGE
    assert f"{everything:,} x (4 + 8) = {gigabytes(12 * everything)} GB" in PAGE
    assert f"{layers:,} are in the {LAYERS} layers" in PAGE
    assert f"2 x {layers:,} x {tokens:,} = {2 * layers * tokens / 1e12:.0f} x 10^12" in PAGE


def test_times_add_up() -> None:
    playing, teaching, learning = 960 * (3334 / 15557 + 64 / 129), 480 * (2 * 3398 + 5550) / 16461, 480 * 3398 / 3777
    update = playing + teaching + learning
    rows = {
        "960 x (3,334 / 15,557 + 64 / 129)": playing,
        "480 x (2 x 3,398 + 5,550) / 16,461": teaching,
        "480 x 3,398 / 3,777": learning,
    }
    for arithmetic, seconds in rows.items():
        assert f"| {arithmetic} | {seconds:.0f} |" in PAGE
    assert f"| an update on one card | | {update:,.0f} |" in PAGE
    assert f"| an update on two | {update:,.0f} / 2 | {update / 2:.0f} |" in PAGE
    assert f"100 x {update / 2:.0f} / 3,600 | {100 * update / 2 / 3600:.0f} |" in PAGE
    assert f"480 x 5,550 / 16,461 = {480 * 5550 / 16461:.0f} seconds" in PAGE
    assert (960 + 480 * 3) * 47 > 24 * 3600
    log = (ROOT / "dev/LOG.md").read_text()
    assert all(rate in log for rate in ("15,557", "tokens/s | 129", "16,461", "3,777 bfloat16"))


def test_tasks_are_counted() -> None:
    tasks = DeskEnvironment.tasks()
    applications = {name for task in tasks for name in task.setup["applications"]}
    assert f"`desk` has {len(tasks)} tasks in {WORDS[len(applications)]} applications" in PAGE


@pytest.mark.parametrize("line", commands(PAGE))
def test_commands_are_accepted(line: str) -> None:
    words = shlex.split(line)
    assert words[0] == "stepladder"
    if words[1] == "bench":
        script = (ROOT / f"bench/{words[2]}.py").read_text()
        assert all(f'"{word}"' in script for word in words[3:] if word.startswith("--"))
        return
    result = CliRunner().invoke(cli.app, [*words[1:], "--settings"])
    assert result.exit_code == 0, f"{result.output} {result.exception}"


def test_what_is_called_missing_is_missing() -> None:
    """When one of these is built, the page has to say so."""
    names = set(field_names(RlConfig()))
    assert not [name for name in names if re.search("quant", name)]
    assert "lora.rank" in names
    divided = replace(RlConfig(), algo=Sdpo(), ranks=2, shard=True)
    assert not replace(divided, asynchronous=replace(divided.asynchronous, on=True)).divisible


def test_feedback_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hints.py").write_text(blocks(ALGORITHM_PAGE, "python")[0])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "hints", raising=False)
    algorithm = Sdpo(feedback=("hints:address", "sibling"), first=True)
    algorithm.check()
    failed = failure(ImageStore())
    assert algorithm.told(failed, 0, [failed]) is None, "a desktop has no address"
    steps = [
        replace(step, observation=replace(step.observation, url=f"http://a/{min(i, 2)}")) for i, step in enumerate(failed.steps)
    ]
    pages = replace(failed, steps=tuple(steps))
    screenshot = failed.steps[2].observation.screenshot
    middle = ("Your action led from http://a/1 to http://a/2:\n", screenshot)
    assert algorithm.told(pages, 1, [pages]) == (algorithm.before, *middle, algorithm.behind)
    told = algorithm.told(pages, 2, [pages])
    assert told is not None
    assert told[1] == "Your action did not lead away from http://a/2."
