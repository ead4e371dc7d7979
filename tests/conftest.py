"""How many examples hypothesis tries: 200, or 10,000 at night (`HYPOTHESIS_PROFILE=nightly`). What was loaded for all tests is kept
out of Python's search for garbage, which would go through it hundreds of times."""

from __future__ import annotations

import gc
import os

from hypothesis import settings

settings.register_profile("ci", max_examples=200, deadline=None)
settings.register_profile("nightly", max_examples=10_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_sessionstart() -> None:
    gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()
