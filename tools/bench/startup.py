# SPDX-License-Identifier: MIT
"""Seconds of a whole command that translates one line, with and without compiled kernels."""

import argparse
import pathlib
import shutil

import models
from measure import SECONDS, Comparison, Sample, Setup, Subject, compare
from translate import CTRANSLATE2_BATCHES, Job, Program, random_lines, run_whole, whole_subject

PACKAGES = models.PACKAGES
# Where clformer and OpenCL implementations keep what they compiled.
CACHES = ("CLFORMER_CACHE_DIR", "POCL_CACHE_DIR", "XDG_CACHE_HOME", "CUDA_CACHE_PATH")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    models.add_real_arguments(parser)
    parser.add_argument("--case", choices=("random", "real"), action="append",
                        help="only this model; may be repeated (default: all)")


def cold_subject(job: Job) -> Subject:
    caches = job.setup.work / "cold-caches"

    def measure() -> Sample:
        for name in CACHES:
            shutil.rmtree(caches / name, ignore_errors=True)
            (caches / name).mkdir(parents=True)
        return run_whole(job, {name: str(caches / name) for name in CACHES})

    return Subject("clformer cold", "clformer cold", lambda: None, measure)


def compare_starts(case: str, setup: Setup, model: pathlib.Path, line: str,
                   length: int) -> list[Comparison]:
    """A translation of `length` tokens, or as many as the search finds if that is 0."""
    ours, peer = (Job(setup, program, model, 1, [line], length)
                  for program in (Program("clformer", "float32"),
                                  Program("ctranslate2", "float32", "float32",
                                          batches=CTRANSLATE2_BATCHES[0])))
    comparisons = []
    for state, subject in (("warm", whole_subject(ours)), ("cold", cold_subject(ours))):
        description = f"one line through the whole command, greedy, {model.name}"
        comparison = compare(f"{case} {state}", description, SECONDS,
                             [subject, whole_subject(peer)], setup.rounds)
        print(comparison.format(), "\n", sep="", flush=True)
        comparisons.append(comparison)
    return comparisons


def run(arguments: argparse.Namespace, setup: Setup) -> list[Comparison]:
    comparisons = []
    chosen = arguments.case or (("random", "real") if arguments.model.exists() else ("random",))
    if "real" in chosen:
        line = arguments.text.read_text().splitlines()[0]
        comparisons += compare_starts("real", setup, arguments.model.resolve(), line, 0)
    if "random" in chosen:
        model = models.random_base(setup)
        line = random_lines(models.words_of(model), 1, 25)[0]
        comparisons += compare_starts("random", setup, model, line, 25)
    return comparisons
