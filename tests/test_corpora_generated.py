"""Generated corpora: the same for the same number, true in what they say, and disjoint from what is held out."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import operator
import os
import re
import subprocess
import sys
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.config import ConfigError
from stepladder.corpora import CORPORA, generated_corpus
from stepladder.corpora.arithmetic import Problem, arithmetic, problem
from stepladder.corpora.document import Document
from stepladder.corpora.interface import MEANINGS
from stepladder.corpora.numbered import is_held_out
from stepladder.corpora.policies import Rule
from stepladder.corpora.programs import TooLarge, draft, program, run, source
from stepladder.corpora.screens import KIND_NAMES
from stepladder.data.screen_pool import ScreenPool
from stepladder.images import ImageStore
from stepladder.plugins import PluginError
from stepladder.seeds import HELDOUT
from stepladder.words import UI_WORDS, held_out

OURS = ("interface", "arithmetic", "programs", "captions", "screen_questions", "policies")
IMAGES = ImageStore()
SIGNS: dict[type[ast.AST], Callable[[int, int], int]] = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}


def value_of(text: str) -> int:
    """What a sum, difference or product comes to."""

    def of(node: ast.expr) -> int:
        if isinstance(node, ast.BinOp):
            return SIGNS[type(node.op)](of(node.left), of(node.right))
        if isinstance(node, ast.UnaryOp):
            return -of(node.operand)
        assert isinstance(node, ast.Constant)
        assert isinstance(node.value, int)
        return node.value

    return of(ast.parse(text, mode="eval").body)


# ------------------------------------------------------------------------------------------------------------------ all of them

DIGEST = f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); import test_corpora_generated as t; print(*t.digests())"


def digests() -> list[str]:
    """Of each corpus, of what it gives for some numbers."""
    found = []
    for name in OURS:
        corpus = generated_corpus(name, ImageStore())
        keys = [corpus.train(seed, number).key for seed in (0, 1) for number in range(4)]
        found.append(hashlib.sha256("".join([*keys, *(one.key for one in corpus.held_out(3))]).encode()).hexdigest())
    return found


def test_documents_are_the_same_in_every_process() -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    said = subprocess.run([sys.executable, "-c", DIGEST], capture_output=True, text=True, check=True, env=environment).stdout
    assert said.split() == digests()
    assert len(set(said.split())) == len(OURS)


@pytest.mark.parametrize("name", OURS)
def test_every_corpus(name: str) -> None:
    """Documents differ from number to number and from seed to seed, name their source, and are no longer than they should be."""
    corpus = generated_corpus(name, IMAGES)
    documents = [corpus.train(0, number) for number in range(30)]
    held_out = corpus.held_out(10)
    assert documents == [corpus.train(0, number) for number in range(30)]
    assert len({one.key for one in documents}) > 27
    assert len({one.key for one in documents} & {corpus.train(1, number).key for number in range(30)}) < 3
    assert not {one.key for one in documents} & {one.key for one in held_out}
    assert {one.source for one in (*documents, *held_out)} == {name}
    assert all(one.text.endswith("\n") and 8 < len(one.text) < 2000 for one in documents)
    assert all(image in IMAGES for one in documents for image in one.images)


def test_corpora_by_name() -> None:
    assert set(OURS) <= set(CORPORA)
    with pytest.raises(PluginError, match="did you mean 'arithmetic'"):
        generated_corpus("arithmetics")
    with pytest.raises(ConfigError, match="did you mean 'digits'"):
        generated_corpus("arithmetic", digit=3)
    with pytest.raises(ConfigError, match="give it an ImageStore"):
        generated_corpus("captions")
    with pytest.raises(ConfigError, match="no option 'images'"):
        generated_corpus("captions", IMAGES, images=IMAGES)
    mine = generated_corpus("stepladder.corpora.arithmetic:arithmetic", digits=1)
    assert mine.train(0, 3) == arithmetic(0, 3, digits=1)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("arithmetic", {"digits": 0}),
        ("arithmetic", {"form": "latex"}),
        ("programs", {"programs": 0}),
        ("interface", {"sections": 0}),
        ("policies", {"rules": 99}),
        ("captions", {"screens": 0}),
        ("captions", {"width": 8}),
    ],
)
def test_settings_that_cannot_be(name: str, options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options)) if "width" not in options else "8 x 210"):
        generated_corpus(name, IMAGES, **options).train(0, 0)


# ------------------------------------------------------------------------------------------------------------------- arithmetic


def right_answer(question: str) -> str:
    """The answer, worked out from the question alone."""
    numbers = [int(one) for one in re.findall(r"\d+", question)]
    if match := re.fullmatch(r"What is ([-+*() \d]+)\?", question):
        return str(value_of(match[1]))
    if "divided by" in question:
        return ", ".join(map(str, divmod(*numbers)))
    if question.startswith("Which is the"):
        return str(max(numbers) if "largest" in question else min(numbers))
    if question.startswith("Sort"):
        return ", ".join(map(str, sorted(numbers, reverse="from large" in question)))
    if question.startswith("What comes next"):
        return str(numbers[-1] + numbers[1] - numbers[0])
    had, count, price = numbers
    assert ("missing" in question) == (count * price > had)
    return str(abs(had - count * price))


@settings(max_examples=200)
@given(st.integers(0, 2**64), st.integers(1, 6))
def test_arithmetic_is_right(seed: int, digits: int) -> None:
    """Answers and every line that works them out."""
    found: Problem = problem(Random(seed), digits)
    assert found.answer == right_answer(found.question)
    for line in found.work:
        sides = re.sub(r", write \d(, carry \d)?$", "", line).split(" = ")
        if len(sides) > 1:
            assert len({value_of(side) for side in sides}) == 1, line
    assert max(map(len, re.findall(r"\d+", found.question))) <= digits + 1  # a sequence may go on past its first number


def test_carries_are_worked_out_to_the_sum() -> None:
    """The digits that are written, from the last to the first, are the answer."""
    for number in range(300):
        found = problem(Random(number), 5)
        digits = [digit for line in found.work for digit in re.findall(r"write (\d)", line)]
        if digits:
            assert int("".join(reversed(digits))) == int(found.answer)


def test_no_held_out_problem_is_ever_trained_on() -> None:
    def questions(numbers: range) -> set[str]:
        return {one for n in numbers for one in re.findall(r"Question: (.*)", arithmetic(0, n, digits=1).text)}

    trained, held_out = questions(range(400)), questions(range(HELDOUT, HELDOUT + 100))
    assert not trained & held_out
    assert all(map(is_held_out, held_out))
    assert not any(map(is_held_out, trained))


def test_answers_can_be_boxed() -> None:
    document = arithmetic(0, 0, form="boxed", worked=0.0, problems=2)
    assert document.text.count("\\boxed{") == 2
    assert document.text.strip().endswith(f"\\boxed{{{document.metadata['answer']}}}")
    assert len(document.text.strip().splitlines()) == 5


# --------------------------------------------------------------------------------------------------------------------- programs


def test_programs_print_what_python_prints() -> None:
    """500 programs, run by the evaluator and by Python."""
    programs = []
    random = Random(1)
    while len(programs) < 500:
        made = draft(random)
        with contextlib.suppress(TooLarge):
            programs.append((source(made), run(made)))
    script = "".join(f"print('=== {place}')\n{code}" for place, (code, _) in enumerate(programs))
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    parts = re.split(r"=== \d+\n", said)[1:]
    assert parts == ["".join(f"{line}\n" for line in lines) for _, lines in programs]
    assert len({code for code, _ in programs}) > 400


def test_program_documents() -> None:
    document = program(0, 5)
    assert len(re.findall(r"What does this program print\?\n```python\n(?:.*\n)+?```\nOutput:\n", document.text)) == 2
    assert document.text.endswith(f"Output:\n{document.metadata['output']}")
    trained = {code for n in range(300) for code in re.findall(r"```python\n(.*?)```", program(0, n).text, flags=re.DOTALL)}
    held = {code for n in range(60) for code in re.findall(r"```python\n(.*?)```", program(0, HELDOUT + n).text, flags=re.DOTALL)}
    assert not trained & held


# --------------------------------------------------------------------------------------------------------------------- screens

LINE = re.compile(r'(?P<kind>[a-z ]+?)(?: "(?P<text>.*)")? at \[(?P<x>\d+), (?P<y>\d+)\](?:, (?P<states>.*))?')
KINDS = {name: kind for kind, name in KIND_NAMES.items()}


def test_captions_say_what_is_there() -> None:
    """Every line fits a region of the picture in kind, text, place and state; a whole caption has a line for each element."""
    screens = {}
    pool = ScreenPool(IMAGES, "train", 40, 160, 210)
    for number in range(40):
        screens[pool[number].image] = pool[number].regions
    corpus = generated_corpus("captions", IMAGES, screens=40)
    whole = 0
    for number in range(80):
        document = corpus.train(0, number)
        first, *lines = document.text.splitlines()
        regions = screens[document.images[0]]
        elements = [region for region in regions if region.kind != "word" or region.target is None]
        if first.startswith("How many"):
            counts = dict(line.split(": ") for line in lines)
            assert sum(map(int, counts.values())) == len(elements)
            continue
        for line in lines:
            match = LINE.fullmatch(line)
            assert match is not None, line
            kind, x, y = KINDS.get(match["kind"], match["kind"]), int(match["x"]) * 0.16, int(match["y"]) * 0.21
            fitting = [
                region
                for region in elements
                if region.kind == kind
                and region.text in (match["text"] or "", "close")
                and abs((box := region.target or region.box)[0] + box[2] / 2 - x) < 1.1
                and abs(box[1] + box[3] / 2 - y) < 1.2
            ]
            assert fitting, line
            states = set((match["states"] or "").split(", ")) - {""}
            assert ("not checked" in states) == (kind == "checkbox" and "checked" not in fitting[0].states)
            assert ("selected" in states) == bool({"selected", "checked"} & set(fitting[0].states) and kind != "checkbox")
        whole += first == "What is on this screen?"
        assert len(lines) == len(elements) or first != "What is on this screen?"
    assert whole > 20


def test_screens_are_few_for_training_and_others_are_held_out() -> None:
    images = ImageStore()
    corpus = generated_corpus("screen_questions", images, screens=5)
    trained = {corpus.train(0, number).images[0] for number in range(40)}
    held_out = {one.images[0] for one in corpus.held_out(10)}
    assert len(trained) == 5
    assert len(held_out) == 10
    assert not trained & held_out


# ------------------------------------------------------------------------------------------------- interface language, policies


def texts(name: str, count: int = 200) -> list[str]:
    corpus = generated_corpus(name, IMAGES)
    return [corpus.train(0, number).text for number in range(count)]


def test_interface_texts_are_consistent() -> None:
    """What a question asks stands above it; dialogs name a button that they have; a step types what the task says."""
    asked = 0
    for section in (part for text in texts("interface") for part in text.strip().split("\n\n")):
        lines = section.split("\n")
        if section.startswith("Dialog:"):
            named = re.search(r'click "(.*)"\.$', section)
            assert named is not None
            assert named[1] in lines[1].removeprefix("Buttons: ").split(", ")
        elif section.startswith("Task:"):
            assert all(one in lines[0] for one in re.findall(r'"(.*?)"', "".join(lines[1:])))
            assert lines[-1] == "Done."
        elif section.startswith("Form:"):
            for match in re.finditer(r'What is (?:in the field|selected in the menu) "(.*)"\? (.*)', section):
                value = "" if match[2] == "nothing" else match[2]
                assert any(re.fullmatch(rf'(text field|menu) "{match[1]}": ?{re.escape(value)}', line) for line in lines)
            for match in re.finditer(r'Is the checkbox "(.*)" checked\? (yes|no)', section):
                assert f'checkbox "{match[1]}": {"" if match[2] == "yes" else "not "}checked' in lines
        elif section.startswith("The buttons"):
            question = re.fullmatch(r"Which button (.*)\? (.*)", lines[-1])
            assert question is not None
            assert MEANINGS[question[2]] == question[1]
            assert f'"{question[2]}" {question[1]}.' in lines
        elif section.startswith("Item |"):
            prices = dict(line.split(" | ") for line in lines[1:-1])
            question = re.fullmatch(r"(?:How much is (\w+)|Which is cheapest)\? (\w+)", lines[-1])
            assert question is not None
            cheapest = min(prices, key=lambda name: int(prices[name]))
            assert question[2] == (prices[question[1]] if question[1] else cheapest)
        else:
            where = re.fullmatch(r"Where is (\w+)\? (\w+) > (\w+)", lines[-1])
            assert where is not None
            assert where[1] == where[3]
            entries = dict(line.split(": ", 1) for line in lines[:3])
            assert where[3] in entries[where[2]].split(", ")
        asked += 1
    assert asked == 400


def test_words_that_are_held_out_stand_in_no_training_text() -> None:
    """Reading held-out words is measured elsewhere, so that no corpus may show them as labels."""
    text = "".join(texts("interface", 500))
    labels = set(re.findall(r'(?:button|field|checkbox|menu|tab) "(\w+)"', text))
    for line in re.findall(r"^(?:Buttons|[A-Z]\w+): (\w+(?:, \w+)*)$", text, flags=re.MULTILINE):
        labels.update(line.split(", "))
    assert len(labels & set(UI_WORDS)) > 200
    assert not [word for word in labels & set(UI_WORDS) if held_out(word)]


def test_policies_decide_as_their_rules_say() -> None:
    """From the text alone: who may, how often, with whose approval."""
    roles = ("guest", "member", "editor", "manager", "owner")
    decisions = {"yes": 0, "no": 0}
    for text in texts("policies"):
        rules = dict(re.findall(r"^(\d)\. (.*)$", text, flags=re.MULTILINE))
        for line in re.findall(r"^.* May .*$", text, flags=re.MULTILINE):
            case = re.fullmatch(
                r"(\w+) is an? (\w+), has handled (\d+) (\w+) today(?: and has (the|no) approval of the (\w+))?\. "
                r"May \w+ (.*)\? Rule (\d): (yes|no)(?:, (.*))?",
                line,
            )
            assert case is not None, line
            rule = rules[case[8]]
            assert case[7] in rule
            allowed = roles if rule.startswith("Everybody") else [role for role in roles if f"{role}s" in rule.split(" may ")[0]]
            most = int(re.findall(r"at most (\d+)", rule)[0])
            approval = re.search(r"The (\w+) must approve", rule)
            may = case[2] in allowed and int(case[3]) < most and (approval is None or case[5] == "the")
            assert (case[9] == "yes") == may, text
            decisions[case[9]] += 1
    assert min(decisions.values()) > 100


def test_a_rule_says_the_first_thing_that_forbids() -> None:
    rule = Rule("close a ticket", "tickets", 1, 3, 3)
    assert rule.decision(0, 9, False) == "no, a guest may not close a ticket"
    assert rule.decision(1, 3, True) == "no, 3 tickets a day are the most"
    assert rule.decision(1, 2, False) == "no, the manager has not approved it"
    assert rule.decision(1, 2, True) == "yes"


def test_a_function_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def counting(seed: int, number: int, *, word: str = "x") -> Document:
        return Document(f"{word} {seed} {number}")

    monkeypatch.setattr(sys.modules[__name__], "counting", counting, raising=False)
    corpus = generated_corpus(f"{__name__}:counting", word="y")
    assert corpus.train(3, 5).text == "y 3 5"
    assert corpus.train(3, HELDOUT).text.startswith("y 4 ")  # numbers for training never reach those held out
    assert corpus.held_out(2)[1].text == f"y 0 {HELDOUT + 1}"
