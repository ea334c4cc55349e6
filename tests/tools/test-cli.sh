#!/bin/bash
# SPDX-License-Identifier: MIT
# The command as its users meet it: misuse, bad models, bad input, pipes, interruption.
# Usage: test-cli.sh CLFORMER MODEL MAN_PAGE
set -uo pipefail

clformer=$(realpath "$1")
model=$(realpath -m "$2")
man_page=$3
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export CLFORMER_CACHE_DIR=$tmp/cache LC_ALL=C.UTF-8
unset CLFORMER_DEVICE

# ---- what the checks below are made of -----------------------------------------------------------

checks=0
failures=0
out=''
err=''
code=''

# Runs the command with "$@"; standard input stays as it is.
run() {
    timeout 120 "$clformer" "$@" >"$tmp/out" 2>"$tmp/err"
    code=$?
    out=$(cat "$tmp/out")
    err=$(cat "$tmp/err")
}

fail() {
    failures=$((failures + 1))
    echo "FAILED: $1"
    printf '  exit code %s\n  stdout: %.300s\n  stderr: %.300s\n' "$code" "$out" "$err"
}

# check WHAT COMMAND...: the command must succeed.
check() {
    checks=$((checks + 1))
    "${@:2}" || fail "$1"
}

# refuses CODE TEXT ARGUMENTS...: ends with CODE and a single line on standard error with TEXT.
refuses() {
    run "${@:3}" </dev/null
    check "clformer ${*:3}: says '$2'" refused "$1" "$2"
}
refused() {
    [ "$code" -eq "$1" ] && [ -z "$out" ] && [[ $err == "clformer: "*"$2"* ]] &&
        [ "$(wc -l <"$tmp/err")" -eq 1 ]
}

# succeeds WHAT ARGUMENTS...: standard input stays as it is; nothing on standard error.
succeeds() {
    run "${@:2}"
    check "$1" succeeded
}
succeeded() { [ "$code" -eq 0 ] && [ -z "$err" ]; }

# translate ARGUMENTS...: greedy unless the arguments say otherwise.
translate() { run translate --model "$model" --beam 1 "$@"; }
gives() { succeeded && [ "$out" == "$1" ]; }
lines_are() { succeeded && [ "$(wc -l <"$tmp/out")" -eq "$1" ]; }

# ---- help and misuse, for which no device is needed ----------------------------------------------

mentions() { [ "$code" -eq "$1" ] && [[ $2 == *"$3"* ]]; }

# Every option of a command's help stands in the man page.
in_man_page() {
    local option
    for option in $(grep -o -e '--[a-z0-9-]*' <<<"$out" | sort -u); do
        grep -qE -e "${option//-/\\\\-}([^a-z0-9\\\\]|\$)" "$man_page" || {
            echo "$option is not in the man page"
            return 1
        }
    done
}

test_help() {
    local command
    run
    check "no arguments: usage" mentions 2 "$err" "usage: clformer"
    run --help
    check "--help" mentions 0 "$out" "usage: clformer"
    for command in $(awk '/^commands:/ { on = 1; next } /^$/ { on = 0 } on { print $1 }' "$tmp/out"); do
        run "$command" --help
        check "$command --help" mentions 0 "$out" "usage: clformer $command"
        check "$command: options in the man page" in_man_page
        check "$command: in the man page" grep -q "^.B clformer $command" "$man_page"
    done
    run --version
    check "--version" mentions 0 "$out" "clformer "
    run --help
    check "try is not for users" [ "$(grep -cw try "$tmp/out")" -eq 0 ]
}

