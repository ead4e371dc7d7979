"""Speed and memory of the engine and the trainer on one GPU, at the sizes of Qwen3-VL-2B and -8B with random weights.

    python bench/gpu.py [--shapes 2b,8b] [--parts generate,sft,rl] [--prompts 16,64] [--budget 40] [--peak 989] [--out gpu.jsonl]

Prompts are late turns of episodes with 4 screenshots of 1920 x 1080, each a picture of its own: about 9,500 tokens, 8,160 of them
visual. Replies have 64 tokens. Nothing is downloaded, no display is needed, and rich and typer are not imported. Every row is
printed, and appended to --out as a line of JSON, as soon as it is measured. What does not fit into memory is a row too. A part
begins no further row when its `--budget` of seconds is spent, and a row no further round when its share is; it says of how many
rounds it is.

- pictures: seconds of processor time to prepare a screenshot, on one thread, which the engine's own thread does. In what follows
  pictures are prepared already; copying them to the device is part of it.
- generate: the engine's decoder in bfloat16, driven as the engine's thread does, beside transformers' generate with its own vision
  tower and attention, the weights being the same. All prompts come at once; "first" is the time until all have their first token,
  "alone" the time to the first token of a single prompt, "alike" how many greedy first tokens are those of transformers.
- sft: optimizer steps of the trainer on --samples prompts with a reply to be imitated.
- rl: optimizer steps of GRPO with recorded log-probabilities: a group whose members stand at prompts of their own, then one whose
  members share a prompt, which is computed once; and the forward pass that gives log-probabilities.

Training rows say what learns, in which types, with which optimizer, whether activations are computed again ("recompute", by
transformers' own switch; the trainer has none) and how many samples a pass has. Model FLOP utilisation is against --peak (TFLOP/s;
989 is the dense bfloat16 peak of H100 and H200 SXM); what is counted stands in `contestants/gpu_model.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import platform
import statistics
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from contestants.gpu_episodes import Episodes
from contestants.gpu_generation import Answer, engine_answers, transformers_answers
from contestants.gpu_model import SHAPES, Learns, Shape, Work, build, operations, work_of_prompt, work_of_sample

from stepladder.algos.grpo import Grpo
from stepladder.models.forward import banned_ids
from stepladder.train.batch import collate
from stepladder.train.micro_batch import MicroBatch
from stepladder.train.optimizer import OptimizerConfig, Schedule
from stepladder.train.sample import Sample
from stepladder.train.trainer import LossWeights, Trainer
from stepladder.types import Prompt

PARTS = ("generate", "sft", "rl")
GRPO = Grpo()
Row = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """How is trained. `last` layers of the language model learn (None: everything does, the vision tower too); `masters` are the
    weights in float32 with bfloat16 autocast, else everything is bfloat16."""

    masters: bool
    optimizer: Literal["muon", "adamw"]
    recompute: bool
    last: int | None = None
    together: int = 1

    def learns(self, shape: Shape) -> Learns:
        return Learns(shape.layers, True) if self.last is None else Learns(self.last, False)

    def trainable(self, shape: Shape) -> tuple[str, ...]:
        if self.last is None:
            return ("model", "lm_head")
        layers = (f"model.language_model.layers.{number}." for number in range(shape.layers - self.last, shape.layers))
        return (*layers, "model.language_model.norm", "lm_head")

    def __str__(self) -> str:
        what = "all" if self.last is None else f"last {self.last} layers, norm and output"
        types = "float32 weights, bfloat16 autocast" if self.masters else "bfloat16 weights"
        return f"{what}; {types}; {self.optimizer}; {'recompute' if self.recompute else 'no recompute'}; {self.together} a pass"


SETTINGS = {
    "small": (Setting(True, "muon", False), Setting(False, "adamw", True, last=2, together=2)),
    "2b": (
        Setting(True, "muon", True),
        Setting(True, "muon", False),
        Setting(True, "adamw", True),
        Setting(False, "muon", False),
        Setting(True, "muon", True, together=4),
    ),
    "8b": (
        Setting(False, "muon", True),
        Setting(True, "muon", True),
        Setting(True, "muon", True, last=12),
        Setting(False, "muon", True, together=2),
    ),
}


class Bench:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.device = torch.device(arguments.device)
        self.cuda = self.device.type == "cuda"
        self.common = {
            "device": torch.cuda.get_device_name(self.device) if self.cuda else platform.machine(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
        self.rows: list[Row] = []
        self.failed = False

    def run(self) -> list[Row]:
        for name in self.arguments.shapes:
            self.name, self.shape = name, SHAPES[name]
            self.episodes = Episodes(self.shape)
            self.renderer = self.episodes.renderer
            seconds = self.renderer.seconds
            self.report("pictures", f"{self.shape.screen[0]} x {self.shape.screen[1]}", picture_seconds=spread(seconds))
            for part in self.arguments.parts:
                rows = {"generate": 2 * len(self.arguments.prompts), "sft": len(SETTINGS[name]), "rl": 2}[part]
                self.ends, self.share = time.monotonic() + self.arguments.budget, self.arguments.budget / rows
                getattr(self, part)()
        return self.rows

    # ------------------------------------------------------------------ rows

    def report(self, part: str, what: str, **figures: Any) -> None:
        row: Row = {"part": part, "shape": self.name, "what": what, **figures}
        if self.cuda:
            row["peak_gib"] = round(torch.cuda.max_memory_allocated(self.device) / 2**30, 2)
        self.rows.append(row | self.common)
        shown = ", ".join(f"{key} {_shown(value)}" for key, value in row.items() if key not in ("part", "shape", "what"))
        print(f"{part:9s}{self.name:6s}{what}: {shown}", flush=True)
        if self.arguments.out is not None:
            with self.arguments.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row | self.common) + "\n")

    @contextlib.contextmanager
    def measured(self, part: str, what: str) -> Iterator[None]:
        """Start the counts of memory and of the row's time anew. What went wrong is the row: memory that does not suffice, which is
        a finding, or anything else, which makes the script fail in the end."""
        self.begin_row()
        begin = time.monotonic()
        try:
            yield
        except torch.OutOfMemoryError as error:
            told = str(error).partition(". GPU")[0]
            self.report(part, what, error=f"out of memory after {time.monotonic() - begin:.0f} s: {told}")
        except Exception as error:  # the other rows are worth having
            traceback.print_exc()
            self.failed = True
            self.report(part, what, error=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
        finally:
            self.begin_row()

    def begin_row(self) -> None:
        """Free what is unused, and begin to count memory and the row's share of the time."""
        gc.collect()
        self.row_ends = time.monotonic() + self.share
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def clock(self) -> float:
        if self.cuda:
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    @property
    def time_left(self) -> bool:
        """Of the part."""
        return time.monotonic() < self.ends

    @property
    def row_time_left(self) -> bool:
        return time.monotonic() < self.row_ends

    def utilisation(self, count: float, seconds: Sequence[float]) -> list[float]:
        return spread([count / each / (self.arguments.peak * 1e12) for each in seconds], 6)

    # ------------------------------------------------------------------ generation

    def generate(self) -> None:
        model = build(self.shape, self.renderer, torch.bfloat16, self.device)
        for count in self.arguments.prompts:
            prompts = [self.episodes.prompt(number) for number in range(count)]
            shared = prompts[0].image_spans[0][0]  # the instructions stand before the first picture
            firsts: dict[str, list[int]] = {}
            totals: dict[str, list[float]] = {}
            for name, answers in (("engine", engine_answers), ("transformers", transformers_answers)):
                if not self.time_left:
                    return
                what = f"{name}, {count} prompts"
                with self.measured("generate", what):
                    firsts[name], figures, totals[name] = self._rounds(
                        answers(model, self.renderer, prompts, self.clock), prompts, shared if name == "engine" else 0
                    )
                    if name == "transformers" and "engine" in totals:
                        figures["alike"] = sum(a == b for a, b in zip(firsts["engine"], firsts[name], strict=True))
                        figures["engine_is_quicker"] = statistics.median(totals[name]) / statistics.median(totals["engine"])
                    self.report("generate", what, **figures)

    def _rounds(self, answer: Answer, prompts: Sequence[Prompt], known: int) -> tuple[list[int], Row, list[float]]:
        """(the first tokens, the figures, the seconds of each round). One prompt alone comes first, twice: the first time warms up.
        `known` tokens that all prompts begin with are read once."""
        answer(1, 1)
        alone = answer(1, 1)[1]
        first: list[float] = []
        rest: list[float] = []
        while not first or (len(first) < self.arguments.rounds and self.row_time_left):
            tokens, one, other = answer(len(prompts), self.shape.reply)
            first.append(one)
            rest.append(other)
        work = [work_of_prompt(self.renderer, prompt, known if number else 0) for number, prompt in enumerate(prompts)]
        read, written = sum(map(length_of, prompts)), len(prompts) * (self.shape.reply - 1)
        figures = {
            "rounds": len(first),
            "prompts": len(prompts),
            "prompt_tokens": read / len(prompts),
            "visual_tokens": sum(count for _, count in prompts[0].image_spans),
            "reply_tokens": self.shape.reply,
            "alone_seconds": alone,
            "first_seconds": spread(first),
            "prefill_tokens_per_second": spread([read / each for each in first], 0),
            "prefill_utilisation": self.utilisation(sum(operations(self.shape, each) for each in work), first),
            "decode_tokens_per_second": spread([written / each for each in rest], 0),
            "token_seconds": spread([each / (self.shape.reply - 1) for each in rest], 4),
        }
        return tokens, figures, [one + other for one, other in zip(first, rest, strict=True)]

    # ------------------------------------------------------------------ training

    def sft(self) -> None:
        samples = [self.episodes.imitation(number) for number in range(self.arguments.samples)]
        for setting in SETTINGS[self.name]:
            if not self.time_left:
                return
            with self.measured("sft", str(setting)):
                self._steps("sft", str(setting), self._trainer(setting), setting, samples)

    def rl(self) -> None:
        """With the first setting that fits."""
        for setting in SETTINGS[self.name]:
            if not self.time_left:
                return
            with self.measured("rl", str(setting)):
                self._groups(setting)
                return

    def _groups(self, setting: Setting) -> None:
        trainer, members = self._trainer(setting), self.arguments.samples
        for together in (False, True):
            unscored = self.episodes.credited(self.episodes.group(members, together), GRPO)
            logprobs = self._scored(trainer, setting, unscored, "one prompt" if together else "own prompts")
            samples = self.episodes.credited(self.episodes.group(members, together, logprobs), GRPO)
            what = f"{members} replies to {'one prompt' if together else 'prompts of their own'}; {setting}"
            self._steps("rl", what, trainer, setting, samples)
            if not self.time_left:
                return

    def _trainer(self, setting: Setting) -> Trainer:
        model = build(self.shape, self.renderer, torch.float32 if setting.masters else torch.bfloat16, self.device)
        if setting.recompute:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            model.train()
        return Trainer(
            model=model,
            head=None,
            schedule=Schedule(10**6, warmup=1, decay=0.0),
            optimizer=OptimizerConfig(setting.optimizer, lr=1e-5, adam_lr=1e-5),
            weights=LossWeights(**(GRPO.loss_weights(0))),
            trainable=setting.trainable(self.shape),
            autocast=setting.masters,
            objective=GRPO.objective(),
            banned=banned_ids(model, self.renderer),
        )

    def _micro_batches(self, samples: Sequence[Sample], together: int) -> list[MicroBatch]:
        pieces = [samples[start : start + together] for start in range(0, len(samples), together)]
        return [MicroBatch(collate(piece, self.renderer)) for piece in pieces]

    def _steps(self, part: str, what: str, trainer: Trainer, setting: Setting, samples: Sequence[Sample]) -> None:
        micro_batches = self._micro_batches(samples, setting.together)
        work = sum((work_of_sample(self.renderer, sample) for sample in samples), Work(0, 0, 0, ()))
        self.begin_row()
        begin = self.clock()
        figures = trainer.step(micro_batches)
        first = self.clock() - begin
        seconds: list[float] = []
        optimizer: list[float] = []
        with self._optimizer_timed(trainer, optimizer):
            while not seconds or (len(seconds) < self.arguments.rounds and self.row_time_left):
                begin = self.clock()
                figures = trainer.step(micro_batches)
                seconds.append(self.clock() - begin)
        self.report(
            part,
            what,
            rounds=len(seconds),
            samples=len(samples),
            tokens=work.tokens,
            patches=sum(work.pictures),
            predicted=work.predicted,
            learning=sum(parameter.numel() for _, parameter in trainer.named_parameters() if parameter.requires_grad),
            first_step_seconds=first,
            step_seconds=spread(seconds),
            optimizer_seconds=spread(optimizer),
            tokens_per_second=spread([work.tokens / each for each in seconds], 0),
            replies_per_second=spread([work.predicted / self.shape.reply / each for each in seconds]),
            utilisation=self.utilisation(operations(self.shape, work, setting.learns(self.shape)), seconds),
            gradient_norm=figures["grad_norm"],
        )

    @contextlib.contextmanager
    def _optimizer_timed(self, trainer: Trainer, seconds: list[float]) -> Iterator[None]:
        """Append what the optimizers take to `seconds`, step by step."""
        starts: list[float] = []

        def before(*_: object) -> None:
            starts.append(self.clock())

        def after(*_: object) -> None:
            seconds.append(self.clock() - starts[-1])

        hooks = [optimizer.register_step_pre_hook(before) for optimizer in trainer.optimizers]
        hooks += [optimizer.register_step_post_hook(after) for optimizer in trainer.optimizers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            several = len(trainer.optimizers)
            seconds[:] = [sum(seconds[start : start + several]) for start in range(0, len(seconds), several)]

    def _scored(self, trainer: Trainer, setting: Setting, samples: Sequence[Sample], what: str) -> list[np.ndarray]:
        """Log-probabilities float32[reply] of every member's reply under the present weights; the forward pass has a row."""
        micro_batches = self._micro_batches(samples, setting.together)
        trainer.logprobs(micro_batches[0].batch)
        begin = self.clock()
        found = [trainer.logprobs(each.batch).float().cpu() for each in micro_batches]
        seconds = self.clock() - begin
        work = sum((work_of_sample(self.renderer, sample) for sample in samples), Work(0, 0, 0, ()))
        self.report(
            "rl",
            f"log-probabilities, {what}; {setting}",
            tokens_per_second=work.tokens / seconds,
            utilisation=self.utilisation(operations(self.shape, work), [seconds]),
        )
        replies: dict[int, np.ndarray] = {}
        members = 0
        for each, logprobs in zip(micro_batches, found, strict=True):
            for place, reply in enumerate(logprobs.split(each.batch.reply_lengths.tolist())):
                # a sample holds one reply, or all replies to its prompt in their order
                number = place if len(samples) == 1 else members + each.batch.order[place]
                replies[number] = reply.numpy()
            members += len(each.batch.order)
        return [replies[number] for number in sorted(replies)]


def length_of(prompt: Prompt) -> int:
    assert prompt.tokens is not None
    return len(prompt.tokens)


def spread(values: Sequence[float], digits: int = 3) -> list[float]:
    """[median, lowest, highest]."""
    return [round(each, digits) for each in (statistics.median(values), min(values), max(values))]


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"{value[0]:g}" + (f" ({value[1]:g} to {value[2]:g})" if value[1] != value[2] else "")
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def names(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Reads a comma-separated list of known names. Raises ArgumentTypeError for another name."""

    def read(text: str) -> list[str]:
        given = text.split(",")
        unknown = [name for name in given if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known are {', '.join(known)}")
        return given

    return read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", type=names(list(SHAPES)), default=["2b", "8b"], help="2b, 8b, small")
    parser.add_argument("--parts", type=names(PARTS), default=list(PARTS), help="generate, sft, rl")
    parser.add_argument("--prompts", type=lambda text: [int(each) for each in text.split(",")], default=[16, 64])
    parser.add_argument("--samples", type=int, default=4, help="samples a training step, and members of a group")
    parser.add_argument("--rounds", type=int, default=3, help="measurements a row, at most")
    parser.add_argument("--budget", type=float, default=40, help="seconds a part")
    parser.add_argument("--peak", type=float, default=989, help="TFLOP/s of the device")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, help="file to which every row is appended as a line of JSON")
    arguments = parser.parse_args()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("PyTorch finds no GPU; try --shapes small --device cpu")
    bench = Bench(arguments)
    bench.run()
    if bench.failed:
        raise SystemExit("some rows could not be measured; what went wrong stands above")


if __name__ == "__main__":
    main()
