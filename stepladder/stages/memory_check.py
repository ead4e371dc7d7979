"""Whether a training fits into memory, said before it begins: from the checkpoint's configuration before anything is loaded, and
once more when the first update is drawn."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import AutoConfig, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from stepladder.config import ConfigError
from stepladder.models.lora import LoraSettings, add_adapters, has_adapters, is_adapter
from stepladder.train.memory import Estimate, Parameters, Setting, Shape, estimate, free_memory, size
from stepladder.train.micro_batch import MicroBatch
from stepladder.train.parallel import gather, ranks_here
from stepladder.train.precision import bfloat16_is_fast
from stepladder.train.trainer import Trainer

_logger = logging.getLogger(__name__)
#: A training that needs less than this share of what is free is not spoken of.
QUIET = 0.5
#: What is suggested: so many ranks to divide a model among, and adapters of such a rank.
_RANKS, _ADAPTERS = (2, 4, 8, 16), 16


@dataclass(frozen=True)
class Savings:
    """Settings of a stage that take less memory, as they are written (empty: the stage has none that does): `halved` halves a
    micro-batch."""

    halved: str = ""
    checkpointing: str = "activation_checkpointing=true"
    adapters: str = f"lora.rank={_ADAPTERS} with optimizer.kind=adamw"
    shard: str = "shard=true"


def check_checkpoint(
    directory: Path | None,
    *,
    device: torch.device,
    optimizer: str,
    trained: tuple[str, ...],
    lora: LoraSettings,
    setting: Setting,
    savings: Savings,
    copies: int = 0,
) -> None:
    """Before a checkpoint is loaded: whether its weights, `copies` models more of its size, gradients and optimizer states find
    room in memory that is free now. Raises ConfigError where they do not. A `directory` without a whole checkpoint is someone
    else's error, and None a small model."""
    if directory is None or not (directory / "config.json").exists():
        return
    config = AutoConfig.from_pretrained(directory)
    if not isinstance(config, Qwen3VLConfig):
        return
    parameters = parameters_of(config, optimizer, trained, lora)
    setting = replace(setting, copies=copies * (parameters.weights.divided + parameters.weights.whole))
    _refuse(_said(config, Plan(parameters, setting), free_memory(device, ranks_here(setting.world)), savings))


class FirstUpdate:
    """Looks at the first update that it is shown, where that is `wanted`; see `check_update`."""

    def __init__(self, wanted: bool, savings: Savings, show: bool = True) -> None:
        self.wanted, self.savings, self.show = wanted, savings, show

    def __call__(self, trainer: Trainer, micro_batches: Sequence[MicroBatch], copies: float = 0.0) -> None:
        if self.wanted:
            self.wanted = False
            check_update(trainer, micro_batches, self.savings, copies, self.show)


def check_update(
    trainer: Trainer, micro_batches: Sequence[MicroBatch], savings: Savings, copies: float = 0.0, show: bool = True
) -> None:
    """Before an update, the first of a training: whether it finds room, with `copies` bytes of other models that are loaded. All
    ranks must call it, and all learn it when it does not for one of them: rank 0 raises ConfigError, and the others end. With
    `show` it is said how much it takes where that is much of what is free."""
    config = trainer.model.config
    parameters = Parameters.of(trainer.named_parameters(), trainer.optimizer.kind)
    setting = Setting(
        autocast=trainer.autocast,
        checkpointing=trainer.activation_checkpointing,
        world=trainer.world,
        sharded=trainer.sharded is not None,
        fused=trainer.device.type != "cpu" or not trainer.autocast,
        copies=copies,
    )
    classes = len(trainer.head.token_ids) + 1 if trainer.head is not None else 0
    shapes = [replace(Shape.of(one.batch, one.text), classes=classes if one.visual is not None else 0) for one in micro_batches]
    plans = [Plan(parameters, setting, shape) for shape in shapes] or [Plan(parameters, setting)]
    largest = max(plans, key=lambda plan: plan.estimate(config).total)
    free = free_memory(trainer.device, ranks_here(trainer.world))
    if free is not None:
        free += _held(trainer) + copies
    found = largest.estimate(config)
    problems = [one for one in gather(_said(config, largest, free, savings)) if one]
    if problems and trainer.world > 1 and torch.distributed.get_rank():
        raise SystemExit(1)
    _refuse(problems[0] if problems else "")
    if free is not None:
        text = f"memory: an update needs about {found}; {size(free)} are free"
        _logger.info(text)
        if show and found.total > QUIET * free:
            Console(stderr=True).print(f"  {text}", markup=False, highlight=False)


