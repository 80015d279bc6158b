#!/bin/sh
# install.sh LAUNCHER   makes the Python environment of this port in the user's cache (once) and a program that starts it
# install.sh --remove   deletes every such environment
set -e
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/dsv3
python=${PYTHON:-python3}

if [ "$1" = --remove ]; then
    rm -rf "$cache"/venv-*
    echo "removed $cache/venv-*"
    exit 0
fi
launcher=$1
venv=$cache/venv-$(sha256sum "$here/requirements.txt" | cut -c1-12)
mkdir -p "$cache" "$(dirname "$launcher")"
exec 9>"$cache/lock"
flock 9
if [ ! -e "$venv/complete" ]; then
    free=$(df -Pk "$cache" | awk 'NR == 2 { print int($4 / 1048576) }')
    if [ "$free" -lt 8 ]; then
        echo "transformers-port: $cache has $free GB free and 8 are needed: free some, or set XDG_CACHE_HOME" >&2
        exit 2
    fi
    echo "Installing $(tr '\n' ' ' <"$here/requirements.txt")(5.6 GB) into $venv"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    touch "$venv/complete"
fi
printf '#!/bin/sh\nexec "%s/bin/python" "%s/port.py"\n' "$venv" "$here" >"$launcher"
printf '#!/bin/sh\nexec "%s/bin/python" "$@"\n' "$venv" >"$(dirname "$launcher")/python"
chmod +x "$launcher" "$(dirname "$launcher")/python"
echo "transformers: ready, $venv"
