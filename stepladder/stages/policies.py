"""Policies by what a user writes: a baseline, a checkpoint, a server, an API, a class.

random, idle, give_up,       the baselines (which only an evaluation plays)
oracle
CHECKPOINT, local:CHECKPOINT a checkpoint directory, in this process
eft:LARGE,TUNED,SMALL        emulated fine-tuning over three checkpoint directories (`policies.emulated`); with #1.5 its scale
openai:URL, openai:URL#MODEL an OpenAI-compatible chat server: vLLM, SGLang, `stepladder serve`
anthropic:MODEL              Anthropic's Messages API with the computer tool
openai-responses:MODEL       OpenAI's Responses API with the computer tool
package.module:Class         a class of one's own, constructed with the agent alone
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from stepladder.agents.setup import AgentSetup, Given, set_up
from stepladder.codec import from_json
from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.interfaces import Agent, Policy
from stepladder.plugins import load
from stepladder.policies import policy_class
from stepladder.policies.budget import Budget, Meter
from stepladder.stages.agent_options import QWEN, REPLY_TOKENS, AgentOptions
from stepladder.types import Completion, Message, Prompt, Sampling

BASELINES = ("random", "idle", "give_up", "oracle")
#: Loads a checkpoint directory; named here and not imported, so that everything else works where PyTorch is not installed.
LOCAL_POLICY = "stepladder.stages.local_policy:open_checkpoint"
EMULATED_POLICY = "stepladder.stages.emulated_policy:open_emulated"
EMULATED = "eft"
#: Names of other files in the directory of a run; with those of the baselines no checkpoint's results are called so.
TAKEN = ("config", "environment", "metrics", "phases", "report", "run")
Kind = Literal["baseline", "checkpoint", "emulated", "openai", "anthropic", "openai-responses", "class"]
#: Policies of servers, loaded when they are asked for: they need httpx.
SERVERS: Mapping[str, str] = {
    "openai": "stepladder.policies.openai_chat:OpenAIChatPolicy",
    "anthropic": "stepladder.policies.anthropic:AnthropicPolicy",
    "openai-responses": "stepladder.policies.openai_responses:OpenAIResponsesPolicy",
}
CALL_LIMITS = "stepladder.policies.http:CallLimits"
SERVED_AGENT = "stepladder.policies.openai_chat:served_agent"
#: The dialect of what speaks only one.
DIALECTS: Mapping[str, str] = {"anthropic": "anthropic", "openai-responses": "openai_computer"}
QWEN_DIALECT = "qwen_vl"
#: Longest reply in tokens of a dialect that is not Stepladder's own; models with the computer tool think before they act.
OTHER_REPLY_TOKENS, TOOL_REPLY_TOKENS = 256, 4096


@dataclass(frozen=True)
class ApiOptions:
    """How servers are called. One start of a command makes at most `calls`, uses at most `tokens` and spends at most `dollars`,
    counted with `prices`, in dollars for a million tokens by the names of `Completion.usage`. `concurrency` calls are made at once,
    each may take `deadline` seconds with all attempts. With `stream` replies come piece by piece. `image_token` is the id of the
    placeholder of pictures, which vLLM's prompts need to be trained on. `extra` are further fields of every request."""

    calls: int | None = None
    tokens: int | None = None
    dollars: float | None = None
    prices: Mapping[str, float] = field(default_factory=dict)
    concurrency: int = 16
    deadline: float = 600.0
    stream: bool = False
    image_token: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    #: Settings that change what a run may spend and how long it takes, and not its outcome.
    FREE = ("calls", "tokens", "dollars", "prices", "concurrency", "deadline", "stream")

    def meter(self) -> Meter:
        """Raises ConfigError."""
        try:
            return Meter(Budget(self.calls, self.tokens, self.dollars), self.prices)
        except ValueError as error:
            raise ConfigError(f"api: {error}") from error


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """What a user wrote, taken apart: `target` is a baseline's name, a directory, three of them with commas between, an address, a
    model or a dotted path; `model` is what stands after "#"; `name` is what episodes are called, and the files they are in."""

    kind: Kind
    target: str
    model: str | None
    name: str


