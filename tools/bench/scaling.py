# SPDX-License-Identifier: MIT
"""Target tokens per second as the source grows to 2048 tokens and the batch to 256 lines."""

import argparse

import models
from measure import Comparison, Setup
from translate import add_case_arguments, compare_forced, random_lines

PACKAGES = models.PACKAGES

LENGTHS = (16, 64, 256, 1024, 2048)
LENGTH_BATCH = 4  # sentences while the length grows
BATCHES = (1, 4, 16, 64, 256)
BATCH_LENGTH = 25  # tokens while the batch grows
POSITIONS = 2304   # that the model has


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_case_arguments(parser)
    parser.add_argument("--source", type=int, action="append", metavar="N",
                        help=f"source tokens; may be repeated (default: {LENGTHS})")
    parser.add_argument("--batch", type=int, action="append", metavar="N",
                        help=f"sentences; may be repeated (default: {BATCHES})")


def run(arguments: argparse.Namespace, setup: Setup) -> list[Comparison]:
    model = models.random_base(setup, POSITIONS)
    words = models.words_of(model)
    sources, batches = arguments.source, arguments.batch
    if not sources and not batches:
        sources, batches = LENGTHS, BATCHES
    cases = [(f"source {length}", LENGTH_BATCH, length) for length in sources or ()]
    cases += [(f"batch {batch}", batch, BATCH_LENGTH) for batch in batches or ()]
    return [compare_forced(f"{name} {precision}", arguments, setup, model, 1,
                           random_lines(words, batch, length), precision)
            for precision in arguments.weights or ("float32",)
            for name, batch, length in cases]
