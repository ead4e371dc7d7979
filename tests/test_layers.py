"""The shape of the package: imports go down, PyTorch stays where it belongs, files stay short, importing does nothing."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "stepladder"

#: Lower may not import higher, and those on one line may not import each other.
LAYERS = (
    ("types", "words", "errors", "keys", "seeds", "pressure", "addresses", "values", "appending"),
    ("interfaces", "codec", "config", "images", "locks", "stats", "plugins", "progress", "drawing", "domains"),
    ("tracking",),
    ("store", "run", "results", "pyautogui", "alarms", "state_keys", "verifiers"),
    ("agents", "envs", "models", "data", "report", "rewards", "algos", "benchmarks", "judges", "planning"),
    ("corpora",),
    ("tasks", "policies", "rollout", "train", "interchange", "recorder"),
    ("audit", "compare"),
    ("thoughts",),
    ("viewer",),
    ("distributed",),
    ("stages",),
    ("doctor", "show", "cli_options", "cli_parts"),
    (
        "cli_ladder",
        "cli_learning",
        "cli_pretraining",
        "cli_preferences",
        "cli_reasoning",
        "cli_benchmarks",
        "cli_convert",
        "cli_audit",
        "cli_compare",
        "cli_plan",
        "cli_simulate",
        "cli_viewer",
        "cli_judge",
        "cli_osworld",
        "cli_refinement",
    ),
    ("cli",),
    ("__main__", "__init__"),
)
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}
#: Parts, and single files, that work without PyTorch.
NO_TORCH = {
    *(
        "types",
        "words",
        "errors",
        "keys",
        "seeds",
        "addresses",
        "appending",
        "values",
        "pyautogui",
        "interfaces",
        "codec",
        "config",
        "images",
        "locks",
        "stats",
        "domains",
        "plugins",
        "progress",
        "pressure",
        "benchmarks",
        "interchange",
        "judges",
        "planning",
        "recorder",
        "cli_benchmarks",
        "cli_plan",
        "cli_simulate",
        "cli_judge",
        "cli_osworld",
        "cli_compare",
        "cli_viewer",
        "viewer",
        "cli_convert",
        "cli_options",
        "cli_parts",
    ),
    *(
        "drawing",
        "state_keys",
        "verifiers",
        "store",
        "audit",
        "alarms",
        "cli_audit",
        "run",
        "results",
        "agents",
        "envs",
        "data",
        "corpora",
        "report",
        "rewards",
        "rollout",
        "tasks",
        "doctor",
        "show",
        "compare",
        "thoughts",
        "cli",
        "__init__",
    ),
    *(
        "policies/random.py",
        "policies/scripted.py",
        "stages/audit.py",
        "stages/collect.py",
        "stages/corpus.py",
        "stages/episode_player.py",
        "stages/evaluate.py",
        "stages/judge.py",
        "stages/judge_page.py",
        "stages/lines.py",
        "stages/propose.py",
        "stages/reason.py",
        "stages/rollout_process.py",
        "stages/reason_config.py",
        "stages/reason_failures.py",
        "stages/reason_reflection.py",
        "stages/reason_work.py",
        "stages/source_run.py",
        "stages/judging.py",
        "stages/policies.py",
        "stages/training_curves.py",
        "stages/training_domains.py",
        "stages/training_report.py",
    ),
    "tracking/trackers.py",  # each of the others needs the package of its tracker
    *("policies/answers.py", "policies/blocks.py", "policies/budget.py", "policies/http.py", "policies/pictures.py"),
    *("policies/anthropic.py", "policies/openai_chat.py", "policies/openai_responses.py", "policies/server_sent_events.py"),
    *("policies/chat_request.py", "policies/chat_server.py"),
    *("policies/served_protocol.py", "policies/served_sglang.py", "policies/served_vllm.py", "policies/server_control.py"),
}
HEAVY = ("torch", "transformers", "tokenizers", "safetensors")
#: Code is loaded by dotted path here and nowhere else.
DYNAMIC = {
    "envs/browser/catalogue.py",
    "envs/browser/pages.py",
    "envs/desktop/guest/server.py",
    "envs/desktop/provided.py",
    "plugins.py",
}
LONGEST_FILE = 450
LONGEST_FUNCTION = 70


SOURCES = {str(path.relative_to(PACKAGE)): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}
LENGTHS = {name: text.count("\n") for name, text in SOURCES.items()}


@functools.cache
def trees() -> dict[str, ast.Module]:
    """Every file of the package as it is parsed, for the one of several test processes that needs them."""
    return {name: ast.parse(text) for name, text in SOURCES.items()}


def part_of(name: str) -> str:
    """The part of the package that a file belongs to: its folder, or its own name."""
    return Path(name).parts[0].removesuffix(".py")


def dotted_name(name: str) -> str:
    return ".".join(("stepladder", *Path(name).with_suffix("").parts)).removesuffix(".__init__")


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """(dotted module, line) of every import below `tree`, `from a import b` as both a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def inside(dotted: str) -> str | None:
    """The part of this package that a dotted name belongs to, None for other packages."""
    names = dotted.split(".")
    return names[1] if names[0] == "stepladder" and len(names) > 1 else None


