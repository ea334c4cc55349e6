# SPDX-License-Identifier: MIT
"""Training: source + target tokens per second and peak memory, against PyTorch.

Both programs read the same files of random tokens, in pairs of one length, so that nothing is
padded. Both write a line per update; the time that counts is between two updates' ends.
"""

import argparse
import dataclasses
import json
import pathlib
import random
import shutil
from collections.abc import Iterable

import environment
from measure import Comparison, Failure, Sample, Setup, Subject, compare, run_child, say

PACKAGES = ("torch", "numpy")  # without numpy torch warns
HERE = pathlib.Path(__file__).resolve().parent


@dataclasses.dataclass(frozen=True)
class Case:
    layers: int  # of each side
    width: int
    heads: int
    ffn: int
    activation: str
    vocabulary: int  # padding included; shared by both sides
    pairs: int       # of a batch
    length: int      # tokens of each side, end token included
    warmup: int      # updates before those that are timed
    updates: int     # that are timed

    def describe(self) -> str:
        return (f"{self.layers}+{self.layers} layers, {self.width}/{self.heads}/{self.ffn} "
                f"{self.activation}, vocabulary {self.vocabulary}, {self.pairs} pairs of "
                f"{self.length}+{self.length} tokens")


CASES = {
    "small": Case(3, 256, 4, 1024, "swish", 8001, 256, 14, warmup=5, updates=20),
    "base": Case(6, 512, 8, 2048, "relu", 32000, 64, 32, warmup=3, updates=8),
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    dropout: float
    attention_dropout: float
    activation_dropout: float
    label_smoothing: float = 0.1
    learning_rate: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.98
    adam_epsilon: float = 1e-9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--case", choices=CASES, action="append",
                        help="only this shape; may be repeated (default: all)")
    parser.add_argument("--warmup", type=int, metavar="N", help="updates that are not timed")
    parser.add_argument("--updates", type=int, metavar="N", help="updates that are timed")
    parser.add_argument("--dropout", type=float, default=0.1, metavar="P",
                        help="of sublayers and embeddings (default: %(default)s)")
    parser.add_argument("--attention-dropout", type=float, default=0, metavar="P",
                        help="(default: %(default)s)")
    parser.add_argument("--activation-dropout", type=float, default=0, metavar="P",
                        help="(default: %(default)s)")
    parser.add_argument("--half", action="store_true", help="clformer train --half as well")
    parser.add_argument("--no-compile", action="store_true",
                        help="PyTorch without torch.compile, whose first run takes minutes")
    parser.add_argument("--bf16", action="store_true",
                        help="PyTorch's bfloat16 autocast as well, where the CPU has bfloat16")


# ---- inputs --------------------------------------------------------------------------------------


