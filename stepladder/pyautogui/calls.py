"""Reading the calls of a piece of Python that a model wrote, with `ast`. Nothing of it is ever run.

Read are calls with plain values, comments, imports, assignments of plain values to names (`x, y = 10, 20`), sums of them, loops
over `range(n)` with a number, `with pyautogui.hold(...)`, and the bare words WAIT, DONE and FAIL. Settings of pyautogui
(`pyautogui.PAUSE = 1`) are passed over. Everything else is a ParseError that says where.
"""

from __future__ import annotations

import ast
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from stepladder.interfaces import ParseError

#: Characters of one piece of code.
LONGEST = 20_000
#: Statements that are carried out of one piece of code, loops included.
MOST_STATEMENTS = 1000
#: Numbers that are calculated with; larger ones are no places.
_LARGEST = 1e9
_OPERATIONS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}
_WORDS = ("WAIT", "DONE", "FAIL")
#: What can be assigned to in pyautogui. It changes how, not what, pyautogui does, and means nothing here.
_SETTINGS = ("FAILSAFE", "PAUSE", "MINIMUM_DURATION", "MINIMUM_SLEEP", "DARWIN_CATCH_UP_TIME")
_BUTTONS = ("LEFT", "MIDDLE", "RIGHT", "PRIMARY", "SECONDARY")
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Call:
    """`function` is "pyautogui.click" or, for a bare word, "WAIT"; `position` is its character offset in the reply."""

    function: str
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    position: int


@dataclass(slots=True)
class _Reader:
    code: str
    offset: int
    shift: int
    names: dict[str, Any]
    calls: list[Call] = field(default_factory=list)
    statements: int = 0

    def position(self, node: ast.AST) -> int:
        """The character offset of a node in the reply; ast counts lines from 1 and columns in bytes."""
        line = getattr(node, "lineno", 1) - 1 - self.shift
        starts = [0, *(end.end() for end in _LINE_END.finditer(self.code))]
        if not 0 <= line < len(starts):
            return self.offset
        text = self.code[starts[line] :].encode("utf-8", "surrogatepass")
        column = len(text[: getattr(node, "col_offset", 0)].decode("utf-8", "ignore"))
        return self.offset + min(starts[line] + column, len(self.code))

    def fail(self, node: ast.AST, message: str) -> ParseError:
        return ParseError(message, self.position(node))


def read_calls(code: str, offset: int = 0, names: Mapping[str, Any] | None = None) -> list[Call]:
    """The calls of `code`, which begins at `offset` of the reply, in the order in which they would happen. `names` are values
    that the code may use, such as {"tag_1": (10, 20)}; values of the code itself are never tuples. Raises ParseError and nothing
    else."""
    if len(code) > LONGEST:
        raise ParseError(f"the code has {len(code)} characters; at most {LONGEST} are read", offset)
    tree, shift = _parse(code, offset)
    reader = _Reader(code, offset, shift, dict(names or {}))
    try:
        _read_block(reader, tree)
    except RecursionError:
        raise ParseError("the code is nested too deeply", offset) from None
    return reader.calls


def _parse(code: str, offset: int) -> tuple[list[ast.stmt], int]:
    """The statements and the number of lines that were put before them. Code that is indented as a whole is read, too."""
    failure: ParseError | None = None
    for prefix in ("", "if 1:\n"):
        try:
            with warnings.catch_warnings():  # "\d" in a text is worth a warning to who writes Python, but not here
                warnings.simplefilter("ignore")
                body = ast.parse(prefix + code).body
            return (body[0].body, 1) if prefix and isinstance(body[0], ast.If) else (body, 0)
        except IndentationError as error:
            failure = failure or _no_python(code, offset, error)
        except SyntaxError as error:
            raise failure or _no_python(code, offset, error) from None
        except (ValueError, RecursionError, MemoryError) as error:
            raise ParseError(f"this is no Python: {error or 'nested too deeply'}", offset) from None
    raise failure or ParseError("this is no Python", offset)


def _no_python(code: str, offset: int, error: SyntaxError) -> ParseError:
    starts = [0, *(end.end() for end in _LINE_END.finditer(code))]
    line = min(max((error.lineno or 1) - 1, 0), len(starts) - 1)
    position = min(starts[line] + max((error.offset or 1) - 1, 0), len(code))
    return ParseError(f"this is no Python: {error.msg}", offset + position)


def _read_block(reader: _Reader, statements: list[ast.stmt]) -> None:
    for statement in statements:
        reader.statements += 1
        if reader.statements > MOST_STATEMENTS:
            raise reader.fail(statement, f"more than {MOST_STATEMENTS} statements")
        _read_statement(reader, statement)


def _read_statement(reader: _Reader, statement: ast.stmt) -> None:
    if isinstance(statement, (ast.Import, ast.ImportFrom, ast.Pass)):
        return
    if isinstance(statement, ast.Expr):
        value = statement.value
        if isinstance(value, ast.Call):
            reader.calls.append(_read_call(reader, value))
        elif isinstance(value, ast.Name) and value.id.upper() in _WORDS:
            reader.calls.append(Call(value.id.upper(), (), {}, reader.position(value)))
        elif not (isinstance(value, ast.Constant) and isinstance(value.value, str)):  # a text alone is a comment
            raise reader.fail(value, "this is no call of a function")
    elif isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        _assign(reader, statement.targets[0], statement.value)
    elif isinstance(statement, ast.For) and isinstance(statement.target, ast.Name) and not statement.orelse:
        for number in _range(reader, statement.iter):
            reader.names[statement.target.id] = number
            _read_block(reader, statement.body)
    elif isinstance(statement, ast.With) and len(statement.items) == 1:
        _read_held(reader, statement)
    else:
        raise reader.fail(statement, f"only calls and plain values are read, not {_called(statement)}")


