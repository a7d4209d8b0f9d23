#!/bin/sh
# `make gpu` where there is neither make nor pip's registry: from the root of a copy of the working tree.
# Wheels in .whl (docs/gpu.md), where there are any, are installed beside what python3 has.  $1: where the
# results go.
set -e
if ls .whl/*.whl >/dev/null 2>&1; then
  python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target /tmp/site .whl/*.whl
fi
mkdir -p .typing/semilinear
(cd .typing/semilinear && ln -sfn ../../integrators ../../analysis ../../verification . &&
  ln -sf ../../verification/front-door/*.py* ../../verification/front-door/py.typed .)
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || true
PYTHONUNBUFFERED=1 PYTHONPATH="$PWD/.typing:/tmp/site" python3 -m semilinear.verification.commands.cli gpu --out "$1"/gpu.json
