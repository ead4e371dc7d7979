"""vLLM's and SGLang's wire formats over weights that are one number, so that every token tells which weights sampled it.

The token after n ids is `100 + n % 40`, its log-probability is minus the number of the weights; a token takes `pace` seconds. What
is asked in another way than the real servers are documented to take is answered with 400, or 422 by the fake of vLLM.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

#: Log-probability of the weights that a server is started with.
FIRST = 0.5


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass(eq=False)
class Job:
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    aborted: bool = False


class FakeServer:
    """What both have: jobs, a pause, weights, adapters. `fail` is a path that answers 500; `expand` multiplies the placeholders by
    which the server expands a picture. `asked` are the bodies of requests, `called` the paths of all other calls."""

    owner = ""
    image_id = -1

    def __init__(self, lengths: Mapping[str, int], key: str = "") -> None:
        self.lengths, self.key = dict(lengths), key
        self.weights, self.label, self.adapters = FIRST, "default", dict[str, float]()
        self.jobs: dict[str, Job] = {}
        self.resumed = asyncio.Event()
        self.resumed.set()
        self.waiting = False
        self.pace, self.extra = 0.002, 0
        #: No reply gets longer until one is aborted: however slow the machine is, it is interrupted on its way.
        self.held = sys.maxsize
        self.fail = ""
        self.asked: list[dict[str, Any]] = []
        self.called: list[str] = []
        self.listed = [{"id": "base", "owned_by": self.owner, "max_model_len": 300}]

    def app(self) -> Starlette:
        routes = {"/v1/models": self._models, **self.routes()}
        return Starlette(routes=[Route(path, self._guarded(path, one), methods=["GET", "POST"]) for path, one in routes.items()])

    def routes(self) -> dict[str, Any]:
        raise NotImplementedError

    def _guarded(self, path: str, answer: Any) -> Any:
        async def handle(request: Request) -> Response:
            content = await request.body()
            try:
                if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
                    raise Refused(401, "Unauthorized")
                if path == self.fail:
                    self.called.append(path)
                    raise Refused(500, f"{path} is broken; key {self.key}")
                return await answer(json.loads(content) if content else {}, dict(request.query_params))
            except Refused as error:
                return JSONResponse({"error": {"message": error.message, "type": "BadRequestError"}}, error.status)

        return handle

    async def _models(self, body: Any, query: Any) -> Response:
        return JSONResponse({"object": "list", "data": self.listed})

    def read(self, ids: Sequence[int], pictures: Sequence[str]) -> list[int]:
        """The ids with placeholders expanded."""
        left, read = list(pictures), list[int]()
        for one in ids:
            read += [one] * (self.lengths[left.pop(0)] + self.extra) if one == self.image_id else [one]
        if left:
            raise Refused(400, "more pictures than placeholders")
        return read

    async def write(self, name: str, read: Sequence[int], count: int, adapter: str | None) -> tuple[Job, str]:
        """A job that is done, and why."""
        job = self.jobs[name] = Job()
        try:
            while len(job.tokens) < count:
                if job.aborted:
                    return job, "abort"
                if len(job.tokens) >= self.held or (not self.resumed.is_set() and not (self.waiting and job.tokens)):
                    await asyncio.sleep(0.001)
                    continue
                await asyncio.sleep(self.pace)
                if job.aborted:
                    return job, "abort"
                job.tokens.append(100 + (len(read) + len(job.tokens)) % 40)
                job.logprobs.append(-self.adapters[adapter] if adapter else -self.weights)
                job.labels.append(self.label)
            return job, "length"
        finally:
            del self.jobs[name]

    def abort(self, names: Sequence[str]) -> None:
        self.held = sys.maxsize
        for name in names:
            if name in self.jobs:
                self.jobs[name].aborted = True

    async def pause(self, wait: bool) -> None:
        self.resumed.clear()
        self.waiting = wait
        if not wait:
            self.abort(list(self.jobs))
        while any(job.tokens for job in self.jobs.values()):
            await asyncio.sleep(0.001)


class FakeVllm(FakeServer):
    owner = "vllm"

    def __init__(self, lengths: Mapping[str, int], key: str = "") -> None:
        super().__init__(lengths, key)
        self.cached: set[str] = set()
        self.missing: set[str] = set()

    def routes(self) -> dict[str, Any]:
        found = {
            "/inference/v1/generate": self._generate,
            "/inference/v1/abort_requests": self._abort,
            "/v1/load_lora_adapter": self._load,
            "/v1/unload_lora_adapter": self._unload,
            "/is_paused": self._is_paused,
            "/pause": self._pause,
            "/resume": self._resume,
            "/collective_rpc": self._rpc,
            "/update_weight_version": self._name,
            "/reset_prefix_cache": self._reset,
            "/reset_encoder_cache": self._reset,
        }
        return {path: one for path, one in found.items() if path not in self.missing}

    async def _generate(self, body: dict[str, Any], query: Any) -> Response:
        known = {"request_id", "model", "token_ids", "content_parts", "return_token_ids", "sampling_params"}
        if set(body) - known or not {"token_ids", "sampling_params"} <= set(body):
            raise Refused(422, f"fields {sorted(body)}")
        self.asked.append(body)
        if body["model"] != "base" and body["model"] not in self.adapters:
            raise Refused(404, f"The model `{body['model']}` does not exist.")
        parts = body.get("content_parts", [])
        for number, part in enumerate(parts):
            if "url" not in part and part["uuid"] not in self.cached:
                raise Refused(400, f"Cache miss for image at index {number} but data is not provided.")
        self.cached |= {part["uuid"] for part in parts}
        read, asked = self.read(body["token_ids"], [part["uuid"] for part in parts]), body["sampling_params"]
        adapter = None if body["model"] == "base" else body["model"]
        job, reason = await self.write(f"generate-tokens-{body['request_id']}", read, asked["max_tokens"], adapter)
        starts = [i for i, one in enumerate(job.labels) if not i or job.labels[i - 1] != one]
        spans = [
            {"version": job.labels[i], "start": i, "end": end}
            for i, end in zip(starts, [*starts[1:], len(job.labels)], strict=True)
        ]
        choice = {
            "index": 0,
            "finish_reason": reason,
            "token_ids": job.tokens,
            "weight_versions": spans or None,
            "logprobs": {"content": [{"token_id": t, "logprob": p} for t, p in zip(job.tokens, job.logprobs, strict=True)]},
        }
        usage = {"prompt_tokens": len(read), "completion_tokens": len(job.tokens)}
        return JSONResponse({"choices": [choice], "usage": usage, "prompt_token_ids": read, "output_mode": "tokens"})

    async def _abort(self, body: dict[str, Any], query: Any) -> Response:
        self.called.append("/inference/v1/abort_requests")
        self.abort(body["request_ids"])
        return Response()

    async def _load(self, body: dict[str, Any], query: Any) -> Response:
        if set(body) != {"lora_name", "lora_path"}:
            raise Refused(400, f"fields {sorted(body)}")
        self.called.append("/v1/load_lora_adapter")
        if body["lora_name"] in self.adapters:
            raise Refused(400, f"The lora adapter '{body['lora_name']}' has already been loaded.")
        self.adapters[body["lora_name"]] = adapter_number(Path(body["lora_path"]))
        return PlainTextResponse("Success: LoRA adapter added successfully.")

    async def _unload(self, body: dict[str, Any], query: Any) -> Response:
        self.called.append("/v1/unload_lora_adapter")
        del self.adapters[body["lora_name"]]
        return PlainTextResponse("Success: LoRA adapter removed successfully.")

    async def _is_paused(self, body: Any, query: Any) -> Response:
        return JSONResponse({"is_paused": not self.resumed.is_set()})

    async def _pause(self, body: Any, query: dict[str, str]) -> Response:
        self.called.append(f"/pause {query['mode']}")
        if query["clear_cache"] != "false":
            self.cached.clear()
        await self.pause(query["mode"] == "wait")
        return JSONResponse({"status": "paused"})

    async def _resume(self, body: Any, query: Any) -> Response:
        self.called.append("/resume")
        self.resumed.set()
        return JSONResponse({"status": "resumed"})

    async def _rpc(self, body: dict[str, Any], query: Any) -> Response:
        if body["method"] != "reload_weights" or self.resumed.is_set():
            raise Refused(500, "weights are loaded in a pause")
        self.called.append("/collective_rpc")
        self.weights = weights_number(Path(body["kwargs"]["weights_path"]))
        return JSONResponse({"results": [None]})

    async def _name(self, body: dict[str, Any], query: Any) -> Response:
        self.called.append("/update_weight_version")
        self.label = body["new_version"]
        return JSONResponse({"success": True, "new_version": self.label})

    async def _reset(self, body: Any, query: dict[str, str]) -> Response:
        self.called.append("/reset_prefix_cache" if query else "/reset_encoder_cache")
        return JSONResponse({"success": True}) if query else Response()


class FakeSglang(FakeServer):
    owner = "sglang"
    #: Whether it tells the ids that it has read, as newer versions do.
    tells = True

    def routes(self) -> dict[str, Any]:
        return {
            "/generate": self._generate,
            "/abort_request": self._abort,
            "/load_lora_adapter": self._load,
            "/unload_lora_adapter": self._unload,
            "/pause_generation": self._pause,
            "/continue_generation": self._continue,
            "/update_weights_from_disk": self._update,
        }

    async def _generate(self, body: dict[str, Any], query: Any) -> Response:
        known = {"rid", "input_ids", "image_data", "sampling_params", "return_logprob", "return_prompt_token_ids", "lora_path"}
        if set(body) - known or body["return_logprob"] is not True:
            raise Refused(400, f"fields {sorted(body)}")
        self.asked.append(body)
        adapter = body.get("lora_path")
        if adapter is not None and adapter not in self.adapters:
            raise Refused(400, f"The following requested LoRA adapters are not loaded: {adapter}")
        read = self.read(body["input_ids"], body.get("image_data", []))
        job, reason = await self.write(body["rid"], read, body["sampling_params"]["max_new_tokens"], adapter)
        meta: dict[str, Any] = {
            "id": body["rid"],
            "finish_reason": {"type": reason, **({"length": len(job.tokens)} if reason == "length" else {"message": "Aborted"})},
            "prompt_tokens": len(read),
            "completion_tokens": len(job.tokens),
            "cached_tokens": 0,
            "weight_version": self.label,
            "output_token_logprobs": [[p, t, None] for t, p in zip(job.tokens, job.logprobs, strict=True)],
        }
        told = {"prompt_token_ids": read} if self.tells and body["return_prompt_token_ids"] else {}
        return JSONResponse({"text": "", "output_ids": job.tokens, "meta_info": meta, **told})

    async def _abort(self, body: dict[str, Any], query: Any) -> Response:
        self.called.append("/abort_request")
        self.abort([body["rid"]])
        return Response()

    async def _load(self, body: dict[str, Any], query: Any) -> Response:
        self.called.append("/load_lora_adapter")
        self.adapters[body["lora_name"]] = adapter_number(Path(body["lora_path"]))
        return JSONResponse({"success": True, "error_message": "", "loaded_adapters": dict.fromkeys(self.adapters, "path")})

    async def _unload(self, body: dict[str, Any], query: Any) -> Response:
        self.called.append("/unload_lora_adapter")
        del self.adapters[body["lora_name"]]
        return JSONResponse({"success": True, "error_message": "", "loaded_adapters": {}})

    async def _pause(self, body: dict[str, Any], query: Any) -> Response:
        self.called.append(f"/pause_generation {body['mode']}")
        await self.pause(False)
        return JSONResponse({"message": "Generation paused successfully.", "status": "ok"})

    async def _continue(self, body: Any, query: Any) -> Response:
        self.called.append("/continue_generation")
        self.resumed.set()
        return JSONResponse({"message": "Generation continued successfully.", "status": "ok"})

    async def _update(self, body: dict[str, Any], query: Any) -> Response:
        if not body["flush_cache"] or self.resumed.is_set():
            return JSONResponse({"success": False, "message": "not paused", "num_paused_requests": 0}, 400)
        self.called.append("/update_weights_from_disk")
        self.weights, self.label = weights_number(Path(body["model_path"])), body["weight_version"]
        return JSONResponse({"success": True, "message": "Succeeded to update model weights.", "num_paused_requests": 0})


def adapter_number(directory: Path) -> float:
    """The first number of the adapters' first B."""
    json.loads((directory / "adapter_config.json").read_text())
    with safe_open(directory / "adapter_model.safetensors", "pt") as file:
        return float(file.get_tensor(next(name for name in sorted(file.keys()) if "lora_B" in name)).flatten()[0])


def weights_number(directory: Path) -> float:
    """The first number of the output layer."""
    json.loads((directory / "config.json").read_text())
    for path in sorted(directory.glob("model*.safetensors")):
        with safe_open(path, "pt") as file:
            if "lm_head.weight" in file.keys():  # noqa: SIM118  # it is no dict
                return float(file.get_tensor("lm_head.weight").flatten()[0])
    raise Refused(500, f"{directory} has no weights")
