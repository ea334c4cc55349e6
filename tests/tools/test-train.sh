#!/bin/bash
# SPDX-License-Identifier: MIT
# clformer train as its users meet it: a tiny training, its metrics and report, stopping and going
# on, killing at any moment, full disks, misuse. Usage: test-train.sh CLFORMER
set -uo pipefail

clformer=$(realpath "$1")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export CLFORMER_CACHE_DIR=$tmp/cache LC_ALL=C.UTF-8
unset CLFORMER_DEVICE
cd "$tmp" || exit 1
# The command is what is tested: emulators would take long over the same.
! "$clformer" devices | grep -q '^\* *[0-9:]* *emulator' || exit 77

# ---- what the checks below are made of -----------------------------------------------------------

checks=0
failures=0
err=''
code=''

run() {
    timeout 300 "$clformer" "$@" >out 2>err </dev/null
    code=$?
    err=$(cat err)
}

# check WHAT COMMAND...: the command must succeed.
check() {
    checks=$((checks + 1))
    "${@:2}" && return
    failures=$((failures + 1))
    echo "FAILED: $1"
    printf '  exit code %s\n  stderr: %.600s\n' "$code" "$err"
}

mentions() { [ "$code" -eq "$1" ] && [[ $err == *"clformer: "*"$2"* ]]; }
# refuses CODE TEXT ARGUMENTS...: ends with CODE and a line on standard error with TEXT.
refuses() {
    run train "${@:3}"
    check "clformer train ${*:3}: says '$2'" mentions "$1" "$2"
}

# Numbers in digits and in words, drawn by a small generator: the same text everywhere.
make_text() { # NAME LINES SEED
    awk -v lines="$2" -v x="$3" -v source="$1.digits" -v target="$1.words" '
        function draw(n) { x = (x * 1103515245 + 12345) % 2147483648; return int(x / 65536) % n }
        BEGIN {
            split("zero one two three four five six seven eight nine", word, " ")
            for (i = 0; i < lines; i++) {
                digits = words = ""
                for (k = 2 + draw(6); k > 0; k--) {
                    d = draw(10)
                    digits = digits (digits == "" ? "" : " ") d
                    words = words (words == "" ? "" : " ") word[d + 1]
                }
                print digits >source
                print words >target
            }
        }'
}

make_text train 300 1
make_text valid 20 2
texts=(train.digits train.words)
recipe=(--width 32 --heads 2 --layers 1 --ffn 64 --vocab-size 48 --batch-tokens 400 --seed 7
    --max-updates 120 --save-every 10 --validate-every 40 --log-every 5 --average-decay 0.9
    --max-length 20 --max-positions 20 --valid-source valid.digits --valid-target valid.words)

train() { run train "${texts[@]}" "${recipe[@]}" -o "$@"; }

# ---- misuse, for which no device is needed -------------------------------------------------------

test_misuse() {
    refuses 2 "needs SOURCE, TARGET and -o DIR"
    refuses 2 "needs SOURCE, TARGET and -o DIR" "${texts[@]}"
    refuses 2 "needs SOURCE, TARGET and -o DIR" train.digits -o model
    refuses 2 "go together" "${texts[@]}" -o model --valid-source valid.digits
    refuses 2 "contradict" "${texts[@]}" -o model --resume --overwrite
    refuses 2 "--best-by bleu needs" "${texts[@]}" -o model --best-by bleu
    refuses 2 "use loss|bleu" "${texts[@]}" -o model --best-by luck
    refuses 2 "use tiny|small|base|big" "${texts[@]}" -o model --preset gigantic
    refuses 2 "not a number" "${texts[@]}" -o model --learning-rate fast
    refuses 2 "not a number" "${texts[@]}" -o model --max-updates 1e3
    refuses 1 "absent: cannot open" absent train.words -o model
    refuses 1 "absent: cannot open" "${texts[@]}" --valid-source absent --valid-target valid.words \
        -o model
    check "nothing was made" [ ! -e model ]
}

