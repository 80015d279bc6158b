#!/bin/sh
# On a machine with a GPU: names it, builds, judges the smoke cases on it, and holds the sums of its matrix units against
# their models (of compute capability 9.0: there are no others yet). Exit 77: no GPU, nothing was verified.
set -e
cd "$(dirname "$0")/.."
nvidia-smi --query-gpu=name,driver_version,compute_cap --format=csv,noheader || { echo "no GPU here"; exit 77; }
make all
build/bin/verify run @smoke --backend=cuda --require=cuda
gpu=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)
[ "$gpu" = 90 ] || { echo "compute capability $gpu: no model of its sums to hold them against"; exit 0; }
make build/cuda/unit_sums build/legal/selftest
build/cuda/unit_sums 3000 >build/cuda/sums.txt
SUMS=$PWD/build/cuda/sums.txt build/legal/selftest --filter 'units/an_h100_sums_so'
