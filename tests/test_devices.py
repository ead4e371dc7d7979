"""Where a process computes: what a setting means, what cannot be, and that all that learns is there. No GPU is needed."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from stepladder.config import ConfigError
from stepladder.train import devices
from stepladder.train.devices import check_device, device_of, gpus_left
from stepladder.train.parallel import run_ranks


def gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("device", "ranks", "count", "message"),
    [
        ("gpu", 1, 2, "device is 'gpu'; it must be 'auto', 'cpu', 'cuda' or such as 'cuda:1'"),
        ("cpu:0", 1, 2, "device is 'cpu:0'; it must be"),
        ("cuda:x", 1, 2, "device is 'cuda:x'; it must be"),
        ("cuda", 1, 0, "PyTorch finds no GPU here; say device=cpu"),
        ("cuda:1", 2, 2, "device is 'cuda:1', one GPU, and 2 ranks need one each; say device=cuda, or ranks=1"),
        ("cuda:2", 1, 2, "device is 'cuda:2'; the GPUs here are cuda:0 to cuda:1"),
        ("cuda", 3, 2, "3 ranks need a GPU each, and there are 2; say ranks=2, or device=cpu"),
    ],
)
def test_devices_that_cannot_be(device: str, ranks: int, count: int, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, count)
    with pytest.raises(ConfigError, match=message):
        check_device(device, ranks)


@pytest.mark.parametrize(
    ("device", "count", "expected"),
    [("auto", 0, "cpu"), ("auto", 2, "cuda:0"), ("cpu", 2, "cpu"), ("cuda", 2, "cuda:0"), ("cuda:1", 2, "cuda:1")],
)
def test_what_a_setting_means(device: str, count: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, count)
    check_device(device, 1)
    assert device_of(device) == torch.device(expected)


def test_by_itself_nothing_is_asked_of_gpus_that_are_too_few(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gpus(monkeypatch, 2)
    check_device("auto", 3)
    assert "3 ranks find 2 GPUs and compute on the processor" in caplog.text
    assert device_of("auto", 3) == torch.device("cpu")
    assert device_of("auto", 2) == torch.device("cuda:0")


def test_ranks_on_several_machines_share_the_gpus_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 8)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    check_device("auto", 16)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 16)
    monkeypatch.setattr(dist, "get_rank", lambda: 11)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert device_of("cuda") == torch.device("cuda:3")
    monkeypatch.delenv("LOCAL_RANK")
    assert device_of("cuda") == torch.device("cuda:11"), "ranks of one machine are numbered by it"


@pytest.mark.parametrize(
    ("device", "ranks", "visible", "left"),
    [
        ("auto", 2, None, ["2", "3"]),
        ("cuda", 3, "7,5,GPU-8932f937,1", ["1"]),
        ("cuda:1", 1, "7,5,3,1", ["7", "3", "1"]),
        ("cpu", 1, None, ["0", "1", "2", "3"]),
        ("cuda", 4, None, []),
    ],
)
def test_what_is_left_for_others(
    device: str, ranks: int, visible: str | None, left: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(monkeypatch, 4)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus_left(device, ranks) == left


def _own_device(rank: int, world: int) -> None:
    torch.cuda.is_available, torch.cuda.device_count = lambda: True, lambda: 2
    assert devices.device_of("auto") == torch.device("cuda", rank)
    assert devices.device_of("cpu") == torch.device("cpu")


def test_each_rank_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("is_available", "device_count"):
        monkeypatch.setattr(torch.cuda, name, getattr(torch.cuda, name))  # put back in this process
    run_ranks(_own_device, 2)