test_wrong_values() {
    refuses 2 "attention heads" "${texts[@]}" "${recipe[@]}" -o wrong --heads 5
    refuses 2 "dropout" "${texts[@]}" "${recipe[@]}" -o wrong --dropout 1.5
    refuses 2 "learning rate" "${texts[@]}" "${recipe[@]}" -o wrong --learning-rate -1
}

# ---- texts ---------------------------------------------------------------------------------------

# bad_text TEXT: train.digits with words.bad must be refused with TEXT.
bad_text() { refuses 1 "$1" train.digits words.bad "${recipe[@]}" -o bad --vocab model/vocab; }

test_bad_texts() {
    head -n 299 train.words >words.bad
    bad_text "299"
    sed '17s/.*//' train.words >words.bad
    bad_text "words.bad: line 17"
    sed $'42s/$/ \xff/' train.words >words.bad
    bad_text "words.bad: line 42"
    : >words.bad
    bad_text "words.bad"
    head -n 19 valid.words >short.words
    refuses 1 "must match up" "${texts[@]}" "${recipe[@]}" --vocab model/vocab -o bad \
        --valid-target short.words
}

# ---- a training ----------------------------------------------------------------------------------

# Every line is an object, updates never fall, each kind of line is there; the loss does fall.
metrics_are_good() { # FILE STARTS
    python3 - "$@" <<'EOF'
import json, math, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
kinds = {kind: [l for l in lines if l['event'] == kind]
         for kind in ('start', 'train', 'validation', 'checkpoint')}
updates = [line['update'] for line in lines]
assert updates == sorted(updates), updates
assert sum(len(kind) for kind in kinds.values()) == len(lines)
assert len(kinds['start']) == int(sys.argv[2]), kinds['start']
trained = [line['update'] for line in kinds['train']]
assert trained == list(range(5, 121, 5)), trained
assert [line['update'] for line in kinds['validation']] == [40, 80, 120]
assert [line['update'] for line in kinds['checkpoint']] == list(range(10, 121, 10))
assert all(math.isfinite(line['bleu']) for line in kinds['validation'])
assert kinds['train'][-1]['loss'] < kinds['train'][0]['loss']
assert kinds['start'][0]['pairs'] == 300 and kinds['start'][0]['updates'] == 120
EOF
}

# Each element is closed, nothing is loaded from elsewhere, all curves are there.
report_is_good() {
    python3 - "$1" <<'EOF'
import html.parser, sys
class Page(html.parser.HTMLParser):
    open, seen = [], []
    def handle_starttag(self, tag, attributes):
        assert not {'src', 'href'} & {name for name, value in attributes}, tag
        self.seen.append(tag)
        if tag not in ('meta', 'br'): self.open.append(tag)
    def handle_startendtag(self, tag, attributes): self.seen.append(tag)
    def handle_endtag(self, tag): assert self.open.pop() == tag, tag
page, text = Page(), open(sys.argv[1], encoding='utf-8').read()
page.feed(text)
page.close()
assert page.open == [], page.open
assert page.seen.count('svg') == 5 and 'http-equiv' not in text and 'nan' not in text
assert '--batch-tokens 400' in text and 'finished' in text
EOF
}

test_training() {
    train model
    check "train" [ $code -eq 0 ]
    check "the last line says what there is" grep -q "model of the best validation" err
    check "a validation's line" grep -q "validation after update 40: loss .* BLEU " err
    check "metrics.jsonl" metrics_are_good model/metrics.jsonl 1
    check "report.html" report_is_good model/report.html
    run translate --model model valid.digits
    check "the model translates" [ "$code-$(wc -l <out)" = "0-$(wc -l <valid.digits)" ]
    cp model/model.safetensors reference.safetensors
    train model
    check "a second training in the directory" mentions 2 "--resume"
    train model --resume
    check "resuming what is finished" [ $code -eq 0 ]
    train model --resume --learning-rate 1e-3
    check "resuming with another recipe" mentions 2 "same options"
    check "refusals leave the model alone" cmp model/model.safetensors reference.safetensors
}

same_model() { [ $code -eq 0 ] && cmp "$1/model.safetensors" reference.safetensors; }

