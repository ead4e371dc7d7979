"""A Ray cluster of several real raylets on this machine, each in a process group of its own, for tests in which they die.

python tests/ray_cluster.py 2,2,2 COMMAND ...    runs a command while there is one, its address in RAY_ADDRESS
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

#: Seconds in which a raylet must be up.
PATIENCE = 120.0


class RealCluster:
    """Machines, as Ray sees them, with `cpus` cores each; the first is the head. `inside` stands before the command of each, such
    as one that enters a network namespace; `addresses` are theirs."""

    def __init__(
        self,
        cpus: Sequence[int],
        addresses: Sequence[str] = (),
        inside: Sequence[Sequence[str]] = (),
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
        self.cpus, self.addresses = cpus, addresses or ["127.0.0.1"] * len(cpus)
        self.inside = inside or [[]] * len(cpus)
        token = self.directory / "token"
        token.write_text(secrets.token_hex(16))
        self.environment = {
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_timeout_ms": "2000",
            "RAY_health_check_failure_threshold": "8",
            "PYTHONPATH": str(Path(__file__).parent),
        }
        self.port = _free_port(self.addresses[0])
        self.address = f"{self.addresses[0]}:{self.port}"
        self.nodes: list[subprocess.Popen[bytes] | None] = [None] * len(cpus)
        for number in range(len(cpus)):
            self.start(number)

    def start(self, number: int) -> None:
        """Begin a machine; 0 is the head."""
        where = ["--head", f"--port={self.port}", "--include-dashboard=false"] if number == 0 else [f"--address={self.address}"]
        command = [*self.inside[number], sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *where]
        command += [f"--num-cpus={self.cpus[number]}", f"--node-ip-address={self.addresses[number]}", "--disable-usage-stats"]
        command += ["--object-store-memory=200000000"]
        if number == 0:
            command.append(f"--temp-dir={self.directory}/t")
        with (self.directory / f"node-{number}.log").open("wb") as log:
            self.nodes[number] = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        until = time.monotonic() + PATIENCE
        while not self._up(number):
            if time.monotonic() > until or self.nodes[number].poll() is not None:  # type: ignore[union-attr]
                raise RuntimeError(f"raylet {number} does not start: {(self.directory / f'node-{number}.log').read_text()[-2000:]}")
            time.sleep(0.2)

    def raylet(self, number: int) -> int:
        """The process id of a machine's raylet. Raises LookupError."""
        for pid in self.processes(number):
            if _command(pid).partition("\0")[0].endswith("raylet/raylet"):
                return pid
        raise LookupError(f"machine {number} has no raylet")

    def processes(self, number: int) -> list[int]:
        """All processes of a machine's session that are alive."""
        node = self.nodes[number]
        return [] if node is None else [pid for pid in _pids() if _session(pid) == node.pid]

    def kill(self, number: int) -> None:
        """Take a machine away at once: every process of it."""
        for pid in self.processes(number):
            _signal(pid, signal.SIGKILL)
        node = self.nodes[number]
        if node is not None:
            node.wait()
        self.nodes[number] = None

    def close(self) -> None:
        for number in reversed(range(len(self.cpus))):
            self.kill(number)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _up(self, number: int) -> bool:
        return b"Ray runtime started" in (self.directory / f"node-{number}.log").read_bytes()


@contextmanager
def cluster(cpus: Sequence[int], addresses: Sequence[str] = (), inside: Sequence[Sequence[str]] = ()) -> Iterator[RealCluster]:
    made = RealCluster(cpus, addresses, inside)
    try:
        yield made
    finally:
        made.close()


def _free_port(address: str) -> int:
    with socket.socket() as free:
        free.bind((address, 0))
        return int(free.getsockname()[1])


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


if __name__ == "__main__":
    with cluster([int(cores) for cores in sys.argv[1].split(",")]) as made:
        ended = subprocess.run(sys.argv[2:], env={**made.environment, "RAY_ADDRESS": made.address})
    raise SystemExit(ended.returncode)
