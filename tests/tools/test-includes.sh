#!/bin/sh
# SPDX-License-Identifier: MIT
# Includes run downward only: each room sees the rooms named here and the public headers; OpenCL
# is seen by src/device alone. Usage: test-includes.sh SOURCE_ROOT
set -eu

# Prints one line per include that breaks a rule.
check() {
    (cd "$1" && find include src tools -name '*.[ch]' -o -name '*.cc' | sort | xargs awk '
    BEGIN {
        below["base"] = ""
        below["text"] = "base"
        below["device"] = "base"
        below["ops"] = "device base"
        below["model"] = "ops device base"
        below["formats"] = "model ops device text base"
        below["decode"] = "model ops device text base"
        below["train"] = "formats model ops device text base"
        below["translate"] = "decode formats model ops device text base"
        below["probe"] = "decode model ops device text base"
    }
    function refuse(why) { printf "%s:%d: %s: %s\n", FILENAME, FNR, $0, why }
    function is_below(room, other) { return index(" " below[room] " ", " " other " ") > 0 }
    !/^[ \t]*#[ \t]*include[ \t]*[<"]/ { next }
    {
        quoted = /include[ \t]*"/
        split($0, halves, /[<"]/)
        target = halves[2]
        sub(/[>"].*/, "", target)
        split(target, parts, "/")
        split(FILENAME, path, "/")
        room = path[2]
        if (target ~ /^(CL\/|OpenCL\/|clblast)/ && FILENAME !~ /^src\/device\//) {
            refuse("only src/device sees OpenCL and CLBlast")
        } else if (!quoted) {
            next
        } else if (path[1] == "include") {
            refuse("a public header includes only <clformer/...> and system headers")
        } else if (path[1] == "tools") {
            if (target ~ /\//) refuse("a tool includes only <clformer/...> and its neighbours")
        } else if (!(room in below)) {
            refuse("a room that the table does not know")
        } else if (parts[1] != room && !is_below(room, parts[1])) {
            refuse("not below src/" room)
        }
    }')
}

# The check itself must see each kind of violation, and nothing else.
self_test() {
    made=$(mktemp -d)
    trap 'rm -rf "$made"' EXIT
    mkdir -p "$made/include/clformer" "$made/src/base" "$made/src/ops" "$made/src/decode" \
        "$made/src/cellar" "$made/tools"
    printf '#include <stdio.h>\n#include <clformer/a.h>\n#include "ops/b.h"\n' >"$made/src/ops/good.c"
    printf '#include "base/file.h"\n#include "device/memory.h"\n' >>"$made/src/ops/good.c"
    printf '#include "lines.h"\n#include <clformer/a.h>\n' >"$made/tools/good.c"
    printf '#include "ops/ops.h"\n' >"$made/src/base/upward.c"
    printf '#include "formats/format.h"\n' >"$made/src/decode/sideways.h"
    printf '# include <CL/cl.h>\n' >"$made/src/ops/opencl.c"
    printf '#include <clblast_c.h>\n' >"$made/tools/clblast.c"
    printf '#include "base/file.h"\n' >"$made/tools/private.c"
    printf '#include "base/file.h"\n' >"$made/include/clformer/private.h"
    printf '#include "base/file.h"\n' >"$made/src/cellar/unknown.c"
    found=$(check "$made")
    for name in upward sideways opencl clblast tools/private clformer/private unknown; do
        if ! echo "$found" | grep -q "$name"; then
            echo "the check does not see the violation in $name"
            exit 1
        fi
    done
    if [ "$(echo "$found" | wc -l)" -ne 7 ]; then
        printf 'the check sees a violation where there is none:\n%s\n' "$found"
        exit 1
    fi
}

self_test
violations=$(check "$1")
[ -z "$violations" ] || {
    echo "$violations"
    exit 1
}
