#!/usr/bin/env bash
# install.sh VENV [EXTRAS]: installs the package, editable, with extras (dev) at the versions of
# constraints.txt.
#
# - VENV is created when it is missing, of $PYTHON or of the first suitable interpreter found.
# - A torch that is already installed, in VENV or in the interpreter VENV is made of, stays: it and
#   its torchvision are held at their versions, and the pinned ones (with their CUDA libraries) are
#   left out.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=${1:-.venv}
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

fail() {
    echo "error: $*" >&2
    exit 1
}

# A Python of a version that constraints.txt holds for, complete enough to make environments.
suits() {
    "$1" -c '
import ensurepip, sys, venv
sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' >/dev/null 2>&1
}

find_python() {
    local candidate
    for candidate in python3 python3.13 python3.12 python3.11 python3.14 python; do
        if suits "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

# A torch new enough for this package, together with its torchvision.
has_torch() {
    "$1" -c '
import re, sys, torch, torchvision
numbers = lambda version: [int(part) for part in re.findall(r"\d+", version)[:2]]
floor = re.search(r"\"torch>=([\d.]+)", open("pyproject.toml").read()).group(1)
sys.exit(numbers(torch.__version__) < numbers(floor))' >/dev/null 2>&1
}

installed_torch() {
    "$1" -c '
from importlib.metadata import PackageNotFoundError, version
for name in ("torch", "torchvision"):
    try:
        print(f"{name}=={version(name)}")
    except PackageNotFoundError:
        pass'
}

if [ ! -x "$venv/bin/python" ]; then
    base=${PYTHON:-$(find_python)} || fail "no Python 3.11 to 3.14 with venv and pip found on PATH;" \
        "install one (on Debian and Ubuntu together with python3-venv) or name one: make PYTHON=/path/to/python"
    command -v "$base" >/dev/null || fail "PYTHON=$base is no program"
    sharing=
    if has_torch "$base"; then
        sharing=--system-site-packages
    fi
    echo "creating $venv with $("$base" --version) $sharing"
    "$base" -m venv $sharing "$venv"
fi
python=$venv/bin/python
"$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip

constraints=$(mktemp)
trap 'rm -f "$constraints"' EXIT
held=$(installed_torch "$python")
if [ -n "$held" ]; then
    echo "keeping the installed" $held
    grep -vE '^(torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z]+)==' constraints.txt >"$constraints"
    echo "$held" >>"$constraints"
else
    cp constraints.txt "$constraints"
fi
"$python" -m pip install --editable ".[${2:-dev}]" --constraint "$constraints"

"$python" -c 'import torch, torchvision' || fail "torch and torchvision in $venv don't fit each other;" \
    "install both from the same source into it and run make again"
