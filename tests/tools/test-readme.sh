#!/bin/sh
# SPDX-License-Identifier: MIT
# The program in README.md compiles against the public headers alone and translates.
# Usage: test-readme.sh SOURCE_ROOT BUILD_ROOT CLFORMER MODEL COMPILER...
set -eu

root=$1
build=$2
clformer=$(realpath "$3")
model=$4
shift 4
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

awk '/^```c$/ { on = 1; next } /^```/ { on = 0 } on' "$root/README.md" >"$tmp/example.c"
"$@" -std=c11 -Wall -Wextra -Wpedantic -Werror -I"$root/include" "$tmp/example.c" \
    -o "$tmp/example" -L"$build" -Wl,-rpath,"$build" -lclformer

cd "$tmp"
if ./example >out 2>err || ! grep -q opus-mt-zh-en err; then
    echo "without its model the example should fail and name it:"
    cat out err
    exit 1
fi
[ -d "$model" ] && "$clformer" devices >devices 2>&1 || exit 77
ln -s "$model" opus-mt-zh-en
sed -n 's/.*lines\[\] = {"\(.*\)"};.*/\1/p' example.c >line
"$clformer" translate --model "$model" line >expected
./example | diff expected -