test_misuse() {
    local arguments=(--model "$model")
    refuses 2 "unknown command frobnicate" frobnicate
    refuses 2 "unknown option --frobnicate" translate --frobnicate
    refuses 2 "unknown option -Z" translate -Z
    refuses 2 "unknown option -Z" translate -qZq
    refuses 2 "--model needs a value" translate --model
    refuses 2 "-m needs a value" translate -m
    refuses 2 "needs --model" translate
    refuses 2 "needs --model" score
    refuses 2 "SOURCE and TARGET" score "${arguments[@]}" one
    refuses 2 "cannot both" score "${arguments[@]}" - -
    refuses 2 "--beam two: not a number" translate "${arguments[@]}" --beam two
    refuses 2 "--beam 2x: not a number" translate "${arguments[@]}" --beam 2x
    refuses 2 "not a number" translate "${arguments[@]}" --beam 99999999999
    refuses 2 "not a number" translate "${arguments[@]}" --beam ''
    refuses 2 "not a number" translate "${arguments[@]}" --length-penalty nan
    refuses 2 "true, false or never" translate "${arguments[@]}" --early-stopping maybe
    refuses 2 "token ids" translate "${arguments[@]}" --suppress 1,x
    refuses 2 "DEVICE and VARIANT" try 0:0
    refuses 2 "DEVICE and VARIANT" try 0:0 one two
}

test_no_platform() {
    mkdir "$tmp/vendors"
    OCL_ICD_VENDORS=$tmp/vendors/ OCL_ICD_FILENAMES='' run translate --model "$model" </dev/null
    check "no OpenCL platform" refused 1 "no OpenCL device"
    OCL_ICD_VENDORS=$tmp/vendors/ OCL_ICD_FILENAMES='' run devices
    check "no OpenCL platform: devices" refused 1 "no OpenCL device"
    echo /nowhere/lib.so >"$tmp/vendors/broken.icd"
    OCL_ICD_VENDORS=$tmp/vendors/ OCL_ICD_FILENAMES='' run devices
    check "broken OpenCL platform" refused 1 "no OpenCL device"
}

# ---- eval, for which no device is needed either --------------------------------------------------

test_eval() {
    local bleu chrf
    printf '%s\n' "The dog bit the man." "It wasn't surprising." "The man had just bitten him." >"$tmp/hyps"
    printf '%s\n' "The dog bit the man." "It was not unexpected." "The man bit him first." >"$tmp/refs-a"
    printf '%s\n' "The dog had bit the man." "No one was surprised." "The man had bitten the dog." >"$tmp/refs-b"
    bleu='BLEU|nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0 = 48.5 82.4/50.0/45.5/37.5 (BP = 0.943 ratio = 0.944 hyp_len = 17 ref_len = 18)'
    chrf='chrF2|nrefs:2|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0 = 59.7'
    run eval "$tmp/refs-a" "$tmp/refs-b" <"$tmp/hyps"
    check "eval" gives "  $bleu"$'\n'"$chrf"
    run eval --hypotheses "$tmp/hyps" --metric bleu "$tmp/refs-a" - <"$tmp/refs-b"
    check "eval --hypotheses, a reference from standard input" gives "$bleu"
    run eval -m chrf --chrf-word-order 2 -w 6 "$tmp/refs-a" "$tmp/refs-b" <"$tmp/hyps"
    check "eval: chrF++, --width" mentions 0 "$out" 'chrF2++|nrefs:2|case:mixed|eff:yes|nc:6|nw:2|space:no|version:2.6.0 = 59.153104'
    sed 's/$/\r/' "$tmp/hyps" | tr a-z A-Z >"$tmp/capitals"
    run eval -m bleu --lowercase "$tmp/refs-a" "$tmp/refs-b" <"$tmp/capitals"
    check "eval --lowercase, CRLF" gives "${bleu/mixed/lc}"
    run eval -m bleu -t char -s floor:0.25 "$tmp/hyps" <"$tmp/hyps"
    check "eval --tokenize, --smooth" mentions 0 "$out" 'eff:no|tok:char|smooth:floor[0.25]|version:2.6.0 = 100.0 '
    run eval --json -w 0 "$tmp/hyps" <"$tmp/hyps"
    check "eval --json" python3 -c 'import json, sys
bleu, chrf = json.load(open(sys.argv[1]))
assert (bleu["name"], bleu["score"], bleu["tok"]) == ("BLEU", 100, "13a")
assert bleu["verbose_score"] == "100.0/100.0/100.0/100.0 (BP = 1.000 ratio = 1.000 hyp_len = 17 ref_len = 17)"
assert chrf["signature"].endswith("version:2.6.0") and chrf["nc"] == "6"' "$tmp/out"
    refuses 2 "needs a REFERENCE" eval
    refuses 2 "standard input" eval -
    refuses 2 "bleu, chrf" eval -m bleu,ter "$tmp/refs-a"
    refuses 2 "13a|zh|char|none" eval -t intl "$tmp/refs-a"
    refuses 2 "exp, floor" eval -s floor:x "$tmp/refs-a"
    refuses 2 "exp, floor" eval -s magic --hypotheses "$tmp/hyps" "$tmp/refs-a"
    refuses 2 "takes no value" eval -s exp:1 --hypotheses "$tmp/hyps" "$tmp/refs-a"
    refuses 2 "--width 99" eval -w 99 "$tmp/refs-a"
    refuses 2 "word order" eval -m chrf --chrf-word-order 99 --hypotheses "$tmp/hyps" "$tmp/refs-a"
    refuses 1 "$tmp/absent" eval "$tmp/absent"
    refuses 1 "$tmp/absent" eval "$tmp/refs-a" --hypotheses "$tmp/absent"
    refuses 1 "refs-a has 3 lines, standard input has 0" eval "$tmp/refs-a"
    refuses 1 "no lines" eval --hypotheses /dev/null /dev/null
}

