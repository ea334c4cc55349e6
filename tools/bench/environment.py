# SPDX-License-Identifier: MIT
"""The peers' venv, and what is to be said of a machine beside its figures."""

import os
import pathlib
import platform
import re
import subprocess
import sys

from measure import Failure, Setup, say

# What matters to matrix products.
FEATURES = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16",
            "amx_bf16", "amx_int8", "asimd", "asimddp", "bf16", "i8mm", "sve")


def prepare_venv(directory: pathlib.Path, packages: tuple[str, ...]) -> pathlib.Path:
    """Makes the venv if it is absent, installs what it lacks and returns its Python."""
    python = directory.absolute() / "bin/python"
    if not python.exists():
        say(f"making {directory}")
        call([sys.executable, "-m", "venv", directory])
    missing = [name for name in packages if package_version(python, name) is None]
    if missing:
        say(f"installing {', '.join(missing)}")
        try:
            call([python, "-m", "pip", "install", "--quiet", *missing])
        except Failure:
            say(f"going on without {', '.join(missing)}")
    return python


def call(command: list[str | pathlib.Path]) -> None:
    if subprocess.run(command, check=False).returncode != 0:
        raise Failure(f"failed: {' '.join(map(str, command))}")


def output_of(command: list[str | pathlib.Path]) -> str | None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def package_version(python: pathlib.Path, name: str) -> str | None:
    code = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
    return output_of([python, "-c", code, name])


def read_cpuinfo() -> tuple[str, list[str]]:
    """The CPU's name and its features among FEATURES."""
    text = pathlib.Path("/proc/cpuinfo").read_text()
    name = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*: (.*)$", text, re.MULTILINE)
    present = set(flags[1].split() if flags else [])
    return (name[1] if name else platform.machine()), [f for f in FEATURES if f in present]


def has_bf16() -> bool:
    return any("bf16" in feature for feature in read_cpuinfo()[1])


def describe(setup: Setup, packages: tuple[str, ...]) -> dict:
    cpu, features = read_cpuinfo()
    return {"cpu": cpu, "features": features, "cores": len(os.sched_getaffinity(0)),
            "threads": setup.threads,
            "memory_gib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30,
            "kernel": platform.release(), "load": os.getloadavg()[0],
            "clformer": output_of([setup.clformer, "--version"]),
            "devices": output_of([setup.clformer, "devices"]),
            "packages": {name: package_version(setup.python, name) for name in packages}}


def format_description(machine: dict) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    features = " ".join(machine["features"])
    lines = [f"cpu       {machine['cpu']}, {machine['cores']} cores ({features})",
             f"memory    {machine['memory_gib']:.1f} GiB",
             f"threads   {machine['threads']} for each program",
             f"programs  {machine['clformer']}, {packages}"]
    if machine["load"] > 0.5:
        lines.append(f"warning   other programs are running: the load is {machine['load']:.1f}")
    return "\n".join(lines)