def read_policy(policy: str) -> PolicySpec:
    """Raises ConfigError for a server without an address or a model, and for an emulation that is not of three checkpoints."""
    if policy in BASELINES:
        return PolicySpec("baseline", policy, None, policy)
    prefix, colon, rest = policy.partition(":")
    if colon and prefix in SERVERS and not Path(policy).is_dir():
        target, _, model = rest.partition("#") if prefix == "openai" else (rest, "", "")
        if not target:
            raise ConfigError(f"policy: write {prefix}:{'URL' if prefix == 'openai' else 'MODEL'}, not {policy!r}")
        address = re.sub(r"^https?://|/v1/?$|/$", "", target)
        name = re.sub(r"[^\w.-]+", "-", f"{prefix}-{address}{'-' + model if model else ''}")
        return PolicySpec(_server_kind(prefix), target, model or None, name)
    if colon and prefix == EMULATED and not Path(policy).is_dir():
        return _read_emulated(rest)
    if colon and prefix == "local":
        policy = rest
    elif colon and not Path(policy).is_dir():
        return PolicySpec("class", policy, None, policy.replace(":", "."))
    name = Path(policy).resolve().name
    taken = name.lower() in ("", *BASELINES, *TAKEN)
    return PolicySpec("checkpoint", policy, None, f"checkpoint-{name}" if taken else name)


def _read_emulated(written: str) -> PolicySpec:
    target, _, scale = written.partition("#")
    directories = target.split(",")
    if len(directories) != 3 or not all(directories):
        raise ConfigError(
            f"policy: write {EMULATED}:LARGE,TUNED,SMALL with three checkpoint directories, not {EMULATED}:{written!r}"
        )
    try:
        float(scale or 1)
    except ValueError:
        raise ConfigError(f"policy: {scale!r} after # is no number; it is the scale of the emulation, such as 1.5") from None
    names = "-".join(Path(one).resolve().name for one in directories)
    return PolicySpec("emulated", target, scale or None, f"{EMULATED}-{names}{'-' + scale if scale else ''}")


def _server_kind(prefix: str) -> Kind:
    return "openai" if prefix == "openai" else "anthropic" if prefix == "anthropic" else "openai-responses"


def policy_name(policy: str) -> str:
    """What episodes of a policy are called, and the files they are in: a baseline by its name, a server by its address, an API by
    its model, a class of one's own by its dotted path, a checkpoint by the name of its directory, with "checkpoint-" before it
    where that name means something else."""
    return read_policy(policy).name


def check_policy(policy: str) -> PolicySpec:
    """Raises ConfigError for what is not there, and PluginError for a class that is not."""
    spec = read_policy(policy)
    if spec.kind == "class":
        prefix = policy.partition(":")[0]
        near = difflib.get_close_matches(prefix, (*SERVERS, "local", EMULATED), n=1, cutoff=0.75)
        if near:
            raise ConfigError(f"policy: {prefix!r} is no kind of policy; did you mean {near[0]!r}?")
        policy_class(policy)
    elif spec.kind == "emulated":
        for directory in spec.target.split(","):
            if not Path(directory).is_dir():
                raise ConfigError(f"policy: {directory!r} of {policy!r} is no checkpoint directory")
    elif spec.kind == "checkpoint" and not Path(spec.target).is_dir():
        raise ConfigError(
            f"policy: {spec.target!r} is neither a checkpoint directory nor one of {', '.join(BASELINES)} "
            f"nor a class as package.module:Class, nor begins with one of {', '.join(f'{one}:' for one in (*SERVERS, EMULATED))}"
        )
    return spec


# ---------------------------------------------------------------------------------------------------------------- agents


def dialect_of(dialect: str | None, policy: str) -> str:
    """`dialect`, or for None the one that the policy speaks."""
    return dialect if dialect is not None else DIALECTS.get(read_policy(policy).kind, QWEN_DIALECT)


def agent_setup(
    policy: str,
    dialect: str | None = None,
    given: Mapping[str, Given] | None = None,
    history: int | None = None,
    observe: str | None = None,
) -> AgentSetup:
    """The agent that `policy` is asked through: `dialect`, or the one that the policy speaks, with the options `given` (see
    `agents.setup`); those of "qwen_vl" are otherwise what the checkpoint was trained with (which `stepladder serve` tells), or
    Qwen's own. `history` is the number of screenshots, `observe` what is shown. Raises ConfigError, PluginError, and PolicyFailure
    for a server that does not answer."""
    name = dialect_of(dialect, policy)
    defaults = asdict(_trained_with(policy)) if name == QWEN_DIALECT else {}
    return set_up(name, given, observe=observe, history=history, defaults=defaults)


@functools.lru_cache(maxsize=8)
def _served(url: str, model: str | None) -> AgentOptions:
    told = load(SERVED_AGENT, {}, "policy")(url, model)
    return QWEN if not told else from_json(AgentOptions, told, f"what {url} tells of its agent")


