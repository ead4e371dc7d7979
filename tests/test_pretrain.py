"""Pre-training end to end on generated corpora: four phases, exact resumption after SIGKILL, needles, averages of weights."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from small_models import model_for, renderer
from torch import Tensor
from trainers import first_trainer

from stepladder.config import ConfigError, override
from stepladder.corpora.conditioning import Conditioning
from stepladder.corpora.lookup import lookup, question
from stepladder.images import ImageStore
from stepladder.models.checkpoint import load_checkpoint
from stepladder.models.small import SmallModel
from stepladder.run import read_metrics, read_phases
from stepladder.seeds import HELDOUT
from stepladder.stages import memory_check, pretrain_setup
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.pretrain import main
from stepladder.stages.pretrain_config import AnnealingPhase, LengtheningPhase, PretrainConfig, PretrainPhase
from stepladder.stages.pretrain_setup import build_documents, build_pretrain_learner, open_corpus
from stepladder.train.averaging import Averaging, WeightAverage, WeightedSum
from stepladder.train.mixtures import Share
from stepladder.train.needle import NeedleTest, needle_sample, needle_scores
from stepladder.train.scoring import Scorer
from stepladder.types import IntArray

WEIGHTS = {"interface": 1.0, "lookup": 1.0, "captions": 3.0}
TINY = PretrainConfig(
    ranks=1,
    save_every=2,
    score_every=3,
    held_out=3,
    vocabulary=700,
    tokenizer_documents=30,
    corpora={},
    options={"captions": {"screens": 8}},
    model=SmallModel(hidden=32, layers=1, heads=2, key_value_heads=1, vision_hidden=16, vision_layers=1, vision_heads=2),
    needle=NeedleTest(lengths=(80, 120), depths=(0.0, 1.0), count=2),
    core=PretrainPhase(steps=4, tokens=500, context=96, warmup=0, weights=WEIGHTS, contrastive=0.3, accumulate=2),
    continued=PretrainPhase(
        steps=3, tokens=500, context=96, weights=WEIGHTS, end_weights={"captions": 1.0}, mixing="bandit", mixing_warmup=1
    ),
    lengthening=LengtheningPhase(steps=4, tokens=500, context=192, stages=(128, 192), weights=WEIGHTS),
    annealing=AnnealingPhase(
        steps=4, tokens=500, context=192, warmup=0, decay=1.0, floor=0.0, weights=WEIGHTS, averaging=Averaging("last", 2, 1)
    ),
)
PHASES = ("core", "continued", "lengthening", "annealing")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return main(replace(TINY, output=tmp_path_factory.mktemp("pretrain") / "undisturbed"), show=False)


def weights(checkpoint: Path) -> dict[str, Tensor]:
    return load_file(checkpoint / "model.safetensors")


def test_every_phase_leaves_a_checkpoint_and_what_it_found(undisturbed: Path) -> None:
    run = undisturbed.parent
    phases = read_phases(run)
    assert tuple(phases) == PHASES
    for name in PHASES:
        assert (run / name / "config.json").exists()
        assert set(phases[name]["result"]["perplexity_after"]) == set(WEIGHTS)
    assert AgentOptions.of_checkpoint(undisturbed) == AgentOptions()
    found = phases["lengthening"]["result"]
    for when in ("before", "remapped", "after"):
        assert [(cell["length"], cell["depth"], cell["n"]) for cell in found[f"needle_{when}"]] == [
            *((length, depth, 2) for length in (80, 120) for depth in (0.0, 1.0)),
            *((length, None, 4) for length in (80, 120)),
        ]
    assert {record["phase"] for record in read_metrics(run)} == set(PHASES)
    assert any("contrastive" in record for record in read_metrics(run, "core"))


def test_the_lengthened_checkpoint_has_the_remapped_positions(undisturbed: Path) -> None:
    core, last = (load_checkpoint(undisturbed.parent / name)[0].config.text_config for name in ("core", "checkpoint"))
    assert core.rope_parameters["rope_type"] == "default"
    assert last.rope_parameters["rope_type"] == "yarn"
    assert last.rope_parameters["factor"] == 2.0
    assert last.rope_parameters["original_max_position_embeddings"] == 96
    assert last.rope_parameters["mrope_section"] == core.rope_parameters["mrope_section"]


def test_annealing_leaves_the_mean_of_its_last_weights(undisturbed: Path) -> None:
    found = read_phases(undisturbed.parent)["annealing"]["result"]
    assert found["averaged"] == 2
    assert found["perplexity_last_weights"] != found["perplexity_after"]


@pytest.mark.learning
@pytest.mark.parametrize("moment", ["core.state", "continued.state", "lengthening.state", "annealing.state"])
def test_a_killed_training_ends_with_the_same_weights(undisturbed: Path, tmp_path: Path, moment: str) -> None:
    output = tmp_path / "killed"
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from dataclasses import replace; from test_pretrain import TINY, main\n"
        "main(replace(TINY, output=Path(sys.argv[2])), show=False)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(Path(__file__).parent), str(output)], start_new_session=True)
    deadline = time.monotonic() + 300
    while not (output / moment).exists():
        assert process.poll() is None, "training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (output / "checkpoint").exists()
    resumed = main(replace(TINY, output=output), show=False)
    expected, found = weights(undisturbed), weights(resumed)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert value.equal(found[name]), name
    ours, theirs = (read_phases(path.parent)["annealing"]["result"] for path in (resumed, undisturbed))
    assert ours["perplexity_after"] == theirs["perplexity_after"]


@pytest.mark.learning
def test_two_ranks_and_pieces_learn_from_the_same_documents(tmp_path: Path) -> None:
    found = []
    for name, ranks, accumulate in (("one", 1, 1), ("two", 2, 2)):
        core = replace(TINY.core, accumulate=accumulate)
        config = override(replace(TINY, core=core, ranks=ranks, bf16=False, output=tmp_path / name), ["continued.steps=0"])
        config = override(config, ["lengthening.steps=0", "annealing.steps=0"])
        found.append(read_metrics(main(config, show=False).parent))
    assert [record["tokens"] for record in found[0]] == [record["tokens"] for record in found[1]]
    for one, two in zip(*found, strict=True):
        assert one.keys() == two.keys()
        for name in {"ce", "contrastive", "perplexity/lookup"} & one.keys():
            assert one[name] == pytest.approx(two[name], rel=1e-3), name
    assert any("contrastive" in record for record in found[0])


@pytest.mark.learning
def test_held_out_perplexity_falls_and_further_training_goes_on_from_there(tmp_path: Path) -> None:
    only = {"interface": 1.0, "arithmetic": 1.0}
    core = PretrainPhase(steps=60, tokens=2000, context=128, warmup=5, decay=0.3, lr=5e-3, weights=only)
    sizes = replace(TINY.model, hidden=96, layers=2)
    config = replace(TINY, core=core, model=sizes, output=tmp_path / "one", options={}, held_out=16, score_every=60)
    config = override(config, NONE_ELSE)
    first = main(config, show=False)
    found = read_phases(first.parent)["core"]["result"]
    for source in only:
        before, after = found["perplexity_before"][source], found["perplexity_after"][source]
        assert after["high"] < 0.25 * before["low"], source
    again = replace(config, checkpoint=first, output=tmp_path / "two", core=replace(core, steps=4, lr=5e-4))
    later = read_phases(main(again, show=False).parent)["core"]["result"]
    for source in only:
        assert later["perplexity_before"][source]["value"] == pytest.approx(found["perplexity_after"][source]["value"], rel=0.02)


NONE_ELSE = ["continued.steps=0", "lengthening.steps=0", "annealing.steps=0"]


def test_markers_become_tokens_of_a_checkpoint_that_lacks_them(undisturbed: Path, tmp_path: Path) -> None:
    core = replace(TINY.core, conditioning=Conditioning(reward_tokens=True), contrastive=0.0)
    config = override(replace(TINY, core=core, checkpoint=undisturbed, output=tmp_path), NONE_ELSE)
    learner = build_pretrain_learner(config, Share())
    tokens = [learner.renderer.single_token(text) for text in ("<|good|>", "<|bad|>")]
    assert None not in tokens
    embeddings = learner.model.get_input_embeddings().weight
    assert len(embeddings) >= learner.renderer.vocabulary
    assert embeddings[tokens].isfinite().all()
    assert learner.rope.context == 96  # what its configuration says of the time before it was lengthened


def test_the_documents_of_an_update_follow_from_seed_and_step(undisturbed: Path, tmp_path: Path) -> None:
    config = replace(TINY, checkpoint=undisturbed, output=tmp_path)
    learner = build_pretrain_learner(config, Share())
    one, two = (build_documents("core", config.core, learner, config) for _ in range(2))
    one.micro_batches(0)
    first, again = one.micro_batches(2), two.micro_batches(2)
    assert all(a.batch.tokens.equal(b.batch.tokens) for a, b in zip(first, again, strict=True))
    assert not first[0].batch.tokens.equal(one.micro_batches(3)[0].batch.tokens)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("core.weights={}", "core.weights names no corpus"),
        ('core.weights={"intreface": 1}', "did you mean 'interface'"),
        ("core.tokens=1", "core.tokens is 1, which is 0 documents"),
        ("core.decay=2", "core.decay is 2.0; it is a share"),
        ("lengthening.stages=192,128", "contexts must grow"),
        ("options.lookup.sentenecs=3", "did you mean 'sentences'"),
        ("corpora.lookup=no/folder", "corpora.lookup: there is no file or folder no/folder"),
        ("options.nothing.x=3", "'nothing' is in corpora or options"),
        ("needle.depths=2", "a depth is a share"),
        ("vocabulary=10", "vocabulary is 10"),
        ("checkpoint=nowhere", "checkpoint: nowhere is no directory"),
        ("demonstrations=nowhere", "demonstrations: nowhere is no directory"),
    ],
)
def test_what_cannot_be_is_named(change: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as error:
        main(override(replace(TINY, output=tmp_path), [change]), show=False)
    assert type(error.value).__name__ in ("ConfigError", "PluginError")


def test_a_folder_of_texts_is_a_corpus(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number}.txt").write_text(f"Note {number}: the door of room {number * 7} stands open.")
    weights = {"notes": 1.0, "interface": 1.0}
    config = replace(TINY, output=tmp_path / "run", corpora={"notes": str(folder)}, options={})
    off = replace(config.lengthening, steps=0, weights=weights)
    phases = {name: replace(getattr(config, name), steps=0) for name in ("continued", "annealing")}
    core = replace(config.core, weights=weights, contrastive=0.0)
    final = main(replace(config, core=core, lengthening=off, **phases), show=False)  # type: ignore[arg-type]
    assert read_phases(final.parent)["core"]["done"]
    corpus = open_corpus("notes", config, ImageStore(tmp_path / "images"))
    learned = {corpus.train(0, number).text for number in range(300)}
    kept = {document.text for document in corpus.held_out(3)}
    assert len(learned) > 30
    assert kept
    assert not learned & kept


# --------------------------------------------------------------------------------------------------------------------- needles

RENDERER = renderer()


@settings(max_examples=25, deadline=None)
@given(st.integers(130, 400), st.sampled_from([0.0, 0.3, 1.0]), st.integers(0, 99), st.sampled_from(["word", "number"]))
def test_a_needle_is_told_once_at_its_depth_and_asked_at_the_end(length: int, depth: float, number: int, answer: str) -> None:
    sample = needle_sample(RENDERER, NeedleTest(answer=answer, others=1), length, depth, number)  # type: ignore[arg-type]
    text = RENDERER.decode(sample.tokens)
    body, _, asked = text.rpartition("\n")
    answered = RENDERER.decode(sample.tokens[sample.trained])
    assert asked.endswith(f"{answered}.")
    fact = asked
    assert body.count(fact) == 1
    assert body.count("The code of") == 2
    place = body.index(fact) / (len(body) - len(fact))
    assert abs(place - depth) < 0.35
    assert length - 40 <= len(sample) <= length + 2


def test_a_needle_without_room_is_refused() -> None:
    with pytest.raises(ConfigError, match="have no room in 20 tokens"):
        needle_sample(RENDERER, NeedleTest(), 20, 0.5, 0)


class Oracle(Scorer):
    """Answers as it is told to: rightly where the text is of this length."""

    length = 0

    def likeliest(self, samples: object, count: int | None) -> list[IntArray]:
        answers = []
        for sample in samples:  # type: ignore[attr-defined]
            right = sample.tokens[sample.trained]
            answers.append((right if len(sample) <= self.length else right[::-1] + 1)[:, None])
        return answers


def test_needle_scores_count_whole_answers_by_length_and_depth() -> None:
    oracle = Oracle(model_for(RENDERER), RENDERER)
    oracle.length = 165
    test = NeedleTest(lengths=(160, 240), depths=(0.0, 0.5), count=3, others=1)
    found = {(score.length, score.depth): score for score in needle_scores(oracle, RENDERER, test)}
    assert [found[160, depth].rate for depth in (0.0, 0.5, None)] == [1.0, 1.0, 1.0]
    assert [found[240, depth].rate for depth in (0.0, 0.5, None)] == [0.0, 0.0, 0.0]
    assert (found[160, None].successes, found[160, None].n) == (6, 6)
    assert 0 < found[160, 0.0].low < 1 == found[160, 0.0].high


def test_an_untrained_model_finds_no_needle() -> None:
    scores = needle_scores(Scorer(model_for(RENDERER), RENDERER), RENDERER, NeedleTest(lengths=(160,), depths=(0.5,), count=6))
    assert [score.successes for score in scores] == [0, 0]


def test_no_fact_of_the_needle_test_is_told_in_training() -> None:
    facts = {line for number in range(1500) for line in lookup(0, number).text.split("\n")[1].split(". ")}
    told = {fact.removesuffix(".") for fact in facts}
    asked = set()
    for number in range(40):
        sample = needle_sample(RENDERER, NeedleTest(), 250, 0.5, number)
        asked.add(RENDERER.decode(sample.tokens).rpartition("\n")[2].removesuffix("."))
    assert len(told) > 500
    assert not asked & told


def test_a_lookup_document_answers_what_it_asks() -> None:
    for number in (0, 1, 2, HELDOUT):
        body, _, asked = lookup(3, number, sentences=5, facts=3).text.partition("\n")
        facts = [fact.removesuffix(".") for fact in asked.split(". ")]
        assert all(f"{fact}." in body for fact in facts)
        assert len(facts) == body.count(question("X").split("X")[0])
    with pytest.raises(ConfigError, match="sentences=0"):
        lookup(0, 0, sentences=0)
    with pytest.raises(ConfigError, match="answer='letter'"):
        lookup(0, 0, answer="letter")


# -------------------------------------------------------------------------------------------------------------------- averages


def state(value: float) -> dict[str, Tensor]:
    return {"a": torch.full((2,), value), "count": torch.tensor(3)}


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 30))
def test_the_mean_of_the_last_snapshots(count: int, every: int, steps: int) -> None:
    average = WeightAverage(Averaging("last", count, every), steps)
    for step in range(1, steps + 1):
        average.update(step, state(float(step)))
    taken = list(range(steps, 0, -every))[:count]
    assert average.weights is not None
    assert torch.allclose(average.weights["a"], torch.full((2,), sum(taken) / len(taken)))
    assert int(average.weights["count"]) == 3


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=12), st.floats(0, 0.99))
def test_the_exponential_mean(values: list[float], decay: float) -> None:
    average = WeightAverage(Averaging("ema", decay=decay), len(values))
    expected = values[0]
    for step, value in enumerate(values, start=1):
        average.update(step, state(value))
        expected = decay * expected + (1 - decay) * value if step > 1 else value
    assert average.weights is not None
    assert float(average.weights["a"][0]) == pytest.approx(expected, abs=1e-4)


def test_an_average_goes_on_from_its_state() -> None:
    whole, half = (WeightAverage(Averaging("ema", decay=0.5), 4) for _ in range(2))
    for step in (1, 2):
        whole.update(step, state(float(step)))
        half.update(step, state(float(step)))
    resumed = WeightAverage(Averaging("ema", decay=0.5), 4)
    resumed.load_state(half.state())
    for step in (3, 4):
        whole.update(step, state(float(step)))
        resumed.update(step, state(float(step)))
    assert whole.weights is not None
    assert resumed.weights is not None
    assert resumed.weights["a"].equal(whole.weights["a"])


def test_no_average_is_kept_where_none_is_wanted_and_whole_numbers_must_agree() -> None:
    average = WeightAverage(Averaging(), 2)
    average.update(2, state(1.0))
    assert average.weights is None
    mean = WeightedSum()
    mean.add(state(1.0), 0.5)
    with pytest.raises(ValueError, match="count holds other whole numbers"):
        mean.add({"a": torch.ones(2), "count": torch.tensor(4)}, 0.5)
    with pytest.raises(ConfigError, match="an average of 0 snapshots"):
        Averaging("last", count=0)


def test_activation_checkpointing_reaches_the_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wanted in (False, True):
        config = replace(TINY, output=tmp_path / str(wanted), activation_checkpointing=wanted)
        made = first_trainer(monkeypatch, lambda config=config: main(config, show=False))
        assert made.activation_checkpointing == wanted


def test_what_will_not_fit_is_refused_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(TINY, output=tmp_path / "pretrain")
    monkeypatch.setattr(memory_check, "free_memory", lambda device, ranks: 1e5)
    with pytest.raises(ConfigError, match=r"will not fit: needs about .* are free; try "):
        main(config, show=False)
    assert not (config.output / "checkpoint").exists()


def test_all_that_learns_is_on_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(TINY, output=tmp_path / "pretrain", core=replace(TINY.core, contrastive=0.5))
    monkeypatch.setattr(pretrain_setup, "device_of", lambda device: torch.device("meta"))
    made = first_trainer(monkeypatch, lambda: main(config, show=False))
    assert {parameter.device.type for _, parameter in made.named_parameters()} == {"meta"}


#: Gradients are not clipped: the norm of parts is summed in another order, and AdamW makes much of last bits.
SHARDED = [
    *("core.contrastive=0", "core.accumulate=1", "continued.steps=0", "annealing.averaging.kind=none", "needle.count=3"),
    *("bf16=false", "ranks=2", "optimizer.kind=adamw", "optimizer.max_grad_norm=1000"),
]


@pytest.mark.learning
def test_a_model_divided_among_ranks_learns_what_a_whole_one_learns(tmp_path: Path) -> None:
    one, two = (
        main(override(replace(TINY, shard=shard, output=tmp_path / str(shard)), SHARDED), show=False) for shard in (False, True)
    )
    expected, found = weights(one), weights(two)
    assert expected.keys() == found.keys()
    assert all(torch.allclose(value, found[name], atol=1e-6) for name, value in expected.items())
    for phase in ("core", "lengthening", "annealing"):
        ours, theirs = (read_phases(path.parent)[phase]["result"] for path in (one, two))
        for name, value in ours["perplexity_after"].items():
            assert theirs["perplexity_after"][name]["value"] == pytest.approx(value["value"], rel=1e-4)
        assert ours.get("needle_after") == theirs.get("needle_after")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["ranks=1"], "shard divides the language model among ranks, and ranks is 1"),
        (["core.contrastive=0.5"], r"shard: core.contrastive=0.5 needs whole weights; say core.contrastive=0"),
        (["core.mixing=bandit"], r"shard: core.mixing=bandit needs whole weights; say core.mixing=schedule"),
        (["annealing.averaging.kind=ema"], r"shard: annealing.averaging takes whole weights; say annealing.averaging.kind=none"),
    ],
)
def test_what_cannot_be_divided_is_told(changes: list[str], message: str, tmp_path: Path) -> None:
    config = override(replace(TINY, shard=True, output=tmp_path), [*SHARDED, *changes])
    with pytest.raises(ConfigError, match=message):
        config.check()