# ---- vocab, for which no device is needed either -------------------------------------------------

has_files() {
    [ "$code" -eq 0 ] && [ -z "$out" ] && [ "$(cd "$1" && echo *)" = "$2" ]
}

test_vocab() {
    local i
    for i in 1 2 3 4 5 6 7 8; do echo "the cat $i sat on the mat, the dog on the log"; done >"$tmp/en"
    for i in 1 2 3 4 5 6 7 8; do echo "le chat $i, le chien et la souris"; done >"$tmp/fr"
    run vocab -o "$tmp/joint" --size 30 "$tmp/en" "$tmp/fr"
    check "vocab" has_files "$tmp/joint" "source.spm target.spm tokenizer_config.json vocab.json"
    run vocab --output "$tmp/both" -s 28 --source "$tmp/en" --target "$tmp/fr" --coverage 1 --model-type bpe
    check "vocab --source --target" has_files "$tmp/both" \
        "source.spm target.spm target_vocab.json tokenizer_config.json vocab.json"
    run vocab -o "$tmp/words" --segmented "$tmp/en"
    check "vocab --segmented" has_files "$tmp/words" "tokenizer_config.json vocab.json"
    check "vocab: a warning" mentions 0 "$err" "warning: $tmp/words/vocab.json: the text has only 17 pieces, not 8000"
    refuses 2 "needs --output" vocab "$tmp/en"
    refuses 2 "FILEs or both" vocab -o "$tmp/no"
    refuses 2 "FILEs or both" vocab -o "$tmp/no" --source "$tmp/en"
    refuses 2 "FILEs or both" vocab -o "$tmp/no" --target "$tmp/en" "$tmp/fr"
    refuses 2 "FILEs or both" vocab -o "$tmp/no" --source "$tmp/fr" --target "$tmp/en" "$tmp/fr"
    refuses 2 "use unigram|bpe|char|word" vocab -o "$tmp/no" --model-type magic "$tmp/en"
    refuses 2 "holds a model" vocab -o "$model" "$tmp/en"
    refuses 1 "required_chars" vocab -o "$tmp/no" --size 5 "$tmp/en"
    refuses 1 "$tmp/absent" vocab -o "$tmp/no" "$tmp/en" "$tmp/absent"
    printf 'good\nbad \xff\n' >"$tmp/bytes"
    refuses 1 "$tmp/bytes: line 2 is not valid UTF-8" vocab -o "$tmp/no" "$tmp/bytes"
}

# ---- devices and options that the library checks -------------------------------------------------

