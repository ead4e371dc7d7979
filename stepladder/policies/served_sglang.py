"""The wire format of SGLang's native API, from its source and documentation; tried against a recorded protocol alone.

POST /generate takes ids, with one placeholder for each picture, and data URLs. It tells how many ids the model has read, newer
versions which (`return_prompt_token_ids`). Its log-probabilities are those at the temperature of sampling, before top_p.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stepladder.policies.answers import Malformed, counts, part
from stepladder.policies.http import PolicyFailure
from stepladder.policies.served_protocol import InProgress, Probe, ServedReply, ServedRequest, Step
from stepladder.types import FinishReason, Sampling

#: Added to the logits of ids that are never sampled.
BANNED = -1e9
_FINISH: Mapping[str, FinishReason] = {"stop": "stop", "length": "length", "abort": "abort"}


class Sglang:
    """See `ServedProtocol`."""

    path = "/generate"
    owner = "sglang"
    names_pictures = False

    def probes(self, adapters: bool) -> Sequence[Probe]:
        """Nothing can be asked that changes nothing."""
        return []

    def check(self, sampling: Sampling) -> None:
        """See `ServedProtocol.check`."""
        if sampling.top_p < 1 and sampling.temperature > 0:
            raise ValueError(f"top_p is {sampling.top_p}; the log-probabilities of SGLang leave it out, so that it must be 1")

    def body(self, request: ServedRequest) -> dict[str, Any]:
        """See `ServedProtocol.body`."""
        sampling = request.sampling
        parameters = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_new_tokens": request.limit,
            "sampling_seed": request.seed,
            "stop": list(sampling.stop) or None,
            "no_stop_trim": True,
            "stop_token_ids": list(request.stop_ids),
            "logit_bias": {str(one): BANNED for one in request.banned_ids} or None,
            "skip_special_tokens": False,
        }
        return {
            "rid": request.id,
            "input_ids": request.collapsed,
            **({"image_data": list(request.pictures)} if request.pictures else {}),
            "sampling_params": {name: value for name, value in parameters.items() if value is not None},
            "return_logprob": True,
            "return_prompt_token_ids": True,
            **({"lora_path": request.adapter} if request.adapter else {}),
        }

    def read(self, said: Any, request: ServedRequest) -> tuple[ServedReply, dict[str, float]]:
        """`output_token_logprobs` are [log-probability, id, text or null] each."""
        meta = part(said, "meta_info", dict, "answer")
        reason = str(part(meta, "finish_reason", dict, "meta_info").get("type"))
        if reason not in _FINISH:
            raise Malformed(f"finish_reason.type of the answer is {reason!r}")
        pairs = meta.get("output_token_logprobs") or []
        if any(not isinstance(one, list) or len(one) < 2 for one in pairs):
            raise Malformed("meta_info.output_token_logprobs of the answer must be lists of log-probability and id")
        self._check_prompt(said, meta, request)
        label = meta.get("weight_version")
        spans = meta.get("weight_versions")
        if isinstance(spans, list) and spans:
            label = spans[0].get("version")
        usage = counts(
            meta, {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens", "cached_tokens": "cached_tokens"}
        )
        if "input_tokens" in usage:
            usage["input_tokens"] -= usage.get("cached_tokens", 0.0)
        tokens, logprobs = [int(one[1]) for one in pairs], [float(one[0]) for one in pairs]
        return ServedReply(tokens, logprobs, _FINISH[reason], None if label is None else str(label)), usage

    def _check_prompt(self, said: Mapping[str, Any], meta: Mapping[str, Any], request: ServedRequest) -> None:
        told = said.get("prompt_token_ids") or meta.get("prompt_token_ids")
        if isinstance(told, list):
            request.check_prompt(told, "SGLang")
            return
        given, count = len(request.tokens) + len(request.written), int(part(meta, "prompt_tokens", int, "meta_info"))
        if count != given:
            raise PolicyFailure(
                f"SGLang has read {count} ids and was given {given}. Is it started with the checkpoint, and the "
                "preprocessor_config.json, that is trained here?"
            )

    def lacks_picture(self, failure: str) -> bool:
        """Pictures are always sent."""
        return False

    def abort(self, ids: Sequence[str]) -> Sequence[Step]:
        """See `ServedProtocol.abort`."""
        return [Step("abort requests", "/abort_request", {"rid": one}) for one in ids]

    def load_adapter(self, name: str, directory: Path) -> Step:
        """See `ServedProtocol.load_adapter`."""
        return Step("load the adapter", "/load_lora_adapter", {"lora_name": name, "lora_path": str(directory)})

    def unload_adapter(self, name: str) -> Step:
        """SGLang waits until the adapter's last request is over."""
        return Step("unload the adapter", "/unload_lora_adapter", {"lora_name": name})

    def load_weights(self, directory: Path, label: str, in_progress: InProgress) -> Sequence[Step]:
        """SGLang cannot pause and wait: what others have in progress is answered with what is written."""
        load = {"model_path": str(directory), "weight_version": label, "flush_cache": True, "abort_all_requests": False}
        return [
            Step("pause", "/pause_generation", {"mode": "abort"}),
            Step("load the weights", "/update_weights_from_disk", load, touches=True),
        ]

    def resume(self) -> Step:
        """See `ServedProtocol.resume`."""
        return Step("resume", "/continue_generation", {})
