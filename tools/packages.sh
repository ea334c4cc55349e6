# SPDX-License-Identifier: MIT
# Sourced by tools/quickstart and tools/check: the Debian packages that clformer needs, and building
# it with them. pocl-opencl-icd computes on the CPU, so that there is a device on every machine.
packages='gcc g++ pkg-config meson ninja-build
    ocl-icd-opencl-dev opencl-headers pocl-opencl-icd libclblast-dev
    libsentencepiece-dev libcjson-dev libicu-dev libcunit1-dev libopenmpi-dev openmpi-bin'

# The packages among "$@" that are not installed, on one line.
missing_packages() {
    local package missing=
    for package; do
        case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
        *' installed') ;;
        *) missing="$missing $package" ;;
        esac
    done
    echo "${missing# }"
}

# Runs "$@" silently; if it fails, shows the end of what it said.
quietly() {
    local log
    log=$(mktemp)
    if ! "$@" >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

# Installs what is missing of "$@" where that needs no password; else says how, and fails.
install_packages() {
    local missing root=
    if ! command -v dpkg-query >/dev/null; then
        echo "This is not a Debian system: the packages below must be there under whatever names."
        echo $packages
        return 0
    fi
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        root='sudo -n'
        if ! $root true 2>/dev/null; then
            printf 'Packages are missing. Install them, then run this again:\n\n'
            printf '    sudo apt-get install %s\n\n' "$missing"
            return 1
        fi
    fi
    echo "Installing $missing"
    quietly $root env DEBIAN_FRONTEND=noninteractive apt-get update || true # an old list may do
    quietly $root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        -o DPkg::Lock::Timeout=300 $missing
}

# Builds into build/, which may exist already.
build() {
    [ -f build/build.ninja ] || quietly meson setup build || return 1
    quietly ninja -C build
}
