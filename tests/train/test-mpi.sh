#!/bin/bash
# SPDX-License-Identifier: MIT
# Several processes that train one model: the same model as one process makes, whatever may happen.
# Usage: test-mpi.sh CLFORMER COMPARE
set -uo pipefail

command -v mpirun >/dev/null || exit 77
clformer=$(realpath "$1")
compare=$(realpath "$2")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export CLFORMER_CACHE_DIR=$tmp/cache LC_ALL=C.UTF-8 TMPDIR=/tmp
unset CLFORMER_DEVICE
cd "$tmp" || exit 1
devices=$("$clformer" devices 2>/dev/null) || exit 77
# Processes are what is tested: emulators would take long over the same.
! grep -q "^\* *[0-9:]* *emulator" <<<"$devices" || exit 77

# ---- what the checks below are made of -----------------------------------------------------------

checks=0
failures=0
code=''

# check WHAT COMMAND...: the command must succeed.
check() {
    checks=$((checks + 1))
    "${@:2}" && return
    failures=$((failures + 1))
    echo "FAILED: $1"
    printf '  exit code %s\n' "$code"
    head -c 1500 err
}
says() { [ "$code" -ne 0 ] && [ "$code" -ne 124 ] && grep -q "$1" err; }
succeeded() { [ "$code" -eq 0 ]; }

mpirun=(mpirun --allow-run-as-root --oversubscribe --mca btl_vader_single_copy_mechanism none)

# ranks N ARGUMENTS...: trains with N processes; a ":" and further arguments as mpirun has it.
ranks() {
    timeout 120 "${mpirun[@]}" -n "$@" >out 2>err </dev/null
    code=$?
}

awk 'BEGIN {
    split("zero one two three four five six seven eight nine", word, " ")
    x = 5
    for (i = 0; i < 300; i++) {
        digits = words = ""
        for (k = 2 + i % 7; k > 0; k--) {
            x = (x * 1103515245 + 12345) % 2147483648
            d = int(x / 65536) % 10
            digits = digits " " d
            words = words " " word[d + 1]
        }
        print substr(digits, 2) >"digits"
        print substr(words, 2) >"words"
    }
}'
"$clformer" vocab --segmented -o vocab -s 24 digits words 2>/dev/null || exit 1

recipe=(train digits words --segmented --vocab vocab --width 32 --heads 2 --layers 2 --ffn 64
    --batch-tokens 120 --warmup 4 --learning-rate 1e-3 --save-every 5 --attention-dropout 0.1
    --clip-norm 1 --average-decay 0.9 --token-noise 0.1 --valid-source digits --valid-target words
    --no-bleu --quiet)
start=("$clformer" "${recipe[@]}" --max-updates 20)

# ---- the same model ------------------------------------------------------------------------------

# Sums of like numbers in another order: rounding of 6e-8 a number, over 20 updates.
same() { succeeded && "$compare" 1e-5 "$1" "$2"; }
identical() { succeeded && cmp "$1/model.safetensors" "$2/model.safetensors"; }

test_equality() {
    "${start[@]}" -o one --accumulate 4 >out 2>err
    code=$?
    check "one process" succeeded
    ranks 2 "${start[@]}" -o two --accumulate 2
    check "2 processes" same one two
    ranks 4 "${start[@]}" -o four
    check "4 processes" same one four
    ranks 2 "${start[@]}" -o again --accumulate 2
    check "a training repeats bit for bit" identical two again
    ranks 1 "${start[@]}" -o alone --accumulate 4
    check "1 process by mpirun" identical one alone
    "$compare" 1e-5 one vocab >/dev/null 2>&1
    check "the comparison can fail" [ $? -eq 2 ]
}

test_other_shapes() {
    local shape=(--pre-norm --learned-positions --untied-output --separate-embeddings)
    "$clformer" "${recipe[@]}" "${shape[@]}" --max-updates 5 -o one-pre --accumulate 2 >out 2>err
    code=$?
    check "one process, pre-norm" succeeded
    ranks 2 "$clformer" "${recipe[@]}" "${shape[@]}" --max-updates 5 -o two-pre
    check "2 processes, pre-norm" [ "$code-$(metric loss one-pre)" = "0-$(metric loss two-pre)" ]
}
# A number of the last validation, rounded.
metric() {
    printf '%.5f' "$(grep '"validation"' "$2/metrics.jsonl" | tail -n 1 |
        sed 's/.*"'"$1"'":\([^,]*\),.*/\1/')"
}

test_resumption() {
    ranks 2 "$clformer" "${recipe[@]}" --max-updates 10 -o half --accumulate 2
    # The second process has a disk of its own: it gets the state from the first.
    ranks 1 "${start[@]}" -o half --accumulate 2 --resume : \
        -n 1 "${start[@]}" -o elsewhere --accumulate 2 --resume
    check "resumption" identical half two
    check "the first process alone writes" [ ! -e elsewhere/model.safetensors ]
}

# ---- failures ------------------------------------------------------------------------------------

test_misfits() {
    ranks 1 "${start[@]}" -o misfit : -n 1 "${start[@]}" -o misfit --seed 5
    check "other options" says "different options or texts"
    ranks 1 "${start[@]}" -o misfit : -n 1 "${start[@]}" -o misfit --device absent
    check "a process without a device" says "no device matches"
    check "the others say who" says "process 1 of the training has ended"
    ranks 2 "${start[@]}" -o two
    check "a training that is there" says "there is a training already"
}

# The processes of a training in $1, the first one first.
pids() { pgrep -f -- "^$clformer train .*-o $1( |\$)"; }
none_left() {
    local tries=0
    while pids "$1" >/dev/null && [ $tries -lt 50 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    ! pids "$1" >/dev/null
}

# Waits for a line with "$1" in a file, or the end of the job.
wait_for() {
    local tries=0
    until grep -qs "$1" "$2" || [ $tries -gt 3000 ] || ! kill -0 $job 2>/dev/null; do
        sleep 0.02
        tries=$((tries + 1))
    done
}

# start_job NAME COMMAND...: a long training in NAME by two processes, which has a checkpoint when
# this returns.
start_job() {
    timeout 120 "${mpirun[@]}" -n 2 "${@:2}" "$clformer" "${recipe[@]}" --max-updates 1000000 \
        -o "$1" --accumulate 2 >out 2>err </dev/null &
    job=$!
    wait_for '"checkpoint"' "$1/metrics.jsonl"
}
end_job() {
    wait $job
    code=$?
}

# The disk fills up while the training runs: MPI itself needs large files when it starts.
test_full_disk() {
    command -v prlimit >/dev/null || return
    local pid
    start_job full bash -c 'trap "" XFSZ; exec "$@"' -
    for pid in $(pids full); do prlimit --pid "$pid" --fsize=20000 || kill "$pid"; done
    end_job
    check "a full disk" says "cannot write"
    check "a full disk: all end" none_left full
}

# A lost process ends the others, and the last checkpoint is good.
test_lost_process() {
    local which
    for which in 1 2; do
        start_job lost$which
        kill -KILL "$(pids lost$which | sed -n ${which}p)"
        end_job
        check "process $which is lost" says "signal 9"
        check "process $which is lost: the others end" none_left lost$which
        ranks 2 "$clformer" "${recipe[@]}" --max-updates 1000 --accumulate 2 --resume \
            --epochs 1 -o lost$which
        check "process $which is lost: the last checkpoint is good" succeeded
    done
}

test_equality
test_other_shapes
test_resumption
test_misfits
test_full_disk
test_lost_process
echo "$checks checks, $failures failed"
[ $failures -eq 0 ]
