# SPDX-License-Identifier: MIT
"""Runs programs in turn, and says how much faster one is than the others."""

import dataclasses
import os
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Callable


class Failure(Exception):
    """What cannot go on, in one line or with a program's last lines."""


@dataclasses.dataclass(frozen=True)
class Setup:
    clformer: pathlib.Path
    device: str  # of clformer
    work: pathlib.Path
    python: pathlib.Path  # with the peers' packages
    threads: int
    rounds: int


@dataclasses.dataclass(frozen=True)
class Sample:
    """One run: units of work per second, and the process's peak resident memory."""
    speed: float
    peak_mib: float


@dataclasses.dataclass(frozen=True)
class Subject:
    """A program with its settings. `prepare` does what only a first run does (compiling kernels
    into a cache, say) and may raise Failure: a peer that cannot run here is left out."""
    name: str
    group: str  # subjects that do the same in different ways: the fastest one counts
    prepare: Callable[[], None]
    measure: Callable[[], Sample]


@dataclasses.dataclass
class Comparison:
    """All runs of one case; samples[i] of all subjects were taken in the same round."""
    case: str
    description: str
    unit: str
    ours: str  # the name of clformer's subject
    groups: dict[str, str]  # by subject
    samples: dict[str, list[Sample]] = dataclasses.field(default_factory=dict)
    absent: dict[str, str] = dataclasses.field(default_factory=dict)  # who cannot run here, and why

    def ratios(self, peer: str) -> list[float]:
        """How many times as fast as the peer we are, round by round."""
        pairs = zip(self.samples[self.ours], self.samples[peer], strict=True)
        return [mine.speed / theirs.speed for mine, theirs in pairs]

    def speed(self, name: str) -> float:
        return statistics.median(sample.speed for sample in self.samples[name])

    def peak_mib(self, name: str) -> float:
        return statistics.median(sample.peak_mib for sample in self.samples[name])

    def is_best(self, name: str) -> bool:
        """Whether none of its group is faster."""
        rivals = [rival for rival in self.samples if self.groups[rival] == self.groups[name]]
        return name == max(rivals, key=self.speed)

    def format(self) -> str:
        lines = [f"{self.case}: {self.description}",
                 f"  {'':24}{self.unit + ' (range)':>28}{'peak MiB':>10}"
                 f"{'clformer / this (range)':>28}"]
        for name, samples in self.samples.items():
            ratio = "" if name == self.ours else spread(self.ratios(name), "{:.2f}x")
            mark = " *" if ratio and self.is_best(name) else ""
            lines.append(f"  {name:24}{spread([s.speed for s in samples], '{:.0f}'):>28}"
                         f"{self.peak_mib(name):10.0f}{ratio:>28}{mark}".rstrip())
        lines += [f"  {name}: left out: {why}" for name, why in self.absent.items()]
        return "\n".join(lines)

    def to_json(self) -> dict:
        subjects = {}
        for name, samples in self.samples.items():
            subjects[name] = {
                "runs": [dataclasses.asdict(sample) for sample in samples],
                "speed": self.speed(name), "peak_mib": self.peak_mib(name),
                "group": self.groups[name], "best": self.is_best(name),
                "ratio": statistics.median(self.ratios(name)),
                "ratios": self.ratios(name)}
        return {"case": self.case, "description": self.description, "unit": self.unit,
                "subjects": subjects, "absent": self.absent}


def spread(values: list[float], form: str) -> str:
    """Median (least .. most)."""
    middle, low, high = (form.format(f(values)) for f in (statistics.median, min, max))
    return f"{middle} ({low} .. {high})"


def compare(case: str, description: str, unit: str, subjects: list[Subject],
            rounds: int) -> Comparison:
    """Measures the subjects in turn. The first is clformer, which must run."""
    comparison = Comparison(case, description, unit, subjects[0].name,
                            {subject.name: subject.group for subject in subjects})
    for subject in subjects:
        say(f"{case}: preparing {subject.name}")
        try:
            subject.prepare()
        except Failure as failure:
            if subject.name == comparison.ours:
                raise
            comparison.absent[subject.name] = str(failure)
        else:
            comparison.samples[subject.name] = []
    for i in range(rounds):
        for subject in subjects:
            if subject.name in comparison.samples:
                say(f"{case}: round {i + 1} of {rounds}: {subject.name}")
                comparison.samples[subject.name].append(subject.measure())
    return comparison


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def run_child(command: list[str | pathlib.Path], log: pathlib.Path, setup: Setup) -> float:
    """Runs a program whose output goes to `log`; returns its peak resident memory in MiB."""
    threads = str(setup.threads)
    variables = os.environ | {"OMP_NUM_THREADS": threads, "POCL_MAX_PTHREAD_COUNT": threads,
                              "POCL_CPU_MAX_CU_COUNT": threads}
    with log.open("wb") as output:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output,
                                 stderr=subprocess.STDOUT, env=variables)
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            child.terminate()
            child.wait()
            raise
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        last = log.read_text(errors="replace").splitlines()[-1:]
        raise Failure(f"{pathlib.Path(command[0]).name} ended with {child.returncode}; "
                      f"{log}: {' '.join(last)}")
    return usage.ru_maxrss / 1024
