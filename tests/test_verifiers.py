"""Verifiers: right answers in many spellings are right, and a thousand wrong ones for each are wrong."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.config import ConfigError
from stepladder.interfaces import EnvironmentFailure
from stepladder.verifiers import VERIFIERS, build_check, sandbox, verify
from stepladder.verifiers.boxes import BEGIN, END, balanced, boxes, final_answer
from stepladder.verifiers.code import program_of, same_value
from stepladder.verifiers.exact import normalised
from stepladder.verifiers.numeric import read_number
from stepladder.verifiers.sandbox import Isolation, ProgramLimits, run_program
from stepladder.verifiers.sets import read_items

#: So many wrong answers for each verifier.
WRONG = 1000
ISOLATIONS: tuple[Isolation, ...] = ("bubblewrap", "limits")
any_text = st.text(max_size=60) | st.text(alphabet=rf"0123456789+-−.,/%$eE×x*^{{}}()[]\frac boxed {BEGIN}{END}andor", max_size=40)


def number(answer: str, **more: Any) -> dict[str, Any]:
    return {"verifier": "numeric", "answer": answer, **more}


# ------------------------------------------------------------------------------------------------------------------- boxes


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("42", "42"),
        ("  42\n", "42"),
        (f"So it is {BEGIN}42{END}", "42"),
        (f"<answer>It is {BEGIN} 42 {END}</answer>", "42"),
        (r"So $\boxed{42}$.", "42"),
        (r"\[ \boxed{\frac{1}{2}} \]", r"\frac{1}{2}"),
        (r"\boxed{a \} b}", r"a \} b"),
        (r"\boxed {x}", "x"),
        (rf"{BEGIN}\boxed{{42}}{END}", "42"),
        (r"\boxed{\boxed{7}}", "7"),
        (r"**\boxed{7}**", "7"),
    ],
)
def test_final_answers(text: str, answer: str) -> None:
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        f"{BEGIN}42",
        f"42{END}",
        f"{END}42{BEGIN}",
        f"{BEGIN}42{END} {BEGIN}43{END}",
        f"{BEGIN}42{END} {BEGIN}42{END}",
        r"\boxed{42} or \boxed{43}",
        rf"\boxed{{42}} {BEGIN}42{END}",
        r"\boxed{42",
        r"\boxed 42",
        r"\boxed{42}} or so",
        r"\boxed{42} or maybe 43",
        f"{BEGIN}42{END} (or 43)",
        f"{BEGIN}{END}",
        r"\boxed{}",
        r"\boxed{42 or \boxed{43}}",
        f"{BEGIN}{BEGIN}42{END}{END}",
        f"{END}{BEGIN}42{END}",
    ],
)
def test_what_is_no_final_answer(text: str) -> None:
    assert final_answer(text) is None


@given(any_text)
def test_boxes_of_any_text(text: str) -> None:
    found = boxes(text)
    for box in found or ():
        assert box.content in text[box.start : box.end]
    answer = final_answer(text)
    if answer is not None:
        assert answer == answer.strip()
        assert answer in text


@given(st.text(max_size=20), any_text)
def test_a_box_around_any_text_is_read_back(lead: str, content: str) -> None:
    content = content.strip()
    if final_answer(lead) != (lead.strip() or None) or not content or final_answer(content) != content or "boxed" in lead + content:
        return
    if BEGIN[:3] in lead or END[:3] in lead + content:
        return
    assert final_answer(f"{lead}{BEGIN}{content}{END}") == content
    if balanced(content) and not lead.endswith("\\"):
        assert final_answer(rf"{lead}\boxed{{{content}}}") == content


# ----------------------------------------------------------------------------------------------------------------- numeric


@pytest.mark.parametrize(
    ("right", "spellings"),
    [
        ("7", ["7", "+7", "07", "7.", "7.0", "7.00", "14/2", "70e-1", "0.7e1", r"\frac{14}{2}", r"$7$", r"\(7\)", "700%"]),
        ("-12", ["-12", "−12", "- 12", "-12.0", "-24/2", r"-\frac{24}{2}", "-1.2e1"]),
        (
            "1234.5",
            [
                "1234.5",
                "1,234.5",
                "1 234.5",
                "1\u202f234.5",
                "1.2345e3",
                r"1.2345 \times 10^{3}",
                "1.2345 x 10^3",
                "2469/2",
                "1{,}234.5",
            ],
        ),
        ("0.5", ["0.5", ".5", "1/2", "50%", r"50\%", "5e-1", r"\dfrac{1}{2}"]),
        ("3/2", ["3/2", "1 1/2", "1.5", r"1\frac{1}{2}", "6/4"]),
        ("1000000", ["1000000", "1,000,000", "1e6", "1E+6", "1 000 000", "1×10^6"]),
    ],
)
def test_numbers_in_many_spellings(right: str, spellings: list[str]) -> None:
    for text in spellings:
        assert verify(number(right), text), text
        assert verify(number(right), f"It is {BEGIN}{text}{END}."), text


def test_units_and_tolerance() -> None:
    for text in ("7 cm", "7cm", "7", r"7\text{ cm}", r"7 \mathrm{cm}"):
        assert verify(number("7", unit="cm"), text)
    for text in ("7 m", "7 km", "7 cm cm", "7 cm or 8 cm", "cm 7", "7 pcm", "cm"):
        assert not verify(number("7", unit="cm"), text)
    for text in ("$7", r"\$7", "7 $", "7", "7.00"):
        assert verify(number("7", unit="$"), text)
    assert verify(number("-7", unit="$"), "-$7")
    assert not verify(number("7", unit="$"), "7€")
    assert verify(number("20", unit="%"), "20%")
    assert not verify(number("20", unit="%"), "20%%")
    assert verify(number("3.14159", tolerance=0.01), "3.14")
    assert not verify(number("3.14159", tolerance=0.001), "3.14")
    assert verify(number("200", relative=0.01), "201.9")
    assert not verify(number("200", relative=0.01), "202.1")


def wrong_numbers(right: Fraction, random: Random) -> Iterator[str]:
    """Answers that are another number, or no number for sure."""
    while True:
        shown = str(right) if right.denominator > 1 or random.random() < 0.7 else f"{right}.0"
        other = str(right + random.choice((-10, -2, -1, 1, 2, 9, 10, 100)))
        further = str(right + random.randrange(3, 50))
        yield from (
            f"a number between {other} and {further}",
            f"{shown} or {other}",
            f"{shown}, {other}",
            f"{shown} {other}x",
            f"{other} to {further}",
            f"{other}–{further}",
            f"{shown} - {further}",
            f"{shown}-{further}",
            f"about {shown}",
            f"~{shown}",
            f"≈ {shown}",
            f"±{shown}" if right else "±1",
            f"{shown}?",
            f"not {shown}",
            f"{shown} + 0",
            f"{shown}*1",
            f"[{shown}]",
            f"{{{shown}}}",
            f">= {shown}",
            f"{shown}; {shown}",
            f"{shown}\n{shown}",
            f"{shown} {shown} {shown}.",
            f"{other}",
            f"{right * 10}" if right else "10",
            f"{-right}" if right else "-1",
            f"{right + Fraction(1, 1000)}",
            f"{shown}e1" if right.denominator == 1 and right else "1e1",
            f"{shown}%" if right else "1%",
            f"{shown} apples",
            f"{shown}!",
            f"0x{abs(int(right)):x}",
            f"{shown}/0",
            rf"\frac{{{other}}}{{1}}" if right >= 20 else "1/0",
            f"{BEGIN}{shown}{END}{BEGIN}{shown}{END}",
            rf"\boxed{{{shown}}} \boxed{{{other}}}",
            rf"\boxed{{{shown}}} or {other}",
            f"{BEGIN}{shown}",
            f"the answer is {shown}",
            "any number",
            "int(__import__('os').getpid())",
            "١٢",
            "NaN",
            "inf",
            "1e999999999",
            f"{shown}{random.randrange(1, 10)}",
            "",
        )


def wrong_texts(right: str, random: Random) -> Iterator[str]:
    while True:
        place = random.randrange(len(right))
        other = random.choice(["Cancel", "Submit", "Okay", "yes", "no", "orange", "kitchen"])
        letter = chr(random.randrange(97, 123))
        yield from (
            f"{right} or {other}",
            f"{other}, {right}",
            f"{right}, {right}",
            f"not {right}",
            f"{right}?",
            f"either {right}",
            f"the button {right}",
            f'"{right}" or "{other}"',
            f'"{right}", "{right}"',
            right[:place] + right[place + 1 :],
            right[:place] + letter + letter + right[place:],
            right + letter,
            letter + right,
            f"{right}..",
            f"{right} {letter}",
            f"({right})",
            f"{right}!",
            f"{right}/{other}",
            f"{BEGIN}{right}{END} {BEGIN}{right}{END}",
            rf"\boxed{{{right}}} \boxed{{{right}}}",
            rf"\boxed{{{right}}} or so",
            "any of them",
            f"word{random.randrange(1000)}",
            "",
        )


def wrong_sets(right: list[str], random: Random) -> Iterator[str]:
    while True:
        items = random.sample(right, len(right))
        other = random.choice([name for name in ("white", "pink", "17", "grey", "-3") if name not in right])
        gone = random.randrange(len(items))
        left = items[:gone] + items[gone + 1 :]
        doubled = [*items, random.choice(items)]
        yield from (
            ", ".join([*items, other]),
            ", ".join(left) or other,
            ", ".join([*left, other]),
            ", ".join(doubled),
            " and ".join(doubled),
            " or ".join([*items, other]),
            ", ".join(items) + " or " + other,
            ", ".join(items) + ", ...",
            ", ".join(items) + ", and more",
            "all of them",
            "some of: " + ", ".join(items),
            "not " + ", ".join(items),
            ", ".join(items) + "?",
            ", ,".join([*items, ""]),
            "{" + ", ".join(items),
            "{" + ", ".join(items) + "} or {" + ", ".join(left) + "}",
            "|".join([*items, other]),
            f"{BEGIN}{', '.join(items)}{END}{BEGIN}{', '.join(items)}{END}",
            rf"\boxed{{{', '.join(items)}}} or not",
            ", ".join(item + "x" for item in items),
            "",
        )


def check_wrong(check: dict[str, Any], wrong: Iterator[str], count: int) -> set[str]:
    right = build_check(check)
    tried = set()
    for text in islice(wrong, count):
        answer = final_answer(text)
        assert answer is None or not right(answer), text
        tried.add(text)
    return tried


def test_a_thousand_wrong_numbers_are_wrong() -> None:
    tried: set[str] = set()
    for seed in range(60):
        random = Random(seed)
        right = Fraction(random.randrange(-500, 2000), random.choice((1, 1, 1, 1, 3, 7)))
        tried |= {f"{right}: {text}" for text in check_wrong(number(str(right)), wrong_numbers(right, random), 46)}
    assert len(tried) >= WRONG


def test_a_thousand_wrong_texts_are_wrong() -> None:
    tried: set[str] = set()
    for word in ("Accept", "candle", "Zoom in", "Größe", "maybe", "Paste", "Undo all", "river", "Emma", "lemon tree"):
        check = {"verifier": "exact", "answer": word}
        tried |= {f"{word}: {text}" for text in check_wrong(check, wrong_texts(word, Random(word)), 600)}
    assert len(tried) >= WRONG


def test_a_thousand_wrong_sets_are_wrong() -> None:
    tried: set[str] = set()
    for right in (
        ["red", "blue", "green"],
        ["4", "8"],
        ["12"],
        ["1", "2", "3", "6", "9", "18"],
        ["Save as", "Open"],
        ["a", "b", "c", "d"],
    ):
        check = {"verifier": "set", "answer": right}
        tried |= {f"{right}: {text}" for text in check_wrong(check, wrong_sets(right, Random(len(right))), 800)}
    assert len(tried) >= WRONG


@given(st.integers(-10_000, 10_000), st.integers(1, 50), any_text)
def test_any_other_text_is_no_right_number(above: int, below: int, text: str) -> None:
    """What is accepted says this very number: its digits, computed by another way."""
    right = Fraction(above, below)
    if not verify(number(str(right)), text):
        return
    assert read_number(final_answer(text) or "") == right


@given(st.fractions(max_denominator=1000), st.booleans())
def test_numbers_are_read_exactly(value: Fraction, grouped: bool) -> None:
    written = f"{value.numerator:,}" if grouped and value.denominator == 1 else str(value)
    assert read_number(written) == value
    assert read_number(f"{written} and 1") is None
    assert read_number(f"{written}, {written}, {written}") is None


@given(any_text)
def test_readers_take_any_text(text: str) -> None:
    read_number(text)
    read_items(text)
    normalised(text)
    program_of(text)


# --------------------------------------------------------------------------------------------------------------- the others


def test_texts_in_many_spellings() -> None:
    for text in ("Zoom in", "zoom IN", ' "Zoom in" ', "“Zoom in”", "Zoom  in.", "'zoom in.'", "Zoom\nin", r"\boxed{Zoom in}"):
        assert verify({"verifier": "exact", "answer": "Zoom in"}, text), text
    assert not verify({"verifier": "exact", "answer": "Zoom in", "case": True}, "zoom in")


def test_sets_in_many_spellings() -> None:
    texts = (
        "red, blue and green",
        "green, red, blue",
        "{Blue, red, GREEN}",
        "[red; blue; green]",
        "red\nblue\ngreen",
        "- red\n- blue\n- green",
    )
    for text in texts:
        assert verify({"verifier": "set", "answer": ["red", "blue", "green"]}, text), text
    for text in ("2, 4, 10", "(10, 2, 4.0)", "4 and 2 and 20/2", "1. 2\n2. 4\n3. 10"):
        assert verify({"verifier": "set", "answer": [2, 4, 10]}, text), text


ADD = {"verifier": "code", "calls": [[1, 2], [-5, 3], [10, 10]], "results": [3, -2, 20]}
DOUBLE = {"verifier": "code", "calls": [[1], [4], [-3]], "results": [3, 9, -5], "form": "expression", "parameters": ["x"]}


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_right_programs(isolation: Isolation) -> None:
    for text in (
        "def f(a, b):\n    return a + b",
        "f = lambda a, b: sum((a, b))",
        "```python\nimport math\n\ndef f(a, b):\n    return int(math.fsum([a, b]))\n```",
    ):
        assert verify(ADD, text, isolation), text
    for text in ("x * 2 + 1", "1 + x + x", "(x\n + x) + 1"):
        assert verify(DOUBLE, text, isolation), text


#: Programs that want a reward without an answer. None knows the results: they are compared outside.
HOSTILE = (
    "def f(a, b):\n    return a - b",
    "def f(a, b):\n    return 3",
    "def f(a, b):\n    return str(a + b)",
    "def f(a, b):\n    return float(a + b)",
    "def f(a, b):\n    return [a + b]",
    "def f(a, b):\n    return True",
    "def f(a, b):\n    return None",
    "def f(a, b):\n    print(a + b)",
    "def f(a):\n    return a",
    "def g(a, b):\n    return a + b",
    "a + b",
    "3",
    "raise SystemExit",
    "import os\nos._exit(0)",
    "def f(a, b):\n    raise KeyboardInterrupt",
    "class Same(int):\n    def __eq__(self, other):\n        return True\ndef f(a, b):\n    return Same(7)",
    "import os\nfor n in range(3, 20):\n    try: os.write(n, b'[[\"value\", 3]]\\n')\n    except OSError: pass\nos._exit(0)",
    "def f(a, b):\n    return {'a': a, 'b': b}",
    "def f(a, b):\n    return a + b if a == 1 else 0",
    "def f(a, b)\n    return a + b",
    "def f(a, b):\n    return a + b\n```\n```python\ndef f(a, b):\n    return 0",
    "```python\ndef f(a, b):\n    return a + b\n```\nor\n```python\ndef f(a, b):\n    return a - b\n```",
    "import inspect",
    "import builtins\nbuiltins.eq = 1",
    "def f(a, b):\n    return open('/etc/passwd').read()",
    "def f(a, b):\n    import socket",
    "def f(a, b):\n    x = []\n    x.append(x)\n    return x",
    "def f(a, b):\n    return 'a' * 1000000",
    "def f(a, b):\n    return 'a' * 10 ** 11",
)


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_hostile_programs(isolation: Isolation) -> None:
    for program in HOSTILE:
        assert not verify(ADD, program, isolation), program


def test_a_thousand_wrong_programs_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong expressions, in one process: that each is run by itself is tried elsewhere, here it is the comparison that counts."""
    random, tried = Random(0), set()
    calls, results = [[1], [4], [-3], [10], [0], [7]], [3, 9, -5, 21, 1, 15]
    wrong: list[tuple[str, list[Any]]] = []
    while len(wrong) < WRONG:
        a, b, c = random.randrange(-9, 10), random.randrange(-9, 10), random.randrange(1, 9)
        form, value = random.choice(
            (
                (f"{a} * x + {b}", lambda x, a=a, b=b: a * x + b),
                (f"x * x + {a}", lambda x, a=a: x * x + a),
                (f"{a} * x * x + {b} * x", lambda x, a=a, b=b: a * x * x + b * x),
                (f"x % {c} + {b}", lambda x, c=c, b=b: x % c + b),
                (f"(x + {a}) * {c}", lambda x, a=a, c=c: (x + a) * c),
                (f"[{a} * x + {b}]", lambda x, a=a, b=b: [a * x + b]),
                (f"str(2 * x + {b})", lambda x, b=b: str(2 * x + b)),
                (f"(2 * x + 1) * 1.0 + {c}", lambda x, c=c: (2 * x + 1) * 1.0 + c),
                (f"2 * x + 1 if x < {c} else {a}", lambda x, c=c, a=a: 2 * x + 1 if x < c else a),
            )
        )
        given_results = [value(*call) for call in calls]
        if given_results != results and form not in tried:
            tried.add(form)
            wrong.append((form, given_results))
    for form, given_results in wrong:
        assert not all(map(same_value, results, given_results)), form
    check = {"verifier": "code", "calls": calls, "results": results, "form": "expression", "parameters": ["x"]}
    for form, _ in wrong[:10]:
        assert not verify(check, form), form
    # All of them as one program, so that what the sandbox gives back is compared as well.
    table = "[" + ", ".join(f"lambda x: {form}" for form, _ in wrong) + "]"
    outcome = run_program(
        f"table = {table}\ndef f(n, x):\n    return table[n](x)",
        [[n, call[0]] for n in range(len(wrong)) for call in calls],
        limits=ProgramLimits(output=1 << 20),
    )
    assert outcome.error == ""
    back = [value for _, value in outcome.results]
    for n, (form, _) in enumerate(wrong):
        assert not all(map(same_value, results, back[n * len(calls) : (n + 1) * len(calls)])), form


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_program_can_reach_nothing(isolation: Isolation) -> None:
    attempts = {
        "open('/etc/hostname').read()": "Too many open files",
        "open('/tmp/left', 'w')": "Too many open files",
        "__import__('os').fork()": "Resource temporarily unavailable",
        "__import__('os').listdir('/')": "Too many open files",
        "__import__('os').kill(1, 9)": None,
        "bytearray(10 ** 10)": "MemoryError",
    }
    outcome = run_program(
        "attempts = " + repr(list(attempts)) + "\ndef f(n):\n    return repr(eval(attempts[n]))",
        [[n] for n in range(len(attempts))],
        isolation=isolation,
    )
    for (attempt, reason), (well, value) in zip(attempts.items(), outcome.results, strict=True):
        assert reason is None or (not well and reason in value), (attempt, value)
    assert not os.path.exists("/tmp/left")


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_time_and_output_are_limited(isolation: Isolation) -> None:
    loop = run_program("def f():\n    while True:\n        pass", [[]], limits=ProgramLimits(seconds=500.0), isolation=isolation)
    assert "used up its processor time" in loop.error
    asleep = "import os\nread, write = 0, 0\ndef f():\n    import signal\n    signal.pause()"
    stuck = run_program(
        asleep.replace("import signal", "import _signal as signal"), [[]], limits=ProgramLimits(seconds=1.0), isolation=isolation
    )
    assert "longer than 1 s" in stuck.error or stuck.results[0][0] is False
    long = run_program("def f():\n    return 'a' * 5000", [[]], limits=ProgramLimits(output=1000), isolation=isolation)
    assert "longer than 1000 bytes" in long.error


