"""How rewards become gradients: advantages, losses, and the algorithms put together from them, by name.

Nothing is imported until it is asked for; `package.module:Class` works without an entry here.
"""

from __future__ import annotations

from typing import Any

from stepladder.plugins import load

ALGORITHMS = {
    "reinforce": "stepladder.algos.reinforce:Reinforce",
    "rloo": "stepladder.algos.rloo:Rloo",
    "grpo": "stepladder.algos.grpo:Grpo",
    "dapo": "stepladder.algos.dapo:Dapo",
    "arpo": "stepladder.algos.arpo:Arpo",
    "dart": "stepladder.algos.dart:Dart",
    "gspo": "stepladder.algos.gspo:Gspo",
    "cispo": "stepladder.algos.cispo:Cispo",
    "ppo": "stepladder.algos.ppo:Ppo",
    "gigpo": "stepladder.algos.gigpo:Gigpo",
    "polychromic": "stepladder.algos.polychromic:Polychromic",
    "sdpo": "stepladder.algos.sdpo:Sdpo",
    "opd": "stepladder.algos.opd:Opd",
}


def algorithm_class(name: str) -> type[Any]:
    """The class behind a name of the table or a dotted path. Raises PluginError that names the nearest valid name."""
    found: type[Any] = load(name, ALGORITHMS, "algorithm")
    return found
