#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares clformer with other programs on this machine; README.md says how."""

import argparse
import json
import pathlib
import signal
import sys

import environment
import gemm
import measure
import scaling
import startup
import train
import translate

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Each part has add_arguments(parser), PACKAGES of its peers, and run(arguments, setup).
PARTS = {"translate": translate, "startup": startup, "train": train, "gemm": gemm,
         "scaling": scaling}


def parse_arguments() -> argparse.Namespace:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--clformer", type=pathlib.Path, metavar="PROGRAM",
                        default=ROOT / "build/tools/clformer",
                        help="the command that is measured (default: %(default)s)")
    common.add_argument("--device", default="cpu", metavar="WHICH",
                        help="clformer's OpenCL device (default: %(default)s)")
    common.add_argument("--peer-device", default="cpu", choices=("cpu", "cuda"),
                        help="where the peers compute, if they can (default: %(default)s)")
    common.add_argument("--work", type=pathlib.Path, metavar="DIR", default=ROOT / "build-bench",
                        help="where inputs, logs and the venv are (default: %(default)s)")
    common.add_argument("--venv", type=pathlib.Path, metavar="DIR",
                        help="a venv for the peers; what it lacks is made (default: WORK/venv)")
    common.add_argument("--threads", type=int, default=2, metavar="N",
                        help="of each program (default: %(default)s)")
    common.add_argument("--rounds", type=int, default=3, metavar="N",
                        help="runs of each program, interleaved (default: %(default)s)")
    common.add_argument("--json", type=pathlib.Path, metavar="FILE",
                        help="write everything that was measured")
    parser = argparse.ArgumentParser(description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    for name, part in PARTS.items():
        summary = part.__doc__.splitlines()[0]
        part.add_arguments(parts.add_parser(name, parents=[common], help=summary,
                                            description=summary))
    return parser.parse_args()


def run(arguments: argparse.Namespace) -> None:
    part = PARTS[arguments.part]
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    setup = measure.Setup(
        clformer=arguments.clformer.resolve(), device=arguments.device,
        peer_device=arguments.peer_device, work=work,
        python=environment.prepare_venv(arguments.venv or work / "venv", part.PACKAGES),
        threads=arguments.threads, rounds=arguments.rounds)
    machine = environment.describe(setup, part.PACKAGES)
    print(environment.format_description(machine), "\n", sep="", flush=True)
    comparisons = part.run(arguments, setup)
    if len(comparisons) > 1:
        print("summary: figures, clformer / this, peak memory", measure.summarise(comparisons),
              sep="\n")
    if arguments.json:
        report = {"part": arguments.part, "machine": machine, "rounds": arguments.rounds,
                  "comparisons": [comparison.to_json() for comparison in comparisons]}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # programs that run end as well
    try:
        run(parse_arguments())
    except (measure.Failure, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
