#!/bin/sh
# mlx.sh PYTHON   puts mlx-lm and mlx's CPU backend into the environment of `make transformers-port`, whose python that is
set -e
here=$(cd "$(dirname "$0")" && pwd)
python=$1
if ! "$python" -c 'import mlx_lm.models.deepseek_v3' 2>/dev/null; then
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps -r "$here/mlx-requirements.txt" || {
        echo "mlx-engine: $(tr '\n' ' ' <"$here/mlx-requirements.txt")can't be had here" >&2
        exit 2
    }
fi
echo "mlx-lm: ready"
