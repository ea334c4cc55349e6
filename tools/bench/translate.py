# SPDX-License-Identifier: MIT
"""Target tokens per second of translations, against CTranslate2 and transformers."""

import argparse
import dataclasses
import json
import pathlib
import random
import re
import statistics
import time

import environment
import models
from measure import (SECONDS, Absent, Comparison, Failure, Sample, Server, Setup, Subject, compare,
                     run_child)

PACKAGES = models.PACKAGES
HERE = pathlib.Path(__file__).resolve().parent

SEARCHES = {"greedy": 1, "beam": 4}
BATCHES = (1, 8, 32, 128)
PRECISIONS = ("float32", "half", "int8")

# What `clformer translate --weights` and the peers may call them.
CLFORMER_WEIGHTS = {"float32": ("f32", "float32"), "half": ("f16", "half", "float16"),
                    "int8": ("int8",)}
CTRANSLATE2_TYPES = {"float32": ("float32",), "half": ("float16", "bfloat16"),
                     "int8": ("int8_float32", "int8_float16", "int8_bfloat16")}
TRANSFORMERS_TYPES = {"cpu": {"float32": ("float32",), "half": ("bfloat16",), "int8": ()},
                      "cuda": {"float32": ("float32",), "half": ("float16",), "int8": ()}}

# How CTranslate2 cuts a whole text into batches; the first is its own default for files.
CTRANSLATE2_BATCHES = ((32, "examples"), (2048, "tokens"))

# clformer looks for further lines until it has so many, and waits a little if there are none. Blank
# ones, which cost nothing, say that a batch is complete.
WINDOW_LINES = 4096


def add_arguments(parser: argparse.ArgumentParser) -> None:
    models.add_real_arguments(parser)
    parser.add_argument("--case", choices=("random", "real"), action="append",
                        help="only this one; may be repeated (default: all)")
    add_case_arguments(parser)
    parser.add_argument("--batch", type=int, action="append", metavar="N",
                        help=f"sentences; may be repeated (default: {BATCHES})")
    parser.add_argument("--search", choices=SEARCHES, action="append",
                        help="may be repeated (default: all)")


def add_case_arguments(parser: argparse.ArgumentParser) -> None:
    """What translations with forced lengths have in common."""
    parser.add_argument("--weights", choices=PRECISIONS, action="append",
                        help="may be repeated (default: all)")
    parser.add_argument("--length", type=int, default=25, metavar="N",
                        help="tokens of a forced translation (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3, metavar="X",
                        help="of each run that are measured, at least (default: %(default)s)")
    parser.add_argument("--workers", action="store_true",
                        help="CTranslate2 with one thread for each part of a batch as well")
    parser.add_argument("--transformers", action="store_true",
                        help="PyTorch by transformers as well, which is slow")


# ---- programs ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Program:
    """A program with the precision of its weights; `kind` is its own name for it."""
    engine: str
    precision: str
    kind: str = ""
    workers: int = 1
    batches: tuple[int, str] | None = None  # of a whole text

    def group(self) -> str:
        return f"{self.engine} {self.precision}"

    def name(self) -> str:
        words = [self.engine, self.kind or self.precision]
        if self.workers > 1:
            words.append(f"{self.workers} workers")
        if self.batches:
            words.append(f"by {self.batches[0]} {self.batches[1]}")
        return " ".join(words)


def clformer_options(setup: Setup, precision: str) -> list[str]:
    """The options for such weights. A clformer without a choice has float32 only."""
    text = environment.output_of([setup.clformer, "translate", "--help"]) or ""
    about = re.search(r"--weights .*", text)
    if not about and precision == "float32":
        return []
    known = re.findall(r"\w+", about[0]) if about else []
    for name in CLFORMER_WEIGHTS[precision]:
        if name in known:
            return ["--weights", name]
    raise Absent(f"this clformer has no {precision} weights")


