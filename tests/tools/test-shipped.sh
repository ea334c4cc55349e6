#!/bin/sh
# SPDX-License-Identifier: MIT
# The model that comes along translates. Usage: test-shipped.sh CLFORMER MODEL
set -eu

"$1" devices | grep -q '^\*' || exit 77
said=$(echo '我爱学习。' | "$1" translate --model "$2" --beam 1)
[ "$said" = 'I love studying.' ] || {
    echo "unexpected translation: $said"
    exit 1
}
size=$(du -sk "$2" | cut -f 1)
[ "$size" -le 10240 ] || {
    echo "$2 has grown to $size KiB; at most 10 MiB may come along"
    exit 1
}
