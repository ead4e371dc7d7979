"""Mistakes of the user: the message alone says what is wrong, where, and what would be right.

The command line prints such an error as one line. Any other exception is a mistake of the program and keeps its traceback.
"""

from __future__ import annotations


class UserError(Exception):
    """The base of all errors that a user can put right."""


class TaskError(UserError, ValueError):
    """Tasks that cannot be had as asked; the message names the task set, or the file and its line."""


class NotConforming(UserError):
    """A plug-in that breaks its contract; the message says which part, and with what."""