def parameters_of(config: Qwen3VLConfig, optimizer: str, trained: tuple[str, ...], lora: LoraSettings) -> Parameters:
    """What a model of this shape takes in float32 where the parameters learn whose names begin with one of `trained`, or adapters
    in their place. No memory is taken for it."""
    with torch.device("meta"):
        model = Qwen3VLForConditionalGeneration(config).float()
    add_adapters(model, lora, 0)
    adapted = has_adapters(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(trained) and (not adapted or is_adapter(name)))
    return Parameters.of(model.named_parameters(), optimizer)


@dataclass(frozen=True)
class Plan:
    """What an estimate is of."""

    parameters: Parameters
    setting: Setting
    shape: Shape | None = None

    def estimate(self, config: Qwen3VLConfig) -> Estimate:
        """Of a model with this configuration."""
        return estimate(config, self.parameters, self.setting, self.shape)


def cheaper(config: Qwen3VLConfig, plan: Plan, free: float, savings: Savings) -> list[tuple[str, Estimate]]:
    """Settings that take less memory, each with the estimate for it, and the one for all of them together."""
    now, found, together = plan.estimate(config).total, list[tuple[str, Estimate]](), plan
    for name, change in _changes(config, plan, free, savings):
        cost = change(plan).estimate(config)
        if cost.total < 0.98 * now:
            found.append((name, cost))
            together = change(together)
    return [*found, ("all of these", together.estimate(config))] if len(found) > 1 else found


def _changes(config: Qwen3VLConfig, plan: Plan, free: float, savings: Savings) -> Iterator[tuple[str, Callable[[Plan], Plan]]]:
    """What the stage can still do to save memory."""
    setting, shape = plan.setting, plan.shape
    if shape is not None and not setting.checkpointing and savings.checkpointing:
        yield savings.checkpointing, lambda plan: replace(plan, setting=replace(plan.setting, checkpointing=True))
    if shape is not None and not setting.autocast and bfloat16_is_fast():
        yield "bf16=true", lambda plan: replace(plan, setting=replace(plan.setting, autocast=True))
    if shape is not None and savings.halved and (shape.rows > 1 or shape.patches > shape.picture):
        yield savings.halved, lambda plan: replace(plan, shape=None if plan.shape is None else plan.shape.halved())
    if not plan.parameters.rank and savings.adapters:
        yield savings.adapters, lambda plan: replace(plan, parameters=plan.parameters.adapted(config, _ADAPTERS))
    if setting.sharded or not savings.shard:
        return

    def divided(plan: Plan, ranks: int) -> Plan:
        return replace(plan, setting=replace(plan.setting, sharded=True, world=ranks))

    if setting.world > 1:
        yield savings.shard, lambda plan: divided(plan, setting.world)
        return
    ranks = next((n for n in _RANKS if divided(plan, n).estimate(config).total <= free), _RANKS[-1])
    yield f"{savings.shard} with ranks={ranks}, each with as much memory", lambda plan: divided(plan, ranks)


def _said(config: Qwen3VLConfig, plan: Plan, free: float | None, savings: Savings) -> str:
    """What is wrong; empty where it fits."""
    needed = plan.estimate(config)
    if free is None or needed.total <= free:
        return ""
    tried = [f"{name} (about {size(cost.total)})" for name, cost in cheaper(config, plan, free, savings)]
    where = "" if plan.setting.world == 1 else f" on each of {plan.setting.world} ranks"
    advice = f"; try {', '.join(tried)}" if tried else ""
    return (
        f"will not fit: needs about {needed}{where}, {size(free)} are free{advice}. It is an estimate; check_memory=false goes on "
        "all the same"
    )


def _refuse(problem: str) -> None:
    if problem:
        raise ConfigError(problem)


def _held(trainer: Trainer) -> float:
    """Bytes of weights, gradients and optimizer states that are in memory already."""
    own = [tensor for _, parameter in trainer.named_parameters() for tensor in (parameter, parameter.grad) if tensor is not None]
    states = [value for one in trainer.optimizers for state in one.state.values() for value in state.values()]
    return float(sum(_bytes(tensor) for tensor in (*own, *states) if isinstance(tensor, Tensor)))


def _bytes(tensor: Tensor) -> int:
    local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return local.numel() * local.element_size()