def ctranslate2_types(setup: Setup, precision: str) -> list[str]:
    """Those that the device has, or the plain name, for which there will be a reason."""
    code = "import ctranslate2, sys; print(*ctranslate2.get_supported_compute_types(sys.argv[1]))"
    known = (environment.output_of([setup.python, "-c", code, setup.peer_device]) or "").split()
    return [kind for kind in CTRANSLATE2_TYPES[precision] if kind in known] or [""]


def programs_for(arguments: argparse.Namespace, setup: Setup, precision: str,
                 batch: int) -> list[Program]:
    programs = [Program("clformer", precision)]
    for kind in ctranslate2_types(setup, precision):
        programs.append(Program("ctranslate2", precision, kind))
        if arguments.workers and batch > 1 and kind:
            programs.append(Program("ctranslate2", precision, kind, workers=setup.threads))
    if arguments.transformers:
        programs += [Program("transformers", precision, kind)
                     for kind in TRANSFORMERS_TYPES[setup.peer_device][precision]]
    return programs


@dataclasses.dataclass(frozen=True)
class Job:
    """A text, or batches of forced length, for one program."""
    setup: Setup
    program: Program
    model: pathlib.Path
    beam: int
    lines: list[str]
    length: int = 0  # tokens of each translation; 0: as the search ends

    def log(self) -> pathlib.Path:
        return self.setup.work / ("translate-" + self.program.name().replace(" ", "-") + ".log")

    def command(self, batch: int) -> list[str | pathlib.Path]:
        """Reads standard input; `batch` lines at a time if that is not 0."""
        setup, program = self.setup, self.program
        if program.engine == "clformer":
            command = [setup.clformer, "translate", "--quiet", "--model", self.model, "--beam",
                       str(self.beam), "--device", setup.device]
            command += clformer_options(setup, program.precision)
            if self.length:  # the start token counts as well
                length = str(self.length + 1)
                command += ["--no-split", "--min-length", length, "--max-length", length]
            return command
        if not program.kind:
            raise Absent(f"{program.engine} has no {program.precision} on this processor")
        settings = {"engine": program.engine, "kind": program.kind, "beam": self.beam,
                    "batch": batch, "length": self.length, "threads": setup.threads,
                    "device": setup.peer_device, "workers": program.workers,
                    "model": str(self.peer_model()),
                    "tokenizer": str(self.model)}
        if program.batches:
            settings["batch_size"], settings["batch_type"] = program.batches
        return [setup.python, HERE / "translate_peer.py", json.dumps(settings)]

    def peer_model(self) -> pathlib.Path:
        if self.program.engine == "transformers":
            return self.model
        weights = "int8" if self.program.precision == "int8" else self.program.kind
        return models.for_ctranslate2(self.setup, self.model, weights)


# ---- batches of forced length, without the start -------------------------------------------------


def check(answers: list[bytes], job: Job) -> None:
    lengths = {len(answer.split()) for answer in answers}
    if lengths != {job.length}:
        raise Failure(f"{job.program.name()} wrote {sorted(lengths)} tokens, not {job.length}; "
                      f"see {job.log()}")


def serve(job: Job, seconds: float) -> Sample:
    """Target tokens per second of a program that runs already."""
    count = len(job.lines)
    request = "".join(line + "\n" for line in job.lines).encode()
    blanks = WINDOW_LINES - count if job.program.engine == "clformer" else 0
    times = []
    with Server(job.command(count), job.log(), job.setup) as server:
        check(server.ask(request + b"\n" * blanks, count + blanks)[:count], job)
        while sum(times) < seconds or len(times) < 2:
            begin = time.perf_counter()
            answers = server.ask(request + b"\n" * blanks, count + blanks)
            times.append(time.perf_counter() - begin)
        check(answers[:count], job)
        peak = server.close()
    return Sample(count * job.length / statistics.median(times), peak)


