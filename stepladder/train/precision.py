"""Whether training computes in bfloat16 on this machine unless told otherwise."""

from __future__ import annotations

import torch

#: What a processor must be able to do for bfloat16 to be quicker than float32 and not many times slower (x86, ARM).
PROCESSOR = ("avx512_bf16", "amx_bf16", "bf16")


def gathered_type(autocast: bool) -> torch.dtype | None:
    """What weights that are divided among ranks are gathered in, for passes in bfloat16 or not (None: as they are)."""
    return torch.bfloat16 if autocast else None


def bfloat16_is_fast() -> bool:
    """True where there is a CUDA device with bfloat16, or a processor with instructions for it. A processor without emulates it: on
    an EPYC with AVX2 alone a matrix product took 26 times as long as in float32."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in PROCESSOR)
