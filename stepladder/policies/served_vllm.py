"""The wire format of vLLM 0.32: tokens in, tokens out.

POST /inference/v1/generate takes ids and pictures, each with a name of our choice (its SHA-256) by which vLLM's processor cache
finds it again, and tells the ids that the model has read. It is there with `--enable-scale-out`. Weights are loaded by the calls of
the development mode (VLLM_SERVER_DEV_MODE=1), adapters with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stepladder.policies.answers import Malformed, part
from stepladder.policies.openai_chat import usage_of
from stepladder.policies.served_protocol import InProgress, Probe, ServedReply, ServedRequest, Step
from stepladder.types import FinishReason, Sampling

#: Added to the logits of ids that are never sampled: their probability is 0 in any precision, and JSON can say it.
BANNED = -1e9
_FINISH: Mapping[str, FinishReason] = {"stop": "stop", "length": "length", "abort": "abort"}
_GENERATE = "/inference/v1/generate"


class Vllm:
    """See `ServedProtocol`."""

    path = _GENERATE
    owner = "vllm"
    names_pictures = True

    def probes(self, adapters: bool) -> Sequence[Probe]:
        """An empty request is refused with 400 where there is such a route, and changes nothing."""
        needed = [Probe(_GENERATE, {}, (403, 404, 405), "start vLLM with --enable-scale-out; /inference/v1/generate is closed")]
        if adapters:
            told = "start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, so that it takes adapters"
            return [*needed, Probe("/v1/load_lora_adapter", {}, (404, 405), told)]
        return [*needed, Probe("/is_paused", None, (404,), "start vLLM with VLLM_SERVER_DEV_MODE=1, so that it takes weights")]

    def check(self, sampling: Sampling) -> None:
        """Everything is told, with --logprobs-mode processed_logprobs."""

    def body(self, request: ServedRequest) -> dict[str, Any]:
        """See `ServedProtocol.body`."""
        sampling = request.sampling
        parameters = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": request.limit,
            "seed": request.seed,
            "stop": list(sampling.stop) or None,
            "include_stop_str_in_output": True,
            "stop_token_ids": list(request.stop_ids),
            "logit_bias": {str(one): BANNED for one in request.banned_ids} or None,
            "skip_special_tokens": False,
            "logprobs": 0,
        }
        pictures = [
            {"type": "image_url", "uuid": ref.sha256, **({} if url is None else {"url": url})}
            for ref, url in zip(request.prompt.images, request.pictures, strict=True)
        ]
        return {
            "request_id": request.id,
            "model": request.adapter or request.model,
            "token_ids": request.collapsed,
            **({"content_parts": pictures} if pictures else {}),
            "return_token_ids": True,
            "sampling_params": {name: value for name, value in parameters.items() if value is not None},
        }

    def read(self, said: Any, request: ServedRequest) -> tuple[ServedReply, dict[str, float]]:
        """See `ServedProtocol.read`."""
        choices = part(said, "choices", list, "answer")
        choice = choices[0] if choices else {}
        tokens = part(choice, "token_ids", list, "choices[0]")
        content = part(part(choice, "logprobs", dict, "choices[0]"), "content", list, "logprobs") if tokens else []
        logprobs = [float(part(one, "logprob", (int, float), "logprobs.content")) for one in content]
        reason = str(choice.get("finish_reason"))
        if reason not in _FINISH:
            raise Malformed(f"finish_reason of the answer is {reason!r}")
        request.check_prompt(part(said, "prompt_token_ids", list, "answer"), "vLLM")
        spans = choice.get("weight_versions") or []
        label = str(part(spans[0], "version", str, "weight_versions[0]")) if spans else None
        return ServedReply([int(one) for one in tokens], logprobs, _FINISH[reason], label), usage_of(said.get("usage"))

    def lacks_picture(self, failure: str) -> bool:
        """See `ServedProtocol.lacks_picture`."""
        return "Cache miss for image" in failure

    def abort(self, ids: Sequence[str]) -> Sequence[Step]:
        """vLLM puts its own prefix before the ids of such requests."""
        body = {"request_ids": [f"generate-tokens-{one}" for one in ids]}
        return [Step("abort requests", "/inference/v1/abort_requests", body)]

    def load_adapter(self, name: str, directory: Path) -> Step:
        """Under a name of its own, never in place of another: vLLM reads an adapter that was loaded "in place" again from its path
        with every batch."""
        return Step("load the adapter", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(directory)})

    def unload_adapter(self, name: str) -> Step:
        """See `ServedProtocol.unload_adapter`."""
        return Step("unload the adapter", "/v1/unload_lora_adapter", {"lora_name": name})

    def load_weights(self, directory: Path, label: str, in_progress: InProgress) -> Sequence[Step]:
        """The pictures in the processor's cache stay: they are not computed by the weights."""
        mode = {"mode": "wait" if in_progress == "finish" else "abort", "clear_cache": "false"}
        load = {"method": "reload_weights", "kwargs": {"weights_path": str(directory)}}
        return [
            Step("pause", "/pause", query=mode),
            Step("load the weights", "/collective_rpc", load, touches=True),
            Step("name the weights", "/update_weight_version", {"new_version": label}, touches=True),
            Step("drop the prefix cache", "/reset_prefix_cache", query={"reset_running_requests": "true"}, touches=True),
            Step("drop the encoder cache", "/reset_encoder_cache", touches=True),
        ]

    def resume(self) -> Step:
        """See `ServedProtocol.resume`."""
        return Step("resume", "/resume")