def serving_subject(job: Job, seconds: float) -> Subject:
    return Subject(job.program.name(), job.program.group(), lambda: serve(job, 0) and None,
                   lambda: serve(job, seconds))


def random_lines(words: list[str], count: int, length: int) -> list[str]:
    """Lines of `length` tokens, the end token included."""
    draw = random.Random(count * 10000 + length)
    return [" ".join(draw.choices(words, k=length - 1)) for _ in range(count)]


def compare_forced(case: str, arguments: argparse.Namespace, setup: Setup, model: pathlib.Path,
                   beam: int, lines: list[str], precision: str) -> Comparison:
    """The programs of one precision on one batch of random_lines()."""
    subjects = [serving_subject(Job(setup, program, model, beam, lines, arguments.length),
                                arguments.seconds)
                for program in programs_for(arguments, setup, precision, len(lines))]
    source = len(lines[0].split()) + 1
    description = (f"{models.BASE}, {len(lines)} x {source} source and {arguments.length} target "
                   "tokens")
    comparison = compare(case, description, "tokens/s", subjects, setup.rounds)
    print(comparison.format(), "\n", sep="", flush=True)
    return comparison


def run_random(arguments: argparse.Namespace, setup: Setup) -> list[Comparison]:
    model = models.random_base(setup)
    words = models.words_of(model)
    comparisons = []
    for search in arguments.search or SEARCHES:
        for batch in arguments.batch or BATCHES:
            lines = random_lines(words, batch, 25)
            for precision in arguments.weights or PRECISIONS:
                case = f"{search} {batch} {precision}"
                comparisons.append(compare_forced(case, arguments, setup, model, SEARCHES[search],
                                                  lines, precision))
    return comparisons


# ---- whole commands ------------------------------------------------------------------------------


def run_whole(job: Job, more: dict[str, str] | None = None) -> Sample:
    """Whole runs per second, from the command line to the last line written."""
    text = job.log().with_suffix(".txt")
    text.write_text("".join(line + "\n" for line in job.lines))
    command = job.command(batch=0)
    begin = time.perf_counter()
    peak = run_child(command, job.log(), job.setup, more, text)
    seconds = time.perf_counter() - begin
    written = len(job.log().read_bytes().splitlines())
    if written != len(job.lines):
        raise Failure(f"{job.program.name()} wrote {written} lines, not {len(job.lines)}; see "
                      f"{job.log()}")
    return Sample(1 / seconds, peak)


def whole_subject(job: Job, more: dict[str, str] | None = None) -> Subject:
    return Subject(job.program.name(), job.program.group(), lambda: run_whole(job, more) and None,
                   lambda: run_whole(job, more))


def run_real(arguments: argparse.Namespace, setup: Setup) -> list[Comparison]:
    lines = arguments.text.read_text().splitlines()
    comparisons = []
    for search in arguments.search or SEARCHES:
        for precision in arguments.weights or PRECISIONS:
            programs = [Program("clformer", precision)]
            programs += [Program("ctranslate2", precision, kind, batches=batches)
                         for kind in ctranslate2_types(setup, precision)
                         for batches in CTRANSLATE2_BATCHES[:None if kind else 1]]
            jobs = [Job(setup, program, arguments.model.resolve(), SEARCHES[search], lines)
                    for program in programs]
            comparison = compare(
                f"real {search} {precision}",
                f"{arguments.model.name}, {len(lines)} lines by the whole command", SECONDS,
                [whole_subject(job) for job in jobs], setup.rounds)
            print(comparison.format(), "\n", sep="", flush=True)
            comparisons.append(comparison)
    return comparisons


def run(arguments: argparse.Namespace, setup: Setup) -> list[Comparison]:
    runs = {"random": run_random, "real": run_real}
    chosen = arguments.case or list(runs)
    if not arguments.case and not arguments.model.exists():
        chosen.remove("real")
    return [comparison for case in chosen for comparison in runs[case](arguments, setup)]
