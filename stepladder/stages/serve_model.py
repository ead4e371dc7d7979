"""Serve a checkpoint as an OpenAI-compatible chat server.

    stepladder serve runs/demo/sft/checkpoint         # prints the address and the token that every call must carry

and where it is asked, with OPENAI_API_KEY set to the token:

    stepladder eval --policy openai:http://127.0.0.1:8000 --tasks miniwob@demo
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from stepladder.addresses import is_loopback
from stepladder.config import ConfigError, to_dict
from stepladder.images import ImageStore
from stepladder.models.half_linear import halve_linear_weights
from stepladder.policies.chat_server import ChatSettings, make_chat_app
from stepladder.policies.engine import Engine
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.listening import listen, serve
from stepladder.stages.local_policy import load_policy
from stepladder.train.devices import AUTOMATIC, check_device, device_of

#: The environment variable that may hold the token.
TOKEN = "STEPLADDER_MODEL_TOKEN"


@dataclass(frozen=True)
class ServeModelConfig:
    """The model of `checkpoint` at http://`host`:`port`/v1, called `name` (None: the name of the directory).

    `token` None takes that of the environment variable STEPLADDER_MODEL_TOKEN, or makes one; "none" wants none, which is refused
    for addresses that other machines reach. `context` bounds prompt and reply together, in tokens (None: what the model allows),
    `max_batch` replies are written at once, and of more than `capacity` requests the rest is told to come back later. `device` is
    that of `train.devices`, and with `bf16` it computes in bfloat16, in half of the memory.
    """

    checkpoint: Path = Path()
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    name: str | None = None
    context: int | None = None
    max_batch: int = 64
    capacity: int = 256
    device: str = AUTOMATIC
    bf16: bool = False

    def check(self) -> None:
        """Raises ConfigError for what cannot be, or should not."""
        check_device(self.device)
        if not 0 < self.port < 65536:
            raise ConfigError(f"port is {self.port}; it must be 1 to 65535")
        for name in ("context", "max_batch", "capacity"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; it must be at least 1")
        if self.token == "none" and not is_loopback(self.host):
            raise ConfigError(
                f"token is 'none' and host {self.host!r} is reached by other machines: whoever comes could use the model"
            )
        if not self.checkpoint.is_dir():
            raise ConfigError(f"checkpoint: {self.checkpoint} is no directory")


def main(config: ServeModelConfig) -> None:
    """Serve until interrupted. Raises ConfigError."""
    config.check()
    sockets = listen(config.host, config.port)
    images = ImageStore()
    model, renderer = load_policy(config.checkpoint, images, device_of(config.device))
    if config.bf16:
        halve_linear_weights(model)
    token = None if config.token == "none" else config.token or os.environ.get(TOKEN) or secrets.token_urlsafe(24)
    name = config.name or config.checkpoint.resolve().name
    engine = Engine(model, renderer, max_batch=config.max_batch, context=config.context, autocast=config.bf16)
    console = Console(stderr=True)
    console.print(f"{name} at http://{config.host}:{config.port}/v1, {engine.context} tokens of context", highlight=False)
    console.print(f"token: {token}" if token else "[bold]without a token: whoever reaches this address can use the model[/bold]")
    try:
        agent = to_dict(AgentOptions.of_checkpoint(config.checkpoint))
        app = make_chat_app(engine, images, ChatSettings(name, token, config.capacity, agent))
        serve(app, sockets)
    finally:
        engine.close()