test_devices() {
    run devices
    check "devices marks one" [ "$(grep -c '^\*' "$tmp/out")" -eq 1 ]
    local index
    index=$(awk '/^\*/ { print $2 }' "$tmp/out")
    run devices --device "$index"
    check "devices --device $index" [ "$(awk '/^\*/ { print $2 }' "$tmp/out")" = "$index" ]
    refuses 1 "no device matches 'nonsense'" translate --model "$model" --device nonsense
    refuses 1 "no device matches '9:9'" translate --model "$model" --device 9:9
    export CLFORMER_DEVICE=nonsense
    refuses 1 "no device matches 'nonsense'" translate --model "$model"
    succeeds "--device wins over CLFORMER_DEVICE" translate --model "$model" -d "$index" </dev/null
    unset CLFORMER_DEVICE
    refuses 2 "no variant 'nonsense'" try "$index" nonsense
    refuses 1 "no device matches '9:9'" try 9:9 nonsense
    translate --verbose </dev/null
    check "--verbose names a device" mentions 0 "$err" "clformer: "
}

test_wrong_values() {
    local arguments=(translate --model "$model")
    echo ku >"$tmp/ku"
    refuses 2 "beam" "${arguments[@]}" --beam -1 "$tmp/ku"
    refuses 2 "beam" "${arguments[@]}" --beam 1000 "$tmp/ku"
    refuses 2 "beam" "${arguments[@]}" --beam 2 --nbest 3 "$tmp/ku"
    refuses 2 "negative" "${arguments[@]}" --max-length -3 "$tmp/ku"
    refuses 2 "negative" "${arguments[@]}" --batch-tokens -3 "$tmp/ku"
    refuses 2 "max_positions" "${arguments[@]}" --max-positions -3 "$tmp/ku"
    refuses 2 "gemm" "${arguments[@]}" --gemm magic "$tmp/ku"
}

# ---- models --------------------------------------------------------------------------------------

test_bad_models() {
    local file size part
    refuses 1 "$tmp/absent" translate --model "$tmp/absent"
    mkdir "$tmp/empty"
    refuses 1 "$tmp/empty" translate --model "$tmp/empty"
    refuses 1 "$tmp/ku" translate --model "$tmp/ku"
    for file in config.json generation_config.json model.safetensors source.spm target.spm vocab.json; do
        for part in 0 1 3 7; do # eighths of the file
            rm -rf "$tmp/model"
            cp -r "$model" "$tmp/model"
            size=$(($(stat -c %s "$model/$file") * part / 8))
            truncate -s $size "$tmp/model/$file"
            refuses 1 "$file" translate --model "$tmp/model"
        done
    done
    rm -rf "$tmp/model"
    cp -r "$model" "$tmp/model"
    sed -i 's/"model_type": "marian"/"model_type": "abacus"/' "$tmp/model/config.json"
    refuses 1 "abacus" translate --model "$tmp/model"
    cp "$model/config.json" "$tmp/model"
    rm "$tmp/model/source.spm"
    refuses 1 "source.spm" translate --model "$tmp/model"
}

# ---- lines in, lines out -------------------------------------------------------------------------

# The sources of the golden files, and their translations one call each.
make_lines() {
    cut -f1 "$model/greedy.tsv" >"$tmp/sources"
    : >"$tmp/targets"
    while read -r line; do
        translate <<<"$line"
        check "translating '$line'" lines_are 1
        cat "$tmp/out" >>"$tmp/targets"
    done <"$tmp/sources"
}

