# SPDX-License-Identifier: MIT
"""GFLOP/s of a Transformer's matrix products, against OpenBLAS and CLBlast."""

import argparse
import contextlib
import pathlib
import time

from measure import Comparison, Failure, Sample, Server, Setup, Subject, compare

PACKAGES = ("numpy", "threadpoolctl")
HERE = pathlib.Path(__file__).resolve().parent

ROWS = (1, 4, 8, 16, 32, 128, 512, 1024)
# Inputs and outputs: attention, fused keys and values, fused queries too, feed-forward, vocabulary.
SHAPES = {
    "base": ((512, 512), (512, 1024), (512, 1536), (512, 2048), (2048, 512), (512, 32000)),
    "small": ((256, 256), (256, 512), (256, 768), (256, 1024), (1024, 256), (256, 8001)),
}
# Threads that wait for work may spin a little before they sleep.
PAUSE = 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--case", choices=SHAPES, action="append",
                        help="only this model's; may be repeated (default: all)")
    parser.add_argument("--rows", type=int, action="append", metavar="N",
                        help=f"may be repeated (default: {ROWS})")
    parser.add_argument("--no-clblast", action="store_true", help="clformer's own choice alone")


def subject(name: str, group: str, server: Server, size: tuple[int, int, int]) -> Subject:
    rows, k, n = size

    def measure() -> Sample:
        time.sleep(PAUSE)
        seconds = float(server.ask(f"{rows} {k} {n}\n".encode(), 1)[0])
        return Sample(2e-9 * rows * k * n / seconds, None)

    return Subject(name, group, lambda: measure() and None, measure)


def commands(arguments: argparse.Namespace, setup: Setup) -> dict[str, tuple[str, list]]:
    """Groups and command lines, by name."""
    program = setup.clformer.parents[1] / "tests/ops/bench-linear"
    if not program.exists():
        raise Failure(f"{program}: not found; it is built with clformer's tests")
    openblas = [setup.python, HERE / "gemm_numpy.py", str(setup.threads)]
    found = {"clformer": ("clformer", [program, setup.device, "auto", setup.clformer]),
             "openblas x.w": ("openblas", [*openblas, "plain"]),
             "openblas x.w^T": ("openblas", [*openblas, "transposed"])}
    if not arguments.no_clblast:
        found["clblast"] = ("clblast", [program, setup.device, "clblast"])
    return found


def run(arguments: argparse.Namespace, setup: Setup) -> list[Comparison]:
    comparisons = []
    with contextlib.ExitStack() as stack:
        servers = {}
        for name, (group, command) in commands(arguments, setup).items():
            log = setup.work / f"gemm-{name.replace(' ', '-')}.log"
            servers[name] = group, stack.enter_context(Server(command, log, setup))
        for case in arguments.case or SHAPES:
            for k, n in SHAPES[case]:
                for rows in arguments.rows or ROWS:
                    subjects = [subject(name, group, server, (rows, k, n))
                                for name, (group, server) in servers.items()]
                    comparison = compare(f"{k} x {n}, {rows} rows", f"product of {case}, float32",
                                         "GFLOP/s", subjects, setup.rounds)
                    print(comparison.format(), "\n", sep="", flush=True)
                    comparisons.append(comparison)
    return comparisons
