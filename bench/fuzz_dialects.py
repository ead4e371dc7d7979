"""Coverage-guided fuzzing (atheris) of the parsers of all dialects: what is read must be actions or a ParseError, quickly.

    pip install atheris
    python bench/fuzz_dialects.py [--seconds 600] [--workers 2] [name ...]

Each dialect is fuzzed by a process of its own, from what the dialect itself says about every kind of action. Whatever else is
raised, and whatever takes the processor longer than `SLOW` seconds, is a finding; its text stays in `--output`. Printed is how
many texts were tried. The exit code is 1 when something was found.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import re
import subprocess
import sys
import time
from pathlib import Path

SLOW = 1.0


def fuzz(name: str, seconds: int, corpus: Path) -> None:
    """Runs until the time is over, and then ends this process."""
    import atheris

    with atheris.instrument_imports(include=["stepladder.agents", "stepladder.keys", "stepladder.pyautogui"]):
        from stepladder.agents import agent_class
        from stepladder.agents.conformance import ACTIONS, SCREEN
        from stepladder.agents.replies import read_reply
        from stepladder.interfaces import ParseError
        from stepladder.types import Action
    agent = agent_class(name)()
    corpus.mkdir(parents=True, exist_ok=True)
    for number, action in enumerate(ACTIONS):
        try:
            (corpus / f"said-{number}").write_text(agent.format("Think first.\nAction: Do it.", action, SCREEN))
        except ValueError:
            continue

    def one(data: bytes) -> None:
        text = data.decode("utf-8", "surrogatepass" if data[:1] == b"\x00" else "replace")
        began = time.process_time()
        try:
            thought, actions = read_reply(agent, text, SCREEN)
        except ParseError as error:
            if not 0 <= error.position <= len(text):
                raise IndexError(f"position {error.position} of {len(text)}") from error
        else:
            assert isinstance(thought, str)
            assert actions
            assert all(isinstance(action, Action) for action in actions)
        took = time.process_time() - began
        assert took < SLOW, f"{took:.1f} s"

    def safely(data: bytes) -> None:
        try:
            one(data)
        except UnicodeDecodeError:
            return

    options = [f"-max_total_time={seconds}", "-max_len=4096", "-verbosity=0", "-print_final_stats=1", "-timeout=25"]
    atheris.Setup([sys.argv[0], str(corpus), f"-artifact_prefix={corpus.parent}/{name}-", *options], safely)
    atheris.Fuzz()


def run(name: str, seconds: int, output: Path) -> dict[str, object]:
    command = [sys.executable, __file__, "--one", name, "--seconds", str(seconds), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 300)
    found = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
    return {
        "dialect": name,
        "texts": int(found[1]) if found else None,
        "seconds": seconds,
        "found": None if done.returncode == 0 else done.stderr[-2000:],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("runs/fuzz"))
    parser.add_argument("--one")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    if options.one:
        fuzz(options.one, options.seconds, options.output / options.one)
        return
    from stepladder.agents import AGENTS

    findings = 0
    with concurrent.futures.ThreadPoolExecutor(options.workers) as pool:
        for result in pool.map(lambda name: run(name, options.seconds, options.output), options.names or list(AGENTS)):
            print(json.dumps(result), flush=True)
            findings += result["found"] is not None
    sys.exit(findings > 0)


if __name__ == "__main__":
    main()