test_input() {
    local expected
    expected=$(cat "$tmp/targets")
    translate </dev/null
    check "empty input" lines_are 0
    printf '\n' | translate
    check "an empty line" lines_are 1
    printf '\n \n\t\n   ' | translate
    check "blank lines" lines_are 4
    check "blank lines stay blank" [ -z "$out" ]
    translate <"$tmp/sources"
    check "one batch is as one by one" gives "$expected"
    head -c -1 "$tmp/sources" | translate
    check "last line without newline" gives "$expected"
    sed 's/$/\r/' "$tmp/sources" | translate
    check "CRLF" gives "$expected"
    printf '\001\002 ku\033[1m\n\177\0ku\n' | translate
    check "control characters" lines_are 2
    printf '\377\376ku\nku \300\257\nku\360\237\n\355\240\200\n' | translate
    check "invalid UTF-8" lines_are 4
    printf 'ku \xf0\x9f\x98\x80 \xe4\xbd\xa0\xe5\xa5\xbd \xe2\x80\xa8 \xc2\x85 ku\n' | translate
    check "characters the model never saw" lines_are 1
    yes "$(tr '\n' ' ' <"$tmp/sources")" | tr '\n' ' ' | head -c 100000 >"$tmp/long"
    translate "$tmp/long"
    check "a line of 100 KB" lines_are 1
    translate --no-split "$tmp/long"
    check "a line of 100 KB, not split" lines_are 1
}

test_files() {
    local sources=$tmp/sources twice
    twice=$(cat "$tmp/targets" "$tmp/targets")
    translate "$sources" "$sources"
    check "two files" gives "$twice"
    translate - "$sources" <"$sources"
    check "standard input and a file" gives "$twice"
    head -c -1 "$sources" >"$tmp/unended"
    translate "$tmp/unended" "$sources"
    check "a file without a last newline" gives "$twice"
    translate "$tmp/absent"
    check "an absent file" refused 1 "$tmp/absent"
    translate "$tmp"
    check "a directory" refused 1 "$tmp"
}

# Several windows through a pipe, in order.
test_many_lines() {
    for _ in $(seq 500); do cat "$tmp/sources"; done >"$tmp/many"
    for _ in $(seq 500); do cat "$tmp/targets"; done >"$tmp/expected"
    cat "$tmp/many" | timeout 300 "$clformer" translate -m "$model" -b 1 >"$tmp/out" 2>"$tmp/err"
    code=$?
    check "3000 lines through a pipe, order kept" cmp "$tmp/out" "$tmp/expected"
    check "3000 lines through a pipe: exit code" [ $code -eq 0 ]
}

test_batches() {
    local size
    run translate -m "$model" "$tmp/sources"
    local expected=$out
    for size in 1 17 100000; do
        run translate -m "$model" --batch-tokens $size "$tmp/sources"
        check "--batch-tokens $size" gives "$expected"
    done
}

# ---- output --------------------------------------------------------------------------------------

# LINE<tab>SCORE<tab>TEXT, two for each of "$1" lines, scores falling.
is_nbest() {
    succeeded && awk -F '\t' -v lines="$1" '
        NF != 3 || $2 !~ /^-?[0-9]+\.[0-9]+$/ || $1 != int((NR + 1) / 2) { exit bad = 1 }
        NR % 2 == 0 && $2 > before { exit bad = 1 }
        { before = $2 }
        END { exit bad || NR != 2 * lines }' "$tmp/out"
}

test_output() {
    local lines beam4
    lines=$(wc -l <"$tmp/sources")
    run translate -m "$model" -b 4 "$tmp/sources"
    beam4=$out
    run translate -m "$model" -b 4 --nbest 2 "$tmp/sources"
    check "--nbest" is_nbest "$lines"
    check "--nbest: the first is the translation" \
        [ "$(awk -F '\t' 'NR % 2 { print $3 }' "$tmp/out")" = "$beam4" ]
    awk -F '\t' 'NR % 2 { print $2 "\t" $3 }' "$tmp/out" >"$tmp/expected"
    run translate -m "$model" -b 4 --scores "$tmp/sources"
    check "--scores" cmp "$tmp/out" "$tmp/expected"
    translate --prefix 'zé' "$tmp/sources"
    check "--prefix" [ "$(grep -c '^zé' "$tmp/out")" -eq "$lines" ]
    translate "$tmp/sources" --max-length 2
    check "--max-length" lines_are "$lines"
    translate --trace "$tmp/trace.json" "$tmp/sources"
    check "--trace writes JSON" python3 -m json.tool "$tmp/trace.json" /dev/null
    check "--trace names kernels" grep -q linear "$tmp/trace.json"
    translate --profile "$tmp/sources"
    check "--profile" mentions 0 "$err" "GFLOP/s"
    check "--profile leaves the output alone" [ "$out" = "$(cat "$tmp/targets")" ]
    translate --trace "$tmp/absent/trace.json" </dev/null
    check "--trace that cannot be written" mentions "$code" "$err" "$tmp/absent/trace.json"
    translate --cache-dir /dev/null/cache "$tmp/sources"
    check "no cache directory: a warning, no failure" mentions 0 "$err" "warning"
}

