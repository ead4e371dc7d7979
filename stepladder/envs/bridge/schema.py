"""The bridge's routes as an OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_EPISODE = {"type": "string", "minLength": 1, "description": "as /reset gave it"}
_PICTURE = {
    "type": "string",
    "enum": ["base64", "reference"],
    "description": "whether the answer holds the picture, or only its SHA-256, whose bytes /screenshot/{episode_id}/{sha256} gives",
}
_OBSERVATION = {
    "type": "object",
    "required": ["instruction", "observation"],
    "properties": {
        "instruction": {"type": "string"},
        "screenshot_base64": {"type": ["string", "null"], "description": "a PNG file"},
        "accessibility_tree": {"type": ["string", "null"], "description": "XML as OSWorld's server gives it"},
        "terminal": {"type": ["string", "null"], "description": "output of functions, text of dialogs"},
        "observation": {"type": "object", "description": "the whole observation in Stepladder's form"},
    },
}
_ERROR = {
    "type": "object",
    "required": ["error", "kind"],
    "properties": {
        "error": {"type": "string"},
        "kind": {
            "type": "string",
            "enum": [
                *("bad_request", "unauthorised", "forbidden", "unknown_episode", "unknown_picture", "too_large"),
                *("full", "env_error", "timeout"),
            ],
        },
    },
}
_STATUSES = {
    "400": "the request is not what it should be",
    "401": "the token is missing or wrong",
    "403": "without a token, only programs of the server's own machine are answered",
    "404": "there is no such episode or picture",
    "413": "the request is too large",
    "502": "the environment broke; the episode is over and has no reward",
    "503": "as many episodes as there may be are running",
    "504": "the environment did not answer in time; the episode is over and has no reward",
}
_ACTION = {
    "oneOf": [
        {"type": "string", "description": "pyautogui lines, which are parsed and never run, or WAIT, DONE, FAIL"},
        {"type": "object", "description": "an action in Stepladder's form", "required": ["kind"]},
    ]
}


def openapi(token: bool, others: Mapping[str, Any]) -> dict[str, Any]:
    """The document, with the paths of other faces too; with `token` every route wants one."""
    step = {
        **_OBSERVATION,
        "required": [*_OBSERVATION["required"], "reward", "done", "step", "info"],
        "properties": {
            **_OBSERVATION["properties"],  # type: ignore[dict-item]
            "reward": {"type": "number", "description": "always 0: /evaluate grades"},
            "done": {"type": "boolean"},
            "step": {"type": "integer"},
            "info": {"type": "object"},
        },
    }
    reset = {
        **_OBSERVATION,
        "required": [*_OBSERVATION["required"], "episode_id", "task"],
        "properties": {
            **_OBSERVATION["properties"],  # type: ignore[dict-item]
            "episode_id": {"type": "string"},
            "task": {"type": "object"},
            "lease": {"type": "number", "description": "seconds until the episode ends unless a call renews it"},
            "deadlines": {"type": "object", "description": "seconds that /step and /evaluate may take in this episode"},
        },
    }
    return document({**_looking(), **_playing(reset, step), **others}, token)


def document(paths: Mapping[str, Any], token: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"openapi": "3.1.0", "info": {"title": "Stepladder environments", "version": "1"}, "paths": dict(paths)}
    if token:
        schemes = {"token": {"type": "http", "scheme": "bearer"}, "password": {"type": "http", "scheme": "basic"}}
        found["components"] = {"securitySchemes": schemes}
        found["security"] = [{name: []} for name in schemes]
    return found


def _looking() -> dict[str, Any]:
    health = {"type": "object", "required": ["status", "episodes", "capacity"]}
    return {
        "/health": {"get": route("How many episodes run", health, ())},
        "/tasks": {"get": route("The tasks that can be asked for by id", {"type": "object", "required": ["tasks"]}, ())},
        "/openapi.json": {"get": route("This document", {"type": "object"}, ())},
        "/screenshot/{episode_id}/{sha256}": {"get": _picture()},
    }


def _playing(reset: dict[str, Any], step: dict[str, Any]) -> dict[str, Any]:
    """The routes of an episode, with what /reset and /step answer."""
    of_episode, broken = {"episode_id": _EPISODE}, ("400", "404", "413", "502", "504")
    grade = {"type": "object", "required": ["reward"], "properties": {"reward": {"type": "number", "minimum": 0, "maximum": 1}}}
    start = {
        "task": {"type": ["string", "object"], "description": "an id, or a whole task"},
        "seed": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
        "screenshot": _PICTURE,
        "episode_id": {
            "type": "string",
            "pattern": "^[0-9a-f]{32}$",
            "description": "what the episode is to be called, so that it can be closed even when no answer comes",
        },
    }
    act = {**of_episode, "action": _ACTION, "pause": {"type": "number", "minimum": 0, "maximum": 10}, "screenshot": _PICTURE}
    return {
        "/reset": post("Start an episode", reset, ("400", "404", "413", "502", "503", "504"), start, ("task",)),
        "/step": post("Act", step, broken, act, ("episode_id", "action")),
        "/render": post("Look again", _OBSERVATION, broken, {**of_episode, "screenshot": _PICTURE}, ("episode_id",)),
        "/evaluate": post("Grade the state reached", grade, broken, of_episode, ("episode_id",)),
        "/heartbeat": post("Renew the lease", {"type": "object"}, ("400", "404", "413"), of_episode, ("episode_id",)),
        "/close": post("End an episode", {"type": "object"}, ("400", "404", "413"), of_episode, ("episode_id",)),
    }


def route(summary: str, answer: dict[str, Any], errors: tuple[str, ...]) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": "as asked", "content": {"application/json": {"schema": answer}}}}
    for status in ("401", "403", *errors):
        responses[status] = {"description": _STATUSES[status], "content": {"application/json": {"schema": _ERROR}}}
    return {"summary": summary, "responses": responses}


def post(
    summary: str, answer: dict[str, Any], errors: tuple[str, ...], fields: dict[str, Any], required: tuple[str, ...]
) -> dict[str, Any]:
    body = {"type": "object", "required": list(required), "properties": fields}
    found = route(summary, answer, errors)
    return {"post": {**found, "requestBody": {"required": True, "content": {"application/json": {"schema": body}}}}}


def _picture() -> dict[str, Any]:
    found = route("A screenshot", {}, ("404",))
    found["responses"]["200"] = {"description": "a PNG file", "content": {"image/png": {}}}
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": f"^[0-9a-f]{{{digits}}}$"}}
        for name, digits in (("episode_id", 32), ("sha256", 64))
    ]
    return {**found, "parameters": parameters}