def _trained_with(policy: str) -> AgentOptions:
    spec = read_policy(policy)
    if spec.kind == "checkpoint":
        return AgentOptions.of_checkpoint(Path(spec.target))
    if spec.kind == "emulated":
        return AgentOptions.of_checkpoint(Path(spec.target.split(",")[1]))  # the one that was tuned for it
    return _served(spec.target, spec.model) if spec.kind == "openai" else QWEN


def build_agent(
    policy: str,
    dialect: str | None = None,
    given: Mapping[str, Given] | None = None,
    history: int | None = None,
    observe: str | None = None,
) -> Agent:
    """The agent of `agent_setup`. Raises what that raises."""
    return agent_setup(policy, dialect, given, history, observe).build()


def reply_tokens(policy: str, setup: AgentSetup) -> int:
    """How long a reply may become, in tokens, where nothing is said."""
    if setup.dialect == QWEN_DIALECT:
        return REPLY_TOKENS[setup.options["thought"]]
    return TOOL_REPLY_TOKENS if read_policy(policy).kind in DIALECTS else OTHER_REPLY_TOKENS


# -------------------------------------------------------------------------------------------------------------- policies


class _Called:
    """A policy under the name of its store."""

    def __init__(self, policy: Policy, name: str) -> None:
        self.name = name
        self._policy = policy

    @property
    def version(self) -> int:
        return self._policy.version

    async def generate(self, messages: tuple[Message, ...], sampling: Sampling) -> tuple[Prompt, Completion]:
        return await self._policy.generate(messages, sampling)

    async def close(self) -> None:
        close = getattr(self._policy, "close", None)
        if close is not None:
            await close()


@contextmanager
def open_policy(
    policy: str,
    images: ImageStore,
    agent: Agent | None = None,
    api: ApiOptions | None = None,
    meter: Meter | None = None,
    device: str = "auto",
) -> Iterator[tuple[Policy, Agent]]:
    """The policy, called by its `policy_name`, and its agent: `agent`, or the one that it was trained with or speaks. `meter`
    counts what calls of servers use (default: one of `api`). A checkpoint computes on `device` (`train.devices`).

    Raises ConfigError, PluginError, and what its class raises. A policy with a method `close` (a coroutine) has connections to be
    closed in the event loop that used it.
    """
    spec = check_policy(policy)
    agent = agent if agent is not None else build_agent(policy)
    if spec.kind == "baseline":
        raise ConfigError(f"policy: {policy!r} is a baseline, and no policy that can be asked")
    if spec.kind == "checkpoint":
        with load(LOCAL_POLICY, {}, "policy")(Path(spec.target), images, spec.name, agent, device) as (local, _):
            yield local, agent
    elif spec.kind == "emulated":
        directories = [Path(one) for one in spec.target.split(",")]
        with load(EMULATED_POLICY, {}, "policy")(directories, float(spec.model or 1), images, spec.name) as emulated:
            yield emulated, agent
    elif spec.kind == "class":
        yield _Called(policy_class(policy)(agent), spec.name), agent
    else:
        yield _server(spec, images, agent, api or ApiOptions(), meter), agent


def _server(spec: PolicySpec, images: ImageStore, agent: Agent, api: ApiOptions, meter: Meter | None) -> Policy:
    options: dict[str, Any] = {"name": spec.name, "stream": api.stream, "extra": api.extra}
    kind = load(SERVERS[spec.kind], {}, "policy")
    try:
        options["limits"] = load(CALL_LIMITS, {}, "limits")(deadline=api.deadline, concurrency=api.concurrency)
        options["meter"] = meter or api.meter()
        if spec.kind == "openai":
            opened: Policy = kind(spec.target, images, model=spec.model, image_token=api.image_token, **options)
            return opened
        if not hasattr(agent, "tool"):
            raise ConfigError(f"dialect: {spec.kind} declares the agent's computer tool, and {agent.name!r} has none; leave it out")
        opened = kind(spec.target, agent, images, **options)
    except ValueError as error:
        raise error if isinstance(error, ConfigError) else ConfigError(f"policy: {error}") from error
    return opened


def weights_digest(policy: str) -> str | None:
    """SHA-256 over the weight files of a checkpoint, or of an emulation's three, so that a directory of results never mixes two
    models; None for others."""
    spec = read_policy(policy)
    if spec.kind not in ("checkpoint", "emulated"):
        return None
    digest = hashlib.sha256()
    directories = [spec.target] if spec.kind == "checkpoint" else spec.target.split(",")
    for path in [path for directory in directories for path in sorted(Path(directory).glob("*.safetensors"))]:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
