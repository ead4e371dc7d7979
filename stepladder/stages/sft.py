"""Supervised training, rungs 5, 8 and 9: copying, perception, behaviour cloning, in phases that end when they have learned enough.

    stepladder sft --set demonstrations=runs/demo/collect --set output=runs/demo/sft

Each phase has a goal (a score on held-out data) and a ceiling (steps, seconds). When the goal is reached, or the ceiling comes
near, the learning rate decays and the phase ends. A run that was killed goes on from its last saved state and, on the CPU, ends
with the very weights of a run that was not.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from torch import Tensor

from stepladder.config import ConfigError
from stepladder.models.checkpoint import save_checkpoint
from stepladder.models.lora import LoraSettings
from stepladder.models.small import SmallModel
from stepladder.progress import Progress
from stepladder.run import Run
from stepladder.stages import training_report
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.memory_check import FirstUpdate, Savings, check_checkpoint
from stepladder.stages.sft_setup import HEAD_FILE, Learner, build_learner, build_mixture
from stepladder.train.devices import AUTOMATIC, check_device, device_of
from stepladder.train.memory import Setting
from stepladder.train.mixtures import Mixture, Share
from stepladder.train.one_token import OneTokenRollout
from stepladder.train.optimizer import OptimizerConfig, Schedule
from stepladder.train.parallel import agreed, run_ranks
from stepladder.train.precision import bfloat16_is_fast, gathered_type
from stepladder.train.shard import gathered, shard
from stepladder.train.states import States, remove_state
from stepladder.train.trainer import LossWeights, Trainer

PhaseName = Literal["copying", "perception", "cloning_frozen", "cloning"]
TRAINED_PARTS: dict[PhaseName, tuple[str, ...]] = {
    "copying": ("model.language_model",),
    "perception": ("model.visual", "heads", "model.language_model.embed_tokens"),
    "cloning_frozen": ("model.language_model",),
    "cloning": ("model", "heads"),
}


@dataclass(frozen=True)
class PhaseConfig:
    """One phase. `steps` is the ceiling in updates (0 leaves the phase out) and `max_seconds` the ceiling in running time (None:
    no such ceiling; with one, where the phase ends depends on the machine's speed). `goal` ends it earlier: the held-out score to
    be reached, measured every `score_every` updates. `batch` counts screenshots (or rows of text) an update, over all ranks; each
    rank computes its part in `accumulate` pieces, which changes memory and no result. `practice` of the screenshots are synthetic
    ones, full of words to be found, `visits` are pages whose regions are known without their being part of a demonstration (none
    where there are none), the rest pages of the demonstrations; `copies` rows of text to be copied come on top. The learning rate
    rises to `lr` over the first `warmup` updates and falls over the last share `decay` of all, to `floor` of it. The losses are
    weighted by `ce`, `pointing`, `word`, `letters` and `centre`. `one_token` makes a policy gradient of the imitation loss
    (`train.one_token`; None: cross entropy), for a phase that begins with a model which half knows its lesson."""

    steps: int
    batch: int
    lr: float
    accumulate: int = 1
    goal: float = 1.0
    score_every: int = 50
    warmup: int = 30
    decay: float = 0.4
    floor: float = 0.05
    max_seconds: float | None = None
    ce: float = 1.0
    pointing: float = 0.0
    word: float = 0.0
    letters: float = 0.0
    centre: float = 0.0
    practice: int = 0
    visits: int = 0
    copies: int = 0
    one_token: OneTokenRollout | None = None


@dataclass(frozen=True)
class SftConfig:
    """`demonstrations` is a directory that `stepladder collect` wrote; `checkpoint` a Hugging Face directory to start from (None:
    a small model with random weights and a tokenizer of its own). `questions` perception items accompany every demonstrated step
    and `practice_questions` every one of the `screens` synthetic screens, a share `grounding` of them "where is it", the rest
    reading and widget states; `kinds` gives further kinds of questions (`data.perception_question.Kind`) their weights beside
    these three, whose sum is 1; tasks are drawn by `weights` (1 where not named); `ignore_above` pixels at the top of a page are
    an instruction area whose words are not listed; a share `thought_dropout` of the demonstrated steps is learned without its
    thought, as `bare` is asked and answers; `optimizer` is that of all phases, with the rate of each; with `lora` adapters learn in
    the place of the weights (`models.lora`); `shard` divides the language model among the ranks (`train.shard`);
    `activation_checkpointing` takes less memory and more time (`train.trainer`); `check_memory` refuses what will not fit into
    memory before it begins (`stages.memory_check`); `device` is that of `train.devices`; `track` names trackers of the measurements
    (`stepladder.tracking`)."""

    demonstrations: Path = Path("runs/collect")
    output: Path = Path("runs/sft")
    checkpoint: Path | None = None
    seed: int = 0
    ranks: int = 2
    device: str = AUTOMATIC
    bf16: bool = field(default_factory=bfloat16_is_fast)
    save_every: int = 100
    questions: int = 4
    practice_questions: int = 6
    grounding: float = 0.85
    kinds: Mapping[str, float] = field(default_factory=dict)
    screens: int = 6000
    weights: Mapping[str, float] = field(default_factory=dict)
    ignore_above: float = 50.0
    thought_dropout: float = 0.0
    track: tuple[str, ...] = ()
    agent: AgentOptions = field(default_factory=AgentOptions)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    lora: LoraSettings = field(default_factory=LoraSettings)
    activation_checkpointing: bool = False
    shard: bool = False
    check_memory: bool = True
    model: SmallModel = field(default_factory=SmallModel)
    copying: PhaseConfig = field(default_factory=lambda: PhaseConfig(steps=180, batch=96, lr=3e-3, goal=0.98, score_every=45))
    perception: PhaseConfig = field(
        default_factory=lambda: PhaseConfig(
            steps=450, batch=32, visits=20, lr=3e-3, goal=0.95, score_every=90, ce=0.0, word=1.0, centre=4.0
        )
    )
    cloning_frozen: PhaseConfig = field(
        default_factory=lambda: PhaseConfig(
            steps=220, batch=34, visits=18, copies=12, lr=2e-3, decay=0.0, score_every=110, pointing=0.3
        )
    )
    cloning: PhaseConfig = field(
        default_factory=lambda: PhaseConfig(
            steps=620,
            batch=38,
            visits=14,
            copies=8,
            lr=2e-3,
            warmup=10,
            decay=0.9,
            goal=0.97,
            score_every=124,
            pointing=0.3,
            word=0.3,
            centre=1.2,
        )
    )

    @property
    def bare(self) -> AgentOptions:
        """The agent of steps whose thought is dropped. Where nothing is asked of the one that thinks, the prompt asks for the
        action alone (`agent.level=action`); where a thought is asked for, nothing is, and the call alone is answered, as by a
        model that has not learned thoughts yet."""
        if self.agent.level == "action":
            return self.agent
        if self.agent.level == "trained":
            return replace(self.agent, level="action")
        return replace(self.agent, level="trained", thought="none")


@dataclass
class PhaseResult:
    """What a phase came to: the last scores, the updates and seconds it took, and why it ended."""

    scores: dict[str, float]
    steps: int
    seconds: float
    ended: Literal["goal", "ceiling"]


def main(config: SftConfig, show: bool = True) -> Path:
    """Train, and return the exported checkpoint directory. Raises ConfigError when there is nothing to learn from."""
    if not config.demonstrations.exists():
        raise ConfigError(f"demonstrations: {config.demonstrations} does not exist; make it with `stepladder collect`")
    _check_thoughts(config)
    config.lora.check()
    _check_shard(config)
    _check_activations(config)
    check_device(config.device, config.ranks)
    for name in TRAINED_PARTS:
        phase: PhaseConfig = getattr(config, name)
        if phase.one_token is not None:
            phase.one_token.check(f"{name}.one_token")
    final = config.output / "checkpoint"
    if final.exists():
        _open_run(config).close()  # refuses other settings than those of the checkpoint
    else:
        _check_memory(config)
        run_ranks(_train, config.ranks, config, show)
    training_report.finish(config.output)
    return final


def _check_thoughts(config: SftConfig) -> None:
    if not 0 <= config.thought_dropout <= 1:
        raise ConfigError(f"thought_dropout is {config.thought_dropout}; it is a share between 0 and 1")
    if config.thought_dropout and config.agent.thought != "full":
        raise ConfigError(f"thought_dropout: agent.thought={config.agent.thought} writes no thoughts; say agent.thought=full")
    if config.thought_dropout and config.agent.level == "action":
        raise ConfigError(
            "agent.level is 'action', which has no thought that thought_dropout could leave out; leave agent.level at 'trained', "
            "ask for thoughts by agent.level=thought, or leave thought_dropout at 0"
        )


def _check_shard(config: SftConfig) -> None:
    if not config.shard:
        return
    if config.ranks < 2:
        raise ConfigError(f"shard divides the language model among ranks, and ranks is {config.ranks}")
    for name in ("perception", "cloning"):
        if getattr(config, name).steps:
            raise ConfigError(
                f"shard: {name} compares pictures with all word embeddings, of which a rank has a part; say {name}.steps=0 and "
                "train in copying and cloning_frozen"
            )


def _check_activations(config: SftConfig) -> None:
    pointing = [f"{name}.pointing=0" for name in TRAINED_PARTS if getattr(config, name).steps and getattr(config, name).pointing]
    if config.activation_checkpointing and pointing:
        raise ConfigError(
            f"activation_checkpointing keeps no attention, which the pointing loss learns from; say {', '.join(pointing)}"
        )


def _check_memory(config: SftConfig) -> None:
    if config.check_memory:
        phases = [name for name in TRAINED_PARTS if getattr(config, name).steps]
        check_checkpoint(
            config.checkpoint,
            device=device_of(config.device, config.ranks),
            optimizer=config.optimizer.kind,
            trained=tuple(part for name in phases for part in TRAINED_PARTS[name]),
            lora=config.lora,
            setting=Setting(world=config.ranks, sharded=config.shard),
            savings=Savings(shard="" if {"perception", "cloning"} & {*phases} else "shard=true"),
        )


def _savings(name: PhaseName, phase: PhaseConfig) -> Savings:
    """What makes a phase need less memory."""
    divisible = name in ("copying", "cloning_frozen")
    return Savings(
        halved=f"{name}.accumulate={2 * phase.accumulate}",
        checkpointing="activation_checkpointing=true" + (f" with {name}.pointing=0" if phase.pointing else ""),
        adapters=Savings.adapters if name != "perception" else "",
        shard="shard=true" if divisible else "",
    )


def _train(rank: int, world: int, config: SftConfig, show: bool) -> None:
    run = _open_run(config) if rank == 0 else None
    learner = build_learner(config, Share(rank, world))
    if rank == 0 and config.checkpoint is None and not (config.output / "untrained").exists():
        _export(learner, config, "untrained")
    done = learner.load(config.output / "weights.pt")
    if config.shard:
        learner.sharded = shard(learner.model, device_of(config.device), gathered_type(config.bf16))
    for name in TRAINED_PARTS:
        phase: PhaseConfig = getattr(config, name)
        if phase.steps == 0 or name in done:
            continue
        trainer = _trainer(name, phase, learner, config)
        mixture = build_mixture(name, phase, learner, config)
        with nullcontext() if run is None else run.phase(name) as record:
            result = _run_phase(name, phase, trainer, mixture, config, run, show)
            done = [*(phase for phase in done if phase != name), name]
            learner.save(config.output / "weights.pt", done)
            if record is not None:
                record.result |= {"scores": result.scores, "steps": result.steps, "ended": result.ended}
                remove_state(config.output / f"{name}.state")
    state = gathered(learner.model.state_dict()) if config.shard else None
    if run is not None:
        _export(learner, config, "checkpoint", state)
        run.close()


def _open_run(config: SftConfig) -> Run:
    return Run(
        config.output,
        config,
        seeds={"training": config.seed},
        may_change=("output", "track", "activation_checkpointing", "check_memory", "device"),
        trackers=config.track,
        defaults=SftConfig(),
    )


def _export(learner: Learner, config: SftConfig, name: str, state: Mapping[str, Tensor] | None = None) -> None:
    """Write a Hugging Face directory, whole or not at all."""
    partial = config.output / f"{name}.partial"
    save_checkpoint(partial, learner.model, learner.renderer.processor, state)
    config.agent.save(partial)
    learner.head.save(partial / HEAD_FILE)
    partial.replace(config.output / name)


def _trainer(name: PhaseName, phase: PhaseConfig, learner: Learner, config: SftConfig) -> Trainer:
    return Trainer(
        model=learner.model,
        head=learner.head,
        schedule=Schedule(phase.steps, phase.warmup, phase.decay, phase.floor),
        optimizer=replace(config.optimizer, lr=phase.lr),
        weights=LossWeights(ce=phase.ce, pointing=phase.pointing, word=phase.word, letters=phase.letters, centre=phase.centre),
        trainable=TRAINED_PARTS[name],
        autocast=config.bf16,
        one_token=phase.one_token,
        seed=config.seed,
        sharded=learner.sharded,
        activation_checkpointing=config.activation_checkpointing,
    )


def _run_phase(
    name: PhaseName, phase: PhaseConfig, trainer: Trainer, mixture: Mixture, config: SftConfig, run: Run | None, show: bool
) -> PhaseResult:
    states = States(trainer, config.output / f"{name}.state")
    elapsed, ended = 0.0, "ceiling"
    scores: dict[str, float] = {}
    sums: dict[str, float] = {}
    state = states.read()
    if state is not None:
        elapsed, scores, ended, sums = state["elapsed"], state["scores"], state["ended"], state["sums"]
    started = time.monotonic() - elapsed
    check_memory = FirstUpdate(config.check_memory, _savings(name, phase), show and run is not None)
    with Progress(name, trainer.schedule.steps, show=show and run is not None) as progress:
        while trainer.step_count < trainer.schedule.last_step:
            drawn = mixture.micro_batches(trainer.step_count)
            check_memory(trainer, drawn)
            for key, value in trainer.step(drawn).items():
                sums[key] = sums.get(key, 0.0) + value
            step = trainer.step_count
            if step % phase.score_every == 0 or step == trainer.schedule.last_step:
                scores = mixture.score(trainer)
                if scores[mixture.goal] >= phase.goal and trainer.schedule.finish_early(step):
                    ended = "goal"
                if run is not None:
                    count = step % phase.score_every or phase.score_every
                    means = {key: value / count for key, value in sums.items()}
                    run.log(step, name, **means, **scores, seconds=round(time.monotonic() - started, 2))
                    progress.update(step, trainer.schedule.last_step, {mixture.goal: scores[mixture.goal], **means})
                sums = {}
            elif run is not None:
                progress.update(step, trainer.schedule.last_step)
            if phase.max_seconds is not None and agreed(time.monotonic() - started) > (1 - phase.decay) * phase.max_seconds:
                trainer.schedule.finish_early(step)
            if step % config.save_every == 0:
                elapsed = time.monotonic() - started
                states.write({"elapsed": elapsed, "scores": scores, "ended": ended, "sums": sums})
    states.finish()
    return PhaseResult(scores, trainer.step_count, time.monotonic() - started, "goal" if ended == "goal" else "ceiling")
