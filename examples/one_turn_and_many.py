"""Why many turns are harder than one: the same policy gradient on corridors of doors, with nothing but the end rewarded.

    python examples/one_turn_and_many.py

At every turn one of four doors is right, and only who takes the right one each time is rewarded, at the end. The policy is a table,
one row of four logits a turn, so that there is nothing to be seen and nothing to be generalised: what is left is credit.
"""

from __future__ import annotations

import argparse
import statistics

import torch

from stepladder.algos.ops import grpo_advantages

DOORS = 4


def episodes_needed(turns: int, every_turn: bool, given: argparse.Namespace, seed: int) -> tuple[int, float]:
    """Episodes until the table opens all doors with probability 0.9 (or `given.most`), and the share of groups that taught nothing.
    With `every_turn` each turn has a reward and an advantage of its own."""
    draw = torch.Generator().manual_seed(seed)
    right = torch.randint(DOORS, (turns,), generator=draw)
    logits = torch.zeros(turns, DOORS, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=given.rate)
    one_group = torch.zeros(given.group_size, dtype=torch.long)
    played, groups, silent = 0, 0, 0
    while played < given.most:
        probabilities = logits.softmax(-1)
        if float(probabilities[torch.arange(turns), right].prod().detach()) >= 0.9:
            break
        # int64[group, turns]
        taken = torch.multinomial(probabilities.detach(), given.group_size, replacement=True, generator=draw).T
        opened = (taken == right).double()
        rewards = opened if every_turn else opened.prod(-1, keepdim=True)
        advantages = torch.stack([grpo_advantages(column, one_group) for column in rewards.T], -1)
        played, groups = played + given.group_size, groups + 1
        if not advantages.any():
            silent += 1
            continue
        chosen = probabilities.log().expand(given.group_size, -1, -1).gather(-1, taken[..., None]).squeeze(-1)
        optimizer.zero_grad()
        (-(advantages * chosen).mean()).backward()
        optimizer.step()
    return played, silent / max(1, groups)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--turns", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6])
    arguments.add_argument("--group-size", type=int, default=16)
    arguments.add_argument("--rate", type=float, default=0.1, help="learning rate of Adam")
    arguments.add_argument("--most", type=int, default=100_000, help="episodes after which it gives up")
    arguments.add_argument("--seeds", type=int, default=5)
    given = arguments.parse_args()
    print(f"episodes until 0.9, the median of {given.seeds} seeds, and the share of groups without a signal")
    print("turns  right by chance  rewarded at the end   at every turn")
    for turns in given.turns:
        row = f"{turns:>5}  {DOORS**-turns:15.5f}"
        for every_turn in (False, True):
            found = [episodes_needed(turns, every_turn, given, seed) for seed in range(given.seeds)]
            count = statistics.median(count for count, _ in found)
            silent = statistics.mean(share for _, share in found)
            row += f"  {'over ' if count >= given.most else ''}{count:.0f} ({silent:.2f})".rjust(21)
        print(row, flush=True)


if __name__ == "__main__":
    main()
