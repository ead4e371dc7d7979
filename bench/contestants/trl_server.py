"""TRL's GRPOTrainer or SFTTrainer behind standard input and output, for `bench/rl.py`. It runs in an interpreter where TRL is.

The first line says what to train: where the workload is (`directory`, `kind`), what is computed how (`bf16`, `frozen`, `vision`,
`pieces`; see `rl_updates.Setting`), and AdamW's `rate`, `betas` and `max_grad_norm`. Then every line asks for one update, and every
answer says how long it took from the question to changed weights: seconds by the `wall` clock, of `processor` time, and of
processor time without the preparation of tensors (`compute`); and the loss and the norm of the gradient before clipping.

The trainers are TRL's own, with its own collation, tokenization and loop. Three things are set from outside: GRPOTrainer is handed
the replies of the workload where it would sample (so generation costs it nothing), clocks are read, and nothing is logged or saved.
It is checked that the token ids that reach the model are those of the workload.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
import trl  # type: ignore[import-not-found]
from datasets import Dataset, Image, List  # type: ignore[import-not-found]
from transformers import Qwen3VLForConditionalGeneration, TrainerCallback

from stepladder.models.checkpoint import load_checkpoint
from stepladder.models.processor import ImageTextProcessor

Question = dict[str, Any]
Answer = Callable[[dict[str, Any]], None]


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries may print

    def answer(what: dict[str, Any]) -> None:
        print(json.dumps(what), file=answers, flush=True)

    torch.set_num_threads(1)
    order = json.loads(sys.stdin.readline())
    works = json.loads((Path(order["directory"]) / "work.json").read_text())[order["kind"]]
    with tempfile.TemporaryDirectory(prefix="stepladder-bench-") as output:
        trainer = (grpo if order["kind"] == "grpo" else sft)(order, works, output)
        trainer.add_callback(Clock(trainer, answer))
        with contextlib.suppress(EOFError):
            trainer.train()


def model_of(order: dict[str, Any]) -> tuple[Qwen3VLForConditionalGeneration, ImageTextProcessor]:
    """The checkpoint, with transformers' own vision tower or the quick one, and its trainable parameters."""
    checkpoint = Path(order["directory"]) / "checkpoint"
    model, processor = load_checkpoint(checkpoint)
    if order["vision"] == "transformers":
        model = Qwen3VLForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="sdpa")
    if order["frozen"]:
        model.model.visual.requires_grad_(False)
    return model, processor


