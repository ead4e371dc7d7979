"""Answers of the server: JSON, and errors as JSON."""

from __future__ import annotations

import logging
from typing import Any

from starlette.responses import Response

from stepladder.store import StoreError
from stepladder.viewer.json_answers import encode
from stepladder.viewer.listing import BadQuery
from stepladder.viewer.pictures import NoPicture
from stepladder.viewer.run_view import Missing

_logger = logging.getLogger(__name__)


def json_answer(value: Any, status: int = 200) -> Response:
    """JSON that a browser asks for anew each time: files grow."""
    return Response(encode(value), status, {"Cache-Control": "no-store"}, "application/json")


def error_answer(status: int, kind: str, message: str) -> Response:
    return json_answer({"error": message, "kind": kind}, status)


def failure_answer(error: Exception) -> Response:
    """What an exception means to who asked; one that nobody foresaw goes into the log, and its text to nobody."""
    if isinstance(error, Missing):
        return error_answer(404, "missing", str(error))
    if isinstance(error, BadQuery):
        return error_answer(400, "bad_query", str(error))
    if isinstance(error, NoPicture):
        return error_answer(415, "no_picture", str(error))
    if isinstance(error, (StoreError, OSError)):
        _logger.warning("a file of a run could not be read: %s", error)
        return error_answer(500, "unreadable", f"a file of the run could not be read: {error}")
    _logger.error("the viewer failed in a way that it should not", exc_info=error)
    return error_answer(500, "server_error", f"a mistake of the server: {type(error).__name__}; its log says more")
