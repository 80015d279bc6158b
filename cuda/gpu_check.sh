#!/bin/sh
# On a machine with a GPU: names it, builds, and judges the smoke cases on it.
set -e
cd "$(dirname "$0")/.."
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
make -j"$(nproc)" all
build/bin/verify run @smoke --backend=cuda --require=cuda
