"""Calls that change a server: each is made once, for what a second one would do is not known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from stepladder.policies.answers import rejection
from stepladder.policies.http import PolicyFailure
from stepladder.policies.served_protocol import Probe, Step


class ServerControl:
    """Changes the server at `url`, which errors call `name`. A call may take `deadline` seconds. `secret` stays out of messages."""

    def __init__(self, name: str, url: str, headers: Mapping[str, str], secret: str | None, deadline: float) -> None:
        self.name, self.url = name, url
        self._headers, self._secret = dict(headers), secret
        self._timeout = httpx.Timeout(deadline, connect=min(15.0, deadline))
        self._verify = httpx.create_ssl_context() if url.startswith("https:") else False

    async def take(self, step: Step) -> Any:
        """The answer to a step: JSON where it is some, else text. Raises PolicyFailure that names the server and the step."""
        transport = httpx.AsyncHTTPTransport(verify=self._verify, retries=2)  # of the connection alone
        try:
            async with httpx.AsyncClient(headers=self._headers, timeout=self._timeout, transport=transport) as client:
                answer = await client.post(f"{self.url}{step.path}", json=step.body, params=dict(step.query))
        except httpx.HTTPError as error:
            raise PolicyFailure(self._failed(step, f"{type(error).__name__} {error}".strip())) from None
        said = _content(answer)
        if not answer.is_success:
            raise PolicyFailure(self._failed(step, str(rejection(answer.status_code, said, None))))
        if isinstance(said, dict) and said.get("success") is False:
            raise PolicyFailure(self._failed(step, str(said.get("message") or said.get("error_message") or "it says no")))
        return said

    def models(self) -> list[dict[str, Any]]:
        """What /v1/models lists. Raises PolicyFailure."""
        said = self._ask("/v1/models", None)
        listed = said[1].get("data") if isinstance(said[1], dict) else None
        if said[0] != 200 or not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            raise PolicyFailure(f"{self.name} does not list its models: {rejection(said[0], said[1], None)}")
        return listed

    def probe(self, probe: Probe) -> None:
        """Raises PolicyFailure that says how the server is to be started."""
        status, _ = self._ask(probe.path, probe.body)
        if status in probe.lacking:
            raise PolicyFailure(f"{self.name}: {probe.otherwise}")

    def _ask(self, path: str, body: Mapping[str, Any] | None) -> tuple[int, Any]:
        """(status, content) of a GET, or of a POST of `body`, from outside an event loop."""
        try:
            transport = httpx.HTTPTransport(verify=self._verify, retries=3)
            with httpx.Client(headers=self._headers, timeout=60.0, transport=transport) as client:
                url = f"{self.url}{path}"
                answer = client.get(url) if body is None else client.post(url, json=body)
        except httpx.HTTPError as error:
            raise PolicyFailure(f"{self.name} does not answer: {type(error).__name__} {error}".strip()) from None
        return answer.status_code, _content(answer)

    def _failed(self, step: Step, why: str) -> str:
        why = why.replace(self._secret, "***") if self._secret else why
        return f"{self.name}: could not {step.does} (POST {step.path}): {why}"


def _content(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return answer.text