def write_inputs(case: Case, updates: int, directory: pathlib.Path) -> None:
    """A vocabulary as clformer vocab --segmented writes it, and one epoch of random pairs."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    words = [f"w{i}" for i in range(2, case.vocabulary - 1)]
    pieces = ["</s>", "<unk>", *words, "<pad>"]
    write_json(directory / "vocab.json", {piece: i for i, piece in enumerate(pieces)})
    write_json(directory / "tokenizer_config.json",
               {"segmented": True, "eos_token": "</s>", "unk_token": "<unk>",
                "pad_token": "<pad>", "separate_vocabs": False})
    draw = random.Random(1)
    for side in ("source", "target"):
        with (directory / side).open("w") as file:
            for _ in range(updates * case.pairs):
                print(*draw.choices(words, k=case.length - 1), file=file)


def write_json(path: pathlib.Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")


# ---- programs ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Job:
    """One case for one program; `variant` holds its own settings."""
    setup: Setup
    case: Case
    recipe: Recipe
    inputs: pathlib.Path
    group: str
    name: str
    variant: dict[str, bool]

    def log(self) -> pathlib.Path:
        return self.inputs / (self.name.replace(" ", "-") + ".log")

    def subject(self) -> Subject:
        run = run_clformer if self.group.startswith("clformer") else run_torch

        def measure() -> Sample:
            peak, lines = run(self, self.case.warmup + self.case.updates)
            return Sample(speed_of(self.case, lines), peak)

        def prepare() -> None:
            run(self, 2)

        return Subject(self.name, self.group, prepare, measure)


def run_clformer(job: Job, updates: int) -> tuple[float, list[dict]]:
    case, recipe, inputs = job.case, job.recipe, job.inputs
    output = inputs / "model"
    options = {
        "--vocab": inputs, "--output": output, "--layers": case.layers, "--width": case.width,
        "--heads": case.heads, "--ffn": case.ffn, "--activation": case.activation,
        "--batch-tokens": 2 * case.length * case.pairs, "--max-updates": updates,
        "--schedule": "constant", "--log-every": 1, "--device": job.setup.device,
    } | {"--" + name.replace("_", "-"): value
         for name, value in dataclasses.asdict(recipe).items()}
    command = [job.setup.clformer, "train", inputs / "source", inputs / "target", "--segmented",
               "--quiet", "--overwrite"]
    command += [str(word) for option in options.items() for word in option]
    command += ["--" + name for name, chosen in job.variant.items() if chosen]
    try:
        peak = run_child(command, job.log(), job.setup)
        return peak, read_updates((output / "metrics.jsonl").read_text().splitlines())
    finally:
        shutil.rmtree(output, ignore_errors=True)  # its checkpoints are large


def run_torch(job: Job, updates: int) -> tuple[float, list[dict]]:
    settings = {"case": dataclasses.asdict(job.case), "recipe": dataclasses.asdict(job.recipe),
                "inputs": str(job.inputs), "threads": job.setup.threads,
                "device": job.setup.peer_device, "updates": updates,
                **job.variant}
    command = [job.setup.python, HERE / "train_torch.py", json.dumps(settings)]
    peak = run_child(command, job.log(), job.setup)
    return peak, read_updates(job.log().read_text().splitlines())


def read_updates(lines: Iterable[str]) -> list[dict]:
    records = [json.loads(line) for line in lines if line.startswith("{")]
    return [record for record in records if record["event"] == "train"]


def speed_of(case: Case, updates: list[dict]) -> float:
    """Tokens per second behind the warm-up."""
    begin, end = updates[case.warmup - 1], updates[-1]
    tokens = sum(end[side] - begin[side] for side in ("source_tokens", "target_tokens"))
    if tokens != 2 * case.length * case.pairs * case.updates:
        raise Failure(f"{tokens} tokens were trained in {case.updates} updates, not the batches "
                      "that were asked for")
    return tokens / (end["seconds"] - begin["seconds"])


# ---- the part ------------------------------------------------------------------------------------


def variants(arguments: argparse.Namespace, setup: Setup) -> list[tuple[str, str, dict[str, bool]]]:
    """Groups, names and settings of what is compared."""
    programs = [("clformer float32", "clformer float32", {"half": False})]
    if arguments.half:
        programs.append(("clformer half", "clformer half", {"half": True}))
    precisions = {"float32": False}
    if arguments.bf16:
        if setup.peer_device != "cpu" or environment.has_bf16():
            precisions["bfloat16"] = True
        else:
            say("this CPU has no bfloat16 products: --bf16 does nothing")
    for precision, bf16 in precisions.items():
        group = f"torch {precision}"
        programs.append((group, f"{group} eager", {"bf16": bf16, "compile": False}))
        if not arguments.no_compile:
            programs.append((group, f"{group} compiled", {"bf16": bf16, "compile": True}))
    return programs


def run(arguments: argparse.Namespace, setup: Setup) -> list[Comparison]:
    recipe = Recipe(arguments.dropout, arguments.attention_dropout, arguments.activation_dropout)
    chosen = {name: getattr(arguments, name) for name in ("warmup", "updates")
              if getattr(arguments, name) is not None}
    if min(chosen.values(), default=1) < 1:
        raise Failure("--warmup and --updates must be at least 1")
    comparisons = []
    for name in arguments.case or CASES:
        case = dataclasses.replace(CASES[name], **chosen)
        inputs = setup.work / f"train-{name}"
        write_inputs(case, case.warmup + case.updates, inputs)
        subjects = [Job(setup, case, recipe, inputs, *program).subject()
                    for program in variants(arguments, setup)]
        comparison = compare(name, case.describe(), "tokens/s", subjects, setup.rounds)
        print(comparison.format(), "\n", sep="", flush=True)
        comparisons.append(comparison)
    return comparisons