test_full_disk() {
    [ -w /dev/full ] || return 0
    out=''
    timeout 60 "$clformer" translate -m "$model" -b 1 "$tmp/sources" >/dev/full 2>"$tmp/err"
    code=$? err=$(cat "$tmp/err")
    check "translate to a full disk" refused 1 "cannot write"
    timeout 60 "$clformer" score -m "$model" "$tmp/sources" "$tmp/targets" >/dev/full 2>"$tmp/err"
    code=$? err=$(cat "$tmp/err")
    check "score to a full disk" refused 1 "cannot write"
}

test_closed_pipe() {
    yes ku | timeout 120 "$clformer" translate -m "$model" -b 1 2>"$tmp/err" | head -n 1 >"$tmp/out"
    code=${PIPESTATUS[1]} out=$(cat "$tmp/out") err=$(cat "$tmp/err")
    check "a closed pipe ends the command quietly" [ "$code-$err" = 141- ]
    check "a closed pipe: the first line is there" [ "$(wc -l <"$tmp/out")" -eq 1 ]
}

# Starts the command on the open pipe 3, waits for its first output and interrupts it.
interrupt() {
    local job tries=0
    : >"$tmp/out"
    "$clformer" translate -m "$model" -b 1 <&3 >"$tmp/out" 2>"$tmp/err" &
    job=$!
    while [ ! -s "$tmp/out" ] && [ $tries -lt 1200 ] && sleep 0.1; do tries=$((tries + 1)); done
    kill -INT $job
    wait $job
    code=$? out=$(head -c 300 "$tmp/out") err=$(cat "$tmp/err")
}

test_interrupt() {
    mkfifo "$tmp/fifo"
    exec 3<>"$tmp/fifo"
    yes ku >"$tmp/fifo" 2>/dev/null &
    local writer=$!
    interrupt
    kill $writer
    wait $writer 2>/dev/null
    check "Ctrl-C ends the command quietly" [ "$code-$err" = 130- ]
    check "Ctrl-C leaves whole lines" [ -z "$(tail -c 1 "$tmp/out")" ]
    exec 3<&-
    rm "$tmp/fifo"
    mkfifo "$tmp/fifo"
    exec 3<>"$tmp/fifo"
    echo ku >&3
    interrupt
    check "Ctrl-C while waiting for input" [ "$code-$err" = 130- ]
    check "an answer before the input ends" [ "$(wc -l <"$tmp/out")" -eq 1 ]
    exec 3<&-
}

# ---- convert -------------------------------------------------------------------------------------

# Log-probabilities as those of the model before, to $1.
scores_within() {
    succeeded && paste "$tmp/scores" "$tmp/out" | awk -F '\t' -v bound="$1" '
        $1 - $3 > bound || $3 - $1 > bound || $2 != $4 { exit bad = 1 }
        END { exit bad || NR == 0 }'
}

