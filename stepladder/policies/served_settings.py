"""A vLLM or SGLang server that samples for a model that learns here: where it is, and opening it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transformers import Qwen3VLForConditionalGeneration

from stepladder.config import ConfigError
from stepladder.models.renderer import Renderer
from stepladder.policies.http import ApiClient, CallLimits, PolicyFailure
from stepladder.policies.served_engine import ServedEngine
from stepladder.policies.served_sglang import Sglang
from stepladder.policies.served_vllm import Vllm
from stepladder.policies.served_weights import WeightFiles
from stepladder.policies.server_control import ServerControl

SERVERS: Mapping[str, type[Vllm] | type[Sglang]] = {"vllm": Vllm, "sglang": Sglang}


@dataclass(frozen=True)
class ServedEngineSettings:
    """Where the server is and how it gets new weights.

    kind          "vllm" or "sglang"
    url           such as http://127.0.0.1:8000
    key_variable  the environment variable with the key that the server was started with; it may be unset
    model         what the server calls the model; default: the only one that it has
    update        "weights": all of them; "lora": adapters, for a model that has some
    directory     where they are written, at the same path on this machine and the server's; /dev/shm is shared memory
    bfloat16      full weights are written in bfloat16, which halves them; of use where the server computes in it anyway
    concurrency   requests at once
    deadline      seconds that a reply, or one step of an update, may take
    lost_contact  seconds after which a server that takes no connection any more is given up
    """

    kind: Literal["vllm", "sglang"] = "vllm"
    url: str = ""
    key_variable: str = "STEPLADDER_ENGINE_KEY"
    model: str | None = None
    update: Literal["lora", "weights"] = "weights"
    directory: Path | None = None
    bfloat16: bool = False
    concurrency: int = 64
    deadline: float = 1800.0
    lost_contact: float = 60.0

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        if self.kind not in SERVERS:
            raise ConfigError(f"kind is {self.kind!r}; it must be one of {', '.join(SERVERS)}")
        if not self.url.startswith(("http://", "https://")):
            raise ConfigError(f"url is {self.url!r}; it must be the server's address, such as http://127.0.0.1:8000")
        if self.update not in ("lora", "weights"):
            raise ConfigError(f"update is {self.update!r}; it must be 'lora' or 'weights'")
        if self.directory is None:
            raise ConfigError("directory is not set; name one that this machine and the server see at the same path")
        if self.bfloat16 and self.update == "lora":
            raise ConfigError("bfloat16 is for update='weights'; adapters are small")
        for name in ("concurrency", "deadline", "lost_contact"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be above 0")


def open_served_engine(
    settings: ServedEngineSettings, model: Qwen3VLForConditionalGeneration, renderer: Renderer, *, version: int = 0
) -> ServedEngine:
    """An engine over the server, which must be up and have the weights of `model` as they are now; where it has others, call
    `update_weights` before anything else. Not to be called within an event loop that must not wait.

    Raises ConfigError for settings that cannot be, PolicyFailure when the server does not answer, or lacks what is needed.
    """
    settings.check()
    assert settings.directory is not None
    key = os.environ.get(settings.key_variable, "").strip()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    url = settings.url.rstrip("/").removesuffix("/v1")
    name = f"{settings.kind} at {url}"
    limits = CallLimits(
        deadline=settings.deadline,
        silence=settings.deadline,
        concurrency=settings.concurrency,
        lost_contact=settings.lost_contact,
    )
    client = ApiClient(name, url, headers, secret=key or None, limits=limits)
    control = ServerControl(name, url, headers, key or None, settings.deadline)
    files = WeightFiles(settings.directory, model, settings.update, settings.bfloat16)
    server, adapters = SERVERS[settings.kind](), settings.update == "lora"
    listed = [one for one in control.models() if not one.get("parent")]
    chosen = [one for one in listed if settings.model in (None, one.get("id"))]
    if len(chosen) != 1:
        named = ", ".join(str(one.get("id")) for one in listed) or "it lists none"
        raise PolicyFailure(f"{name} has {len(listed)} models ({named}); model must be one of them and is {settings.model!r}")
    if chosen[0].get("owned_by") not in (None, server.owner):
        raise PolicyFailure(f"{url} is a server of {chosen[0]['owned_by']!r} and kind is {settings.kind!r}")
    for probe in server.probes(adapters):
        control.probe(probe)
    largest = int(model.config.text_config.max_position_embeddings)
    context = min(largest, int(chosen[0].get("max_model_len") or largest))
    served = str(chosen[0]["id"])
    return ServedEngine(
        server, client, control, files, model, renderer, served_name=served, adapters=adapters, context=context, version=version
    )
