"""Runs one program of a model, inside the sandbox: it is never imported, `stepladder.verifiers.sandbox` hands its text to a Python
of its own. Standard input has the request, standard output gets "ready" and then the results, each as JSON in a line.

The program learns the arguments of its calls and never what they should give: that is compared outside.
"""

import bisect
import collections
import datetime
import functools
import heapq
import itertools
import json
import math
import operator
import os
import re
import resource
import string
import sys
from typing import Any

#: What a program may import: all that is loaded here, since nothing can be opened any more once it runs.
MODULES = (bisect, collections, datetime, functools, heapq, itertools, json, math, operator, re, string)
LONGEST_ERROR = 200


def limit(cpu: int, memory: int) -> None:
    """From here on: so many seconds of processor time and bytes of memory, no new file, socket or process."""
    for name, value in (
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 0),
    ):
        resource.setrlimit(name, (value, value))


def function_of(request: dict[str, Any]) -> Any:
    """What is called: the function that the program defines, or its expression as one."""
    space: dict[str, Any] = {"__name__": "program"}
    if request["form"] == "expression":
        names = ", ".join(request["parameters"])
        compile(request["program"], "answer", "eval")  # an expression by itself, or what follows would be a part of another
        return eval(compile(f"lambda {names}: (\n{request['program']}\n)", "answer", "eval"), space)
    exec(compile(request["program"], "answer", "exec"), space)
    return space[request["name"]]


def call(function: Any, arguments: list[Any]) -> list[Any]:
    """["value", what came back] or ["error", what went wrong]; what JSON cannot say is an error."""
    try:
        value = function(*arguments)
        json.dumps(value)
        return ["value", value]
    except Exception as error:
        return ["error", f"{type(error).__name__}: {error}"[:LONGEST_ERROR]]


def main() -> None:
    request = json.loads(sys.stdin.buffer.read())
    channel, nothing = os.dup(1), os.open("/dev/null", os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.close(nothing)
    limit(request["cpu"], request["memory"])
    os.write(channel, b"ready\n")
    try:
        function = function_of(request)
    except Exception as error:
        results = [["error", f"{type(error).__name__}: {error}"[:LONGEST_ERROR]]]
    else:
        results = [call(function, arguments) for arguments in request["calls"]]
    left = json.dumps(results).encode() + b"\n"
    while left:
        left = left[os.write(channel, left) :]
    os._exit(0)


if __name__ == "__main__":
    main()
