"""BrowserGym's MiniWoB++ environment behind standard input and output, for `bench/browser.py`.

It runs in an interpreter of its own, because `browsergym-miniwob` pins an old Playwright. The first line says where the pages are
and which task to play; then every line is `{"reset": seed}` or `{"click": [x, y]}`, and every answer `{"done": bool}`.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    import os

    answers, sys.stdout = sys.stdout, sys.stderr  # libraries may print
    opening = json.loads(sys.stdin.readline())
    os.environ["MINIWOB_URL"] = opening["pages"]

    import browsergym.miniwob  # noqa: F401
    import gymnasium
    from browsergym.core.action.highlevel import HighLevelActionSet

    actions = HighLevelActionSet(subsets=["coord"], strict=False, multiaction=False)
    environment = gymnasium.make(
        f"browsergym/miniwob.{opening['task']}", action_mapping=actions.to_python_code, disable_env_checker=True
    )

    def answer(done: bool) -> None:
        print(json.dumps({"done": done}), file=answers, flush=True)

    answer(False)
    for line in sys.stdin:
        order = json.loads(line)
        done = False
        if "reset" in order:
            environment.reset(seed=order["reset"])
        else:
            x, y = order["click"]
            _, _, terminated, truncated, _ = environment.step(f"mouse_click({x}, {y})")
            done = bool(terminated or truncated)
        answer(done)
    environment.close()


if __name__ == "__main__":
    main()
