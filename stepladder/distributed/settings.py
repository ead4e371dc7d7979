"""Where the parts of a run are placed. Needs no Ray."""

from __future__ import annotations

from dataclasses import dataclass

from stepladder.config import ConfigError

#: Addresses that are no machine's.
OFF, LOCAL, AUTO = "off", "local", "auto"


@dataclass(frozen=True)
class RaySettings:
    """`address`: "off" (everything in this process), "local" (a cluster of this machine alone, which ends with the run), "auto"
    (the cluster that this machine belongs to, see `ray start`) or HOST:PORT of one.

    `workers` processes play episodes, each as many at a time as the run says, and take `worker_cpus` cores each; `replicas`
    processes hold the model that is sampled from, with `replica_cpus` cores and `replica_gpus` GPUs each. Workers and replicas are
    spread over the machines. Each is asked every `heartbeat` seconds whether it is well; one that says nothing for `silence`
    seconds is ended and begun anew, and one that does not come up within `gone` seconds is done without, as long as another one is
    left. A cluster must find room for all of them within `patience` seconds. With `share_files` a
    process that sees the run's own directory reads and writes pictures there; others have directories of their own, and pictures
    travel."""

    address: str = OFF
    workers: int = 2
    replicas: int = 1
    worker_cpus: float = 1.0
    replica_cpus: float = 1.0
    replica_gpus: float = 0.0
    heartbeat: float = 5.0
    silence: float = 60.0
    patience: float = 120.0
    gone: float = 900.0
    share_files: bool = True

    @property
    def on(self) -> bool:
        """Whether anything is placed in another process."""
        return self.address != OFF

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        host, colon, port = self.address.rpartition(":")
        if self.address not in (OFF, LOCAL, AUTO) and not (host and colon and port.isdigit()):
            raise ConfigError(f"ray.address is {self.address!r}; it must be off, local, auto or HOST:PORT")
        for name in ("workers", "replicas"):
            if getattr(self, name) < 1:
                raise ConfigError(f"ray.{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("worker_cpus", "replica_cpus", "replica_gpus"):
            if getattr(self, name) < 0:
                raise ConfigError(f"ray.{name} is {getattr(self, name)}; it must be at least 0")
        for name in ("heartbeat", "silence", "patience", "gone"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"ray.{name} is {getattr(self, name)}; it must be above 0")
