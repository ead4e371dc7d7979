"""bfloat16 is the default only where a machine computes in it."""

import pytest
import torch

from stepladder.stages.pretrain_config import PretrainConfig
from stepladder.stages.rl_config import RlConfig
from stepladder.stages.sft import SftConfig
from stepladder.train.precision import bfloat16_is_fast


@pytest.mark.parametrize(
    ("able", "fast"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"bf16": True}, True),
        ({}, False),
    ],
)
def test_a_processor_is_asked(able: dict[str, bool], fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert bfloat16_is_fast() is fast
    assert [config.bf16 for config in (SftConfig(), RlConfig(), PretrainConfig())] == [fast] * 3
    assert SftConfig(bf16=not fast).bf16 is not fast


@pytest.mark.parametrize("supported", [True, False])
def test_a_gpu_is_asked_before_the_processor(supported: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_supported(including_emulation: bool = True) -> bool:
        assert not including_emulation
        return supported

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    assert bfloat16_is_fast() is supported