def _read_call(reader: _Reader, call: ast.Call) -> Call:
    function = call.func
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        name = f"{function.value.id}.{function.attr}"
    elif isinstance(function, ast.Name):
        name = function.id
    else:
        raise reader.fail(function, "only functions of pyautogui, time and computer can be called")
    if any(keyword.arg is None for keyword in call.keywords):
        raise reader.fail(call, f"{name}: ** is no plain value")
    arguments = tuple(_value(reader, argument) for argument in call.args)
    keywords = {keyword.arg: _value(reader, keyword.value) for keyword in call.keywords if keyword.arg is not None}
    return Call(name, arguments, keywords, reader.position(call))


def _read_held(reader: _Reader, statement: ast.With) -> None:
    """`with pyautogui.hold("shift"): ...`"""
    item = statement.items[0]
    if not isinstance(item.context_expr, ast.Call):
        raise reader.fail(statement, "only `with pyautogui.hold(...)` is read")
    hold = _read_call(reader, item.context_expr)
    keys = hold.arguments[0] if len(hold.arguments) == 1 and not hold.keywords else None
    if hold.function != "pyautogui.hold" or not isinstance(keys, (str, list, tuple)):
        raise reader.fail(statement, "only `with pyautogui.hold(...)` is read")
    held = [keys] if isinstance(keys, str) else list(keys)
    reader.calls += [Call("pyautogui.keyDown", (key,), {}, hold.position) for key in held]
    _read_block(reader, statement.body)
    reader.calls += [Call("pyautogui.keyUp", (key,), {}, hold.position) for key in reversed(held)]


def _range(reader: _Reader, node: ast.expr) -> range:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range" and not node.keywords:
        values = [_value(reader, argument) for argument in node.args]
        if 1 <= len(values) <= 3 and all(type(value) is int for value in values) and (len(values) < 3 or values[2] != 0):
            return range(*values)
    raise reader.fail(node, "a loop must go over range(...) with whole numbers")


def _assign(reader: _Reader, target: ast.expr, value: ast.expr) -> None:
    if _is_of_pyautogui(target) and target.attr in _SETTINGS:
        return
    found = _value(reader, value)
    if isinstance(target, ast.Name):
        reader.names[target.id] = found
        return
    if isinstance(target, ast.Tuple) and isinstance(found, (tuple, list)) and len(found) == len(target.elts):
        for name, part in zip(target.elts, found, strict=True):
            if not isinstance(name, ast.Name):
                raise reader.fail(name, "only names can be assigned to")
            reader.names[name.id] = part
        return
    raise reader.fail(target, "only names can be assigned to")


def _value(reader: _Reader, node: ast.expr) -> Any:
    """A plain value: a text, a number, a name for one, a list of them, a sum of them."""
    if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, (str, int, float))):
        return node.value
    if isinstance(node, (ast.List, ast.Tuple)):
        values = [_value(reader, element) for element in node.elts]
        if any(isinstance(value, list) for value in values):
            raise reader.fail(node, "a list of lists is no plain value")
        return values
    if isinstance(node, ast.Name) and node.id in reader.names:
        return reader.names[node.id]
    if _is_of_pyautogui(node):
        return _of_pyautogui(reader, node)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _value(reader, node.operand)
        if _is_number(value):
            return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        return _combined(reader, node)
    if isinstance(node, ast.Subscript):
        values, index = _value(reader, node.value), _value(reader, node.slice)
        if isinstance(values, (list, tuple)) and type(index) is int and -len(values) <= index < len(values):
            return values[index]
    if isinstance(node, ast.Name):
        raise reader.fail(node, f"the name {node.id[:40]!r} has no value")
    raise reader.fail(node, f"{_called(node)} is no plain value")


def _is_of_pyautogui(node: ast.expr) -> TypeGuard[ast.Attribute]:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "pyautogui"


def _of_pyautogui(reader: _Reader, node: ast.Attribute) -> str | None:
    """The name of a button (pyautogui.RIGHT); None for how the pointer gathers speed (pyautogui.easeInQuad), which means nothing
    here."""
    if node.attr in _BUTTONS:
        return node.attr.lower()
    if node.attr == "linear" or node.attr.startswith("ease"):
        return None
    raise reader.fail(node, f"pyautogui.{node.attr[:40]} is no plain value")


def _combined(reader: _Reader, node: ast.BinOp) -> Any:
    left, right = _value(reader, node.left), _value(reader, node.right)
    if isinstance(left, str) and isinstance(right, str) and isinstance(node.op, ast.Add) and len(left) + len(right) <= LONGEST:
        return left + right
    if _is_number(left) and _is_number(right):
        operation = _OPERATIONS.get(type(node.op))
        try:
            if operation is not None and max(abs(left), abs(right)) <= _LARGEST:
                return operation(left, right)
        except (ZeroDivisionError, OverflowError) as error:
            raise reader.fail(node, f"this cannot be calculated: {error}") from None
    raise reader.fail(node, f"{_called(node)} is no plain value")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _called(node: ast.AST) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(node).__name__).lower()
