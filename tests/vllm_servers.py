"""A real vLLM server on loopback for tests; `STEPLADDER_VLLM` names its program `vllm`, which `make test-vllm` installs."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

#: Seconds that it may take to come up.
START = 600.0


@dataclass(frozen=True)
class Started:
    """Where it is, the key that it wants, and what it has said."""

    url: str
    token: str
    log: Path


@contextmanager
def vllm_server(
    checkpoint: Path, log: Path, context: int, options: Sequence[str] = (), variables: Mapping[str, str] | None = None
) -> Iterator[Started]:
    """vLLM with `checkpoint`, called "small"; it computes in float32 and ends with the block."""
    program = os.environ.get("STEPLADDER_VLLM")
    if program is None:
        pytest.fail("STEPLADDER_VLLM must name vLLM's program `vllm`; `make test-vllm` installs it and says so")
    token = secrets.token_urlsafe(16)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "serve", str(checkpoint), "--host", "127.0.0.1", "--port", str(port), "--api-key", token]
    command += ["--served-model-name", "small", "--dtype", "float32", "--max-model-len", str(context), "--enforce-eager"]
    command += ["--limit-mm-per-prompt", '{"image": 4, "video": 0}', "--logprobs-mode", "processed_logprobs"]
    command += ["--generation-config", "vllm", *options]
    given = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", **(variables or {})}
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env={**os.environ, **given}, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_up(process, url, log)
        yield Started(url, token, log)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def _wait_until_up(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + START
    while True:
        try:
            httpx.get(f"{url}/health").raise_for_status()
            return
        except httpx.HTTPError:
            if process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"vLLM does not come up:\n{log.read_text()[-6000:]}")
            time.sleep(0.5)
