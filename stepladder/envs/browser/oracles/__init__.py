"""Demonstrators by task name."""

from stepladder.envs.browser.oracles import clicking, email, typing, web
from stepladder.envs.browser.oracles.screen import Oracle, OracleError, Screen, Turn

ORACLES: dict[str, Oracle] = {**clicking.ORACLES, **typing.ORACLES, **email.ORACLES, **web.ORACLES}

__all__ = ["ORACLES", "Oracle", "OracleError", "Screen", "Turn"]