def test_every_part_of_the_package_has_a_layer() -> None:
    parts = {part_of(name) for name in trees()}
    assert parts <= RANK.keys(), f"add {parts - RANK.keys()} to LAYERS"


def test_imports_go_down() -> None:
    wrong = [
        f"{name}:{line} imports {other}"
        for name, tree in trees().items()
        for dotted, line in imported(tree)
        if (other := inside(dotted)) is not None and other != part_of(name) and RANK[other] >= RANK[part_of(name)]
    ]
    assert wrong == []


def test_imports_inside_functions_are_for_the_command_line() -> None:
    for name, tree in trees().items():
        hidden = [line for function in functions(tree) for dotted, line in imported(function) if inside(dotted)]
        assert name == "cli.py" or hidden == [], f"{name} imports from the package inside functions, lines {hidden}"
        if any(isinstance(node, ast.Attribute) and node.attr == "import_module" for node in ast.walk(tree)):
            assert name in DYNAMIC, f"{name} loads modules by name; only tables may"


def test_no_two_modules_import_each_other() -> None:
    graph = {dotted_name(name): tree for name, tree in trees().items()}
    edges: dict[str, set[str]] = {}
    for module, tree in graph.items():
        at_run_time = ast.Module([node for node in tree.body if not isinstance(node, ast.If)], [])  # an If is TYPE_CHECKING
        found = {dotted if dotted in graph else dotted.rpartition(".")[0] for dotted, _ in imported(at_run_time)}
        edges[module] = (found & graph.keys()) - {module}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"import cycle: {' -> '.join((*trail[trail.index(name) :], name))}"
        if name not in done:
            for other in sorted(edges[name]):
                visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_torch_stays_in_models_engines_and_stages() -> None:
    for name, tree in trees().items():
        heavy = [(dotted, line) for dotted, line in imported(tree) if dotted.split(".")[0] in HEAVY]
        assert part_of(name) not in NO_TORCH or heavy == [], f"{name} must not import {heavy}"


def test_files_and_functions_stay_short() -> None:
    long = [f"{name} has {lines} lines" for name, lines in LENGTHS.items() if lines > LONGEST_FILE]
    for name, tree in trees().items():
        for function in functions(tree):
            lines = (function.end_lineno or function.lineno) - function.lineno + 1
            if lines > LONGEST_FUNCTION:
                long.append(f"{name}: {function.name} has {lines} lines")
    assert long == []


def test_every_module_says_what_it_is() -> None:
    assert [name for name, tree in trees().items() if tree.body and not ast.get_docstring(tree)] == []


IMPORT_ALL = """
import importlib, logging, os, sys, threading

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {heavy}:
            raise ModuleNotFoundError(f"{{name}} is blocked")

def state():
    return dict(os.environ), os.getcwd(), list(logging.root.handlers), threading.active_count()

sys.meta_path.insert(0, Absent())
before = state()
for name in {names}:
    importlib.import_module(name)
assert state() == before
"""


def test_modules_without_torch_import_where_there_is_none_and_do_nothing(tmp_path: Path) -> None:
    names = [dotted_name(name) for name in trees() if part_of(name) in NO_TORCH or name in NO_TORCH]
    code = IMPORT_ALL.format(heavy=HEAVY, names=names)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_the_package_is_its_vocabulary() -> None:
    code = "import sys, stepladder; [getattr(stepladder, name) for name in stepladder.__all__]; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    loaded = {name.split(".")[1] for name in result.stdout.split() if name.startswith("stepladder.")}
    lowest = {part for parts in LAYERS[:4] for part in parts}
    assert loaded <= lowest, "the nouns need no environment, agent or engine"
    assert not {name.split(".")[0] for name in result.stdout.split()} & set(HEAVY)
    assert (PACKAGE / "py.typed").exists()
