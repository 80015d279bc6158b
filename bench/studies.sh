#!/bin/sh
# studies.sh [balance] [biases] [mtp] [formats] [domains] [speculation] [trained] [smoke] [speed]: the trainings of
# docs/studies.md, one after another, and their logs in docs/data; smoke: a minute of it, which changes no file there; speed:
# beside torch. A run that was stopped goes on where it was. STUDIES: where the runs are kept; build/studies unless set.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build} to=${STUDIES:-${BUILD:-build}/studies}
seeds='0 1 2'

# train NAME OPTION...: one training; the log stands in $to/NAME.
train() {
    name=$1
    shift
    echo "$name"
    "$build/bin/bench" train --text="$build/text.txt" --out="$to/$name" "$@"
}

# gather FILE NAME...: the logs of these trainings, one behind another.
gather() {
    file=$1
    shift
    for name in "$@"; do cat "$to/$name/log.jsonl"; done >"$file.part"
    mv "$file.part" "$file"
    echo "$file: $(wc -l <"$file") lines"
}

balance() {
    names=
    for seed in $seeds; do
        train "none-$seed" --seed="$seed" --modules=0 --balance=none
        train "aux-$seed" --seed="$seed" --modules=0 --balance=aux --aux-loss-alpha=0.01
        for speed in 0.0001 0.001 0.01; do
            train "bias-$speed-$seed" --seed="$seed" --modules=0 --balance=bias --bias-update-speed="$speed"
        done
        names="$names none-$seed aux-$seed bias-0.0001-$seed bias-0.001-$seed bias-0.01-$seed"
    done
    gather docs/data/balance.jsonl $names
}

biases() {
    train biases-0 --modules=0 --bias-update-speed=0.01 --loads --log-every=600 --evaluate-every=600
    gather docs/data/biases.jsonl biases-0
}

mtp() {
    names=
    for seed in $seeds; do
        train "mtp-$seed" --seed="$seed" --modules=2 --steps=1000 --evaluate-every=100
        names="$names mtp-$seed"
    done
    gather docs/data/mtp.jsonl $names
}

# What was trained for mtp, in the formats of engines.
formats() {
    file=docs/data/formats.jsonl
    for seed in $seeds; do
        "$build/bin/bench" evaluate --model="$to/mtp-$seed" --text="$build/text.txt" --format=jsonl
    done >"$file.part"
    mv "$file.part" "$file"
    cat "$file"
}

# What drafts gain: the models of mtp write on with one module and with two, beside token by token. Prompt and text have the
# 128 tokens of the windows that they learned.
speculation() {
    file=docs/data/speculation.jsonl
    for seed in $seeds; do
        for modules in 1 2; do
            DSV3_FAST_INVARIANT=1 "$build/bin/bench" generate --model="$to/mtp-$seed" --text="$build/text.txt" \
                --modules=$modules --prompts=100 --format=jsonl
        done
    done >"$file.part"
    mv "$file.part" "$file"
    cat "$file"
}

# One model on text that it learned the like of, and on two other kinds: C of this repository, licences.
domains() {
    file=docs/data/domains.jsonl
    cat ref/*.c >"$to/C sources"
    cat /usr/share/common-licenses/GPL-3 /usr/share/common-licenses/MPL-2.0 /usr/share/common-licenses/Apache-2.0 >"$to/licences"
    cp "$build/text.txt" "$to/verse"
    {
        "$build/bin/bench" evaluate --model="$to/mtp-0" --text="$to/verse" --format=jsonl
        "$build/bin/bench" evaluate --model="$to/mtp-0" --text="$to/licences" --all --format=jsonl
        "$build/bin/bench" evaluate --model="$to/mtp-0" --text="$to/C sources" --all --format=jsonl
    } >"$file.part"
    mv "$file.part" "$file"
}

# The model of fill=trained, and what flows through it; verify/trained/config.json says how small it is.
trained() {
    rm -rf "$to/trained"
    train trained --config=verify/trained/config.json --dtype=bf16 --steps=1000 --evaluate-every=250
    cp "$to/trained/config.json" "$to/trained/model.safetensors" verify/trained/
    "$build/bin/bench" record --model=verify/trained --text="$build/text.txt" --out=verify/trained/activations.safetensors
    (cd verify/trained && sha256sum config.json model.safetensors activations.safetensors >SHA256SUMS)
    "$build/bin/bench" evaluate --model=verify/trained --text="$build/text.txt"
}

# A minute of it, whose bands are checked: without balancing experts collapse, with biases they don't; drafts change no text.
smoke() {
    to=$to/smoke
    rm -rf "$to"
    mkdir -p "$to"
    train none --modules=0 --balance=none --stop-at=165 --evaluate-every=600
    train bias-0.01 --modules=0 --stop-at=165 --evaluate-every=600
    gather "$to/balance.jsonl" none bias-0.01
    train mtp --modules=2 --stop-at=60 --evaluate-every=60
    "$build/bin/bench" plot balance --check "$to/balance.jsonl"
    "$build/bin/bench" plot mtp --check "$to/mtp/log.jsonl"
    DSV3_FAST_INVARIANT=1 "$build/bin/bench" generate --model="$to/mtp" --text="$build/text.txt" --prompts=3
    "$build/bin/bench" evaluate --model="$to/mtp" --text="$build/text.txt"
}

# last_line COMMAND...: its last line goes to $file.part; a command that fails ends the study.
last_line() {
    lines=$("$@")
    echo "$lines" | tail -n 1 >>"$file.part"
}

# Beside torch, three times in turn, with two modules and without: on a machine that does nothing else, with torch installed.
speed() {
    file=docs/data/train_speed.txt
    : >"$file.part"
    for turn in 1 2 3; do
        for modules in 0 2; do
            echo "turn $turn, --modules=$modules" >>"$file.part"
            rm -rf "$to/speed"
            last_line train speed --steps=1000 --stop-at=60 --modules=$modules --log-every=1 --evaluate-every=1000
            last_line env OMP_WAIT_POLICY=passive \
                "$build/ports/python" bench/torch_train.py "$build/text.txt" "$to/speed/log.jsonl" 30
        done
    done
    mv "$file.part" "$file"
    cat "$file"
}

studies=${*:-balance biases mtp formats domains speculation}
for study in $studies; do
    case $study in
    balance | biases | mtp | formats | domains | speculation | trained | smoke | speed) ;;
    *)
        echo "studies.sh: '$study' is no study: balance, biases, mtp, formats, domains, speculation, trained, smoke or speed" >&2
        exit 2
        ;;
    esac
done
if [ ! -x "$build/bin/bench" ]; then
    echo "studies.sh: there is no $build/bin/bench: make bench${BUILD:+ B=$BUILD}" >&2
    exit 2
fi
make -s text B="$build"
mkdir -p "$to"
for study in $studies; do $study; done