def settings(order: dict[str, Any], output: str, batch: int, updates: int) -> dict[str, Any]:
    """What both trainers are told: AdamW with the same numbers, one process on the CPU, no recomputation, nothing written."""
    return {
        "output_dir": output,
        "use_cpu": True,
        "bf16": order["bf16"],
        "gradient_checkpointing": False,
        "per_device_train_batch_size": batch // order["pieces"],
        "gradient_accumulation_steps": order["pieces"],
        "max_steps": updates,
        "learning_rate": order["rate"],
        "lr_scheduler_type": "constant",
        "adam_beta1": order["betas"][0],
        "adam_beta2": order["betas"][1],
        "weight_decay": 0.0,
        "max_grad_norm": order["max_grad_norm"],
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def grpo(order: dict[str, Any], works: list[list[Question]], output: str) -> trl.GRPOTrainer:
    members, groups = len(works[0][0]["replies"]), len(works[0])
    model, processor = model_of(order)
    questions = [question for work in works for question in work]
    handed_out = iter(works)
    rewards: list[float] = []

    def reward(**unused: Any) -> list[float]:
        return rewards

    def sampled(prompt_ids: list[list[int]], *unused: Any, **unused_too: Any) -> tuple[list[list[int]], None]:
        work = next(handed_out)
        assert prompt_ids == [question["prompt"] for question in work for _ in range(members)], "other prompts than ours"
        rewards[:] = [one for question in work for one in question["rewards"]]
        return [reply for question in work for reply in question["replies"]], None

    trainer = trl.GRPOTrainer(
        model=model,
        reward_funcs=reward,
        args=trl.GRPOConfig(
            **settings(order, output, groups * members, len(works)),
            num_generations=members,
            loss_type="grpo",
            beta=0.0,
            shuffle_dataset=False,
            max_completion_length=max(len(reply) for question in questions for reply in question["replies"]),
        ),
        train_dataset=dataset([{"images": [q["image"]], "prompt": conversation(q)} for q in questions]),
        processing_class=processor,
    )
    trainer._generate_single_turn = sampled
    return trainer


def sft(order: dict[str, Any], works: list[list[Question]], output: str) -> trl.SFTTrainer:
    model, processor = model_of(order)
    questions = [question for work in works for question in work]
    rows = [
        {
            "images": [question["image"]],
            "prompt": processor.apply_chat_template(conversation(question), add_generation_prompt=True, tokenize=False),
            "completion": question["texts"][0] + processor.tokenizer.eos_token,
        }
        for question in questions
    ]
    trainer = trl.SFTTrainer(
        model=model,
        args=trl.SFTConfig(
            **settings(order, output, len(works[0]), len(works)),
            max_length=None,
            completion_only_loss=True,
            train_sampling_strategy="sequential",
        ),
        train_dataset=dataset(rows),
        processing_class=processor,
    )
    collate, expected = trainer.data_collator, iter(questions)

    def checked(examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = collate(examples)
        for ids, mask, labels in zip(batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True):
            question = next(expected)
            assert ids[mask.bool()].tolist() == question["prompt"] + question["replies"][0], "other tokens than ours"
            assert labels[labels != -100].tolist() == question["replies"][0], "another loss than ours"
        return batch

    trainer.data_collator = checked
    return trainer


def conversation(question: Question) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question["text"]}]}]


def dataset(rows: list[dict[str, Any]]) -> Dataset:
    """Pictures are files, decoded whenever a row is read."""
    return Dataset.from_list(rows).cast_column("images", List(Image()))


class Clock(TrainerCallback):
    """Waits for a question before every update and answers when the update is done."""

    def __init__(self, trainer: Any, answer: Answer) -> None:
        self.trainer, self.answer = trainer, answer
        self.prepared = self.loss = self.norm = 0.0
        step, prepare, clip = trainer.training_step, trainer._prepare_inputs, trainer._clip_grad_norm

        def training_step(*arguments: Any, **named: Any) -> torch.Tensor:
            loss: torch.Tensor = step(*arguments, **named)
            self.loss += float(loss)
            return loss

        def prepare_inputs(*arguments: Any, **named: Any) -> Any:
            begin = time.process_time()
            inputs = prepare(*arguments, **named)
            self.prepared += time.process_time() - begin
            return inputs

        def clip_grad_norm(*arguments: Any, **named: Any) -> Any:
            norm = clip(*arguments, **named)
            self.norm = float(norm)
            return norm

        trainer.training_step, trainer._prepare_inputs, trainer._clip_grad_norm = training_step, prepare_inputs, clip_grad_norm

    def on_train_begin(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        trained = sum(parameter.numel() for parameter in self.trainer.model.parameters() if parameter.requires_grad)
        versions = {"trl": trl.__version__, "transformers": transformers.__version__, "torch": torch.__version__}
        self.answer({"versions": versions, "trained": trained, "threads": torch.get_num_threads()})
        self._wait()

    def on_step_begin(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        self.computing = time.process_time()

    def on_step_end(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        wall, now = time.perf_counter() - self.asked, time.process_time()
        spent = {"wall": wall, "processor": now - self.begin, "compute": now - self.computing - self.prepared}
        self.answer({**spent, "loss": self.loss, "norm": self.norm})
        self._wait()

    def _wait(self) -> None:
        if not sys.stdin.readline():
            raise EOFError
        self.prepared = self.loss = self.norm = 0.0
        self.asked, self.begin = time.perf_counter(), time.process_time()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