def test_a_sandbox_that_does_not_start_is_the_environments_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_bubblewrap", lambda: ["bwrap", "--no-such-option"])
    with pytest.raises(EnvironmentFailure, match="does not start"):
        verify(ADD, "def f(a, b):\n    return a + b", "bubblewrap")
    monkeypatch.setattr(sandbox, "_bubblewrap", lambda: ["no-such-program"])
    with pytest.raises(EnvironmentFailure, match="does not start"):
        verify(ADD, "def f(a, b):\n    return a + b", "bubblewrap")


def test_without_bubblewrap_it_is_said_what_is_not_shut_off(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    sandbox._warn.cache_clear()
    assert verify(ADD, "def f(a, b):\n    return a + b")
    assert "can send signals to processes of the same user" in caplog.text


@settings(max_examples=60)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), lambda one: st.lists(one, max_size=3)
    )
)
def test_a_value_is_the_same_as_itself_through_json(value: Any) -> None:
    assert same_value(value, json.loads(json.dumps(value)))
    assert not same_value(value, [value, value])


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ({}, "check.verifier is None; there are exact, numeric, set, code"),
        ({"verifier": "numric", "answer": "1"}, "did you mean 'numeric'"),
        ({"verifier": "numeric"}, "answer"),
        ({"verifier": "numeric", "answer": "3 or 4"}, "must be a number"),
        ({"verifier": "numeric", "answer": True}, "must be a number"),
        ({"verifier": "numeric", "answer": "3", "tolerance": -1}, "tolerance is -1"),
        ({"verifier": "numeric", "answer": "3", "unit": "m2"}, "without digits"),
        ({"verifier": "numeric", "answer": "3", "tolerence": 1}, "tolerence"),
        ({"verifier": "exact", "answer": " "}, "not empty"),
        ({"verifier": "set", "answer": "red"}, "must be a list"),
        ({"verifier": "set", "answer": ["red", "red"]}, "there once"),
        ({"verifier": "set", "answer": ["red, blue"]}, "cannot be told"),
        ({"verifier": "code", "calls": [[1], [2]], "results": [1, 1]}, "constant"),
        ({"verifier": "code", "calls": [[1]], "results": [1, 2]}, "every call needs one"),
        ({"verifier": "code", "calls": [[1], [2]], "results": [1, 2], "form": "class"}, "form is 'class'"),
        ({"verifier": "code", "calls": [[1], [2]], "results": [1, 2], "name": "f()"}, "no name"),
    ],
)
def test_a_check_that_cannot_be_is_named(check: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(").replace(")", r"\)")):
        build_check(check)


def test_every_verifier_is_fuzzed() -> None:
    fuzzed: dict[str, Callable[..., None]] = {
        "numeric": test_a_thousand_wrong_numbers_are_wrong,
        "exact": test_a_thousand_wrong_texts_are_wrong,
        "set": test_a_thousand_wrong_sets_are_wrong,
        "code": test_a_thousand_wrong_programs_are_wrong,
    }
    assert fuzzed.keys() == VERIFIERS.keys()
