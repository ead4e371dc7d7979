"""Demonstrators by task name."""

from stepladder.envs.browser.oracles import (
    clicking,
    dragging,
    drawing,
    email,
    entering,
    forms,
    games,
    moving,
    visual,
    web,
)
from stepladder.envs.browser.oracles.screen import Oracle, OracleError, Screen, Turn

ORACLES: dict[str, Oracle] = {
    **clicking.ORACLES,
    **entering.ORACLES,
    **forms.ORACLES,
    **email.ORACLES,
    **web.ORACLES,
    **dragging.ORACLES,
    **drawing.ORACLES,
    **moving.ORACLES,
    **visual.ORACLES,
    **games.ORACLES,
}

__all__ = ["ORACLES", "Oracle", "OracleError", "Screen", "Turn"]