test_overwrite() {
    cp -r model again
    train again --overwrite --quiet
    check "--overwrite: the same training gives the same model" same_model_quietly
    check "--overwrite: metrics anew" metrics_are_good again/metrics.jsonl 1
}
same_model_quietly() { same_model again && [ -z "$err" ]; }

test_segmented() {
    run train "${texts[@]}" "${recipe[@]}" -o segmented --segmented --max-updates 10
    check "--segmented" [ $code -eq 0 ]
    check "--segmented: no SentencePiece" [ ! -e segmented/source.spm ]
    run train "${texts[@]}" "${recipe[@]}" -o initial --init model --max-updates 2 --no-bleu
    check "--init" [ $code -eq 0 ]
    check "--no-bleu" grep -q '"bleu":null' initial/metrics.jsonl
}

# ---- stopping and going on -----------------------------------------------------------------------

# start DIRECTORY: a training in the background, $job, which may be resumed.
start() {
    "$clformer" train "${texts[@]}" "${recipe[@]}" -o "$1" --resume >out 2>err </dev/null &
    job=$!
}

# Waits for a line with "$1" in a file, or the end of the job.
wait_for() {
    local tries=0
    until grep -qs "$1" "$2" || [ $tries -gt 3000 ] || ! kill -0 $job 2>/dev/null; do
        sleep 0.02
        tries=$((tries + 1))
    done
}

test_interrupt() {
    start stopped
    wait_for '"train","update":15' stopped/metrics.jsonl
    kill -INT $job
    wait $job
    code=$? err=$(cat err)
    check "Ctrl-C" mentions 130 "with --resume"
    check "Ctrl-C: the report says so" grep -q stopped stopped/report.html
    train stopped --resume
    check "going on after Ctrl-C ends with the same model" same_model stopped
    check "going on: one more start" [ "$(grep -c '"start"' stopped/metrics.jsonl)" -eq 2 ]
}

test_kill() {
    local round moment
    for round in $(seq 8); do
        start killed
        moment=$((RANDOM % 24 * 5))
        [ $((round % 2)) -eq 0 ] && wait_for "\"update\":$moment," killed/metrics.jsonl
        sleep 0.$((RANDOM % 7))$((RANDOM % 10))
        kill -KILL $job 2>/dev/null
        wait $job 2>/dev/null
    done
    train killed --resume
    check "kill -9 in the end gives the same model" same_model killed
    run translate --model killed valid.digits
    check "kill -9: the model translates" [ $code -eq 0 ]
}

test_damage() {
    local newest
    cp -r model damaged
    newest=$(find damaged/checkpoints -name 'update-*' | sort | tail -n 1)
    truncate -s 1000 "$newest"
    train damaged --resume
    check "a truncated checkpoint: the one before serves" same_model damaged
    check "a truncated checkpoint: a warning" mentions 0 "warning"
}

# No file may grow beyond $1 KiB.
on_small_disk() {
    (
        trap '' XFSZ
        ulimit -f "$1"
        timeout 300 "$clformer" train "${texts[@]}" "${recipe[@]}" "${@:2}" >out 2>err </dev/null
    )
    code=$?
    err=$(cat err)
}

test_full_disk() {
    on_small_disk 64 -o small --vocab model/vocab
    check "a full disk" mentions 1 "cannot write"
    train small --vocab model/vocab --resume
    check "a full disk: going on with more room" same_model small
    mkdir -p blocked/metrics.jsonl
    train blocked
    check "metrics that cannot be written: a warning" mentions 0 "metrics.jsonl: cannot write"
    check "metrics that cannot be written: the same model" same_model blocked
    train train.words
    check "a file in the directory's place" mentions 1 "train.words"
    train /dev/null/model
    check "a directory that cannot be made" mentions 1 "/dev/null"
}

# --------------------------------------------------------------------------------------------------

finish() {
    echo "$checks checks, $failures failed"
    [ $failures -eq 0 ] || exit 1
    exit "$1"
}

test_misuse
"$clformer" devices >/dev/null 2>&1 || finish 77
test_training
test_wrong_values
test_bad_texts
test_overwrite
test_segmented
test_interrupt
test_kill
test_damage
test_full_disk
finish 0