test_convert() {
    local kind weights
    run score -m "$model" "$tmp/sources" "$tmp/targets"
    cp "$tmp/out" "$tmp/scores"
    for weights in f16 int8; do
        run score -m "$model" --weights $weights "$tmp/sources" "$tmp/targets"
        # A tiny random model is sensitive: -76 becomes -69 with 8 bits.
        check "weights in $weights: scores" scores_within $([ $weights = f16 ] && echo 0.5 || echo 10)
    done
    refuses 2 "--weights" score -m "$model" --weights f64 "$tmp/sources" "$tmp/targets"
    for kind in huggingface ctranslate2; do
        for weights in f32 f16; do
            run convert "$model" -o "$tmp/converted/$kind-$weights" -f $kind -w $weights
            check "convert to $kind $weights" lines_are 0
            run score -m "$tmp/converted/$kind-$weights" "$tmp/sources" "$tmp/targets"
            check "convert to $kind $weights: scores" scores_within $([ $weights = f32 ] && echo 1e-4 || echo 0.5)
        done
    done
    translate --model "$tmp/converted/huggingface-f32" "$tmp/sources"
    check "convert to huggingface f32: translations" gives "$(cat "$tmp/targets")"
    run convert "$model" -o "$tmp/converted/int8" --weights int8
    check "convert to int8" lines_are 0
    check "int8 is CTranslate2's" [ -f "$tmp/converted/int8/model.bin" ]
    translate --model "$tmp/converted/int8" "$tmp/sources"
    check "convert to int8: translates" lines_are "$(wc -l <"$tmp/sources")"
    refuses 2 "needs MODEL" convert "$model"
    refuses 2 "needs MODEL" convert -o "$tmp/converted/none"
    refuses 2 "int8" convert "$model" -o "$tmp/converted/none" -f huggingface -w int8
    refuses 2 "--weights" convert "$model" -o "$tmp/converted/none" -w f64
    refuses 2 "holds a model already" convert "$model" -o "$tmp/converted/int8"
    refuses 1 "$tmp/absent" convert "$tmp/absent" -o "$tmp/converted/none"
    refuses 1 "/dev/null/none" convert "$model" -o /dev/null/none
    check "nothing is left of a refused conversion" [ ! -e "$tmp/converted/none" ]
}

# ---- score ---------------------------------------------------------------------------------------

# LOGPROB<tab>TOKENS<tab>PIECE=LOGPROB ..., whose sum is the first.
adds_up() {
    awk -F '\t' '{
        n = split($3, parts, " ")
        sum = 0
        for (i = 1; i <= n; i++) { sub(/.*=/, "", parts[i]); sum += parts[i] }
        if (NF != 3 || n != $2 || sum - $1 > 1e-4 || $1 - sum > 1e-4) exit bad = 1
    } END { exit bad || NR == 0 }' "$tmp/out"
}

test_score() {
    local lines sources=$tmp/sources targets=$tmp/targets
    lines=$(wc -l <"$sources")
    run score -m "$model" "$sources" "$targets"
    check "score" lines_are "$lines"
    local plain=$out
    run score -m "$model" --tokens "$sources" "$targets"
    check "score --tokens" adds_up
    check "score: with and without --tokens" [ "$(cut -f 1,2 "$tmp/out")" = "$plain" ]
    run score -m "$model" --batch-tokens 1 "$sources" - <"$targets"
    check "score: small batches, standard input" [ "$(cut -f 2 "$tmp/out")" = "$(cut -f 2 <<<"$plain")" ]
    head -n 2 "$targets" >"$tmp/two"
    run score -m "$model" "$sources" "$tmp/two"
    check "score: targets end early" mentions 1 "$err" "differ in length after line 2"
    run score -m "$model" "$tmp/two" "$targets"
    check "score: sources end early" mentions 1 "$err" "differ in length after line 2"
    run score -m "$model" /dev/null /dev/null
    check "score: nothing" lines_are 0
    run score -m "$model" "$sources" "$tmp/absent"
    check "score: an absent file" refused 1 "$tmp/absent"
    run score -m "$model" "$sources" "$tmp/long"
    check "score: a line too long says so" mentions 2 "$err" "split the line"
}

# --------------------------------------------------------------------------------------------------

finish() {
    echo "$checks checks, $failures failed"
    [ $failures -eq 0 ] || exit 1
    exit "$1"
}

test_help
test_misuse
test_no_platform
test_eval
test_vocab
[ -d "$model" ] && "$clformer" devices >/dev/null 2>&1 || finish 77
test_devices
test_wrong_values
test_bad_models
make_lines
test_input
test_files
test_many_lines
test_batches
test_output
test_full_disk
test_closed_pipe
test_interrupt
test_convert
test_score
finish 0
