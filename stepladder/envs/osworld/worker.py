"""The other side of `apart`: a process that does one piece of work within limits and says what came of it, as JSON.

    python -m stepladder.envs.osworld.worker SECONDS BYTES package.module:function < arguments

The arguments are pickled, and come from the process that started this one; nothing pickled goes back, since what is read here may
be made to do harm.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import resource
import sys
from typing import Any

from stepladder import plugins
from stepladder.envs.osworld.lacking import Lacks
from stepladder.interfaces import EnvironmentFailure


def main() -> None:
    seconds, memory, work = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    arguments = pickle.load(sys.stdin.buffer)
    answers = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no answer
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    with open(answers, "w") as file:
        json.dump(_answer(work, arguments), file)


def _answer(work: str, arguments: tuple[Any, ...]) -> dict[str, Any]:
    try:
        found = plugins.load(work, {}, "work")(*arguments)
    except Lacks as error:
        return {"lacks": [error.what, error.hint]}
    except EnvironmentFailure as error:
        return {"failed": str(error)}
    except MemoryError:
        return {"memory": True}
    except Exception as error:
        return {"failed": f"{work}: {type(error).__name__}: {error}"}
    return {"bytes": base64.b64encode(found).decode()} if isinstance(found, bytes) else {"result": found}


if __name__ == "__main__":
    main()
