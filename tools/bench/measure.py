# SPDX-License-Identifier: MIT
"""Runs programs in turn, and says how much faster one is than the others."""

import contextlib
import dataclasses
import fcntl
import os
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Callable


SECONDS = "seconds"  # unit of a comparison whose samples are whole runs per second


class Failure(Exception):
    """What cannot go on, in one line or with a program's last lines."""


class Absent(Failure):
    """A program does not have what is to be measured."""


@dataclasses.dataclass(frozen=True)
class Setup:
    clformer: pathlib.Path
    device: str  # of clformer
    peer_device: str  # cpu or cuda
    work: pathlib.Path
    python: pathlib.Path  # with the peers' packages
    threads: int
    rounds: int


@dataclasses.dataclass(frozen=True)
class Sample:
    """One run: units of work per second, and the process's peak resident memory if it is known."""
    speed: float
    peak_mib: float | None


@dataclasses.dataclass(frozen=True)
class Subject:
    """A program with its settings. `prepare` does what only a first run does (compiling kernels
    into a cache, say) and may raise Failure: a program that cannot run here is left out."""
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
        """How many times as fast as the peer we are, round by round; nothing if we cannot run."""
        if self.ours not in self.samples:
            return []
        pairs = zip(self.samples[self.ours], self.samples[peer], strict=True)
        return [mine.speed / theirs.speed for mine, theirs in pairs]

    def speed(self, name: str) -> float:
        return statistics.median(sample.speed for sample in self.samples[name])

    def peak_mib(self, name: str) -> float | None:
        known = [sample.peak_mib for sample in self.samples[name] if sample.peak_mib is not None]
        return statistics.median(known) if known else None

    def is_best(self, name: str) -> bool:
        """Whether none of its group is faster."""
        rivals = [rival for rival in self.samples if self.groups[rival] == self.groups[name]]
        return name == max(rivals, key=self.speed)

    def format_speeds(self, name: str) -> str:
        """As the unit says: work per second, or the seconds that a whole run took."""
        speeds = [sample.speed for sample in self.samples[name]]
        return spread([1 / speed for speed in speeds] if self.unit == SECONDS else speeds)

    def format(self) -> str:
        width = max(24, *(len(name) + 1 for name in self.groups))
        lines = [f"{self.case}: {self.description}",
                 f"  {'':{width}}{self.unit + ' (range)':>28}{'peak MiB':>10}"
                 f"{'clformer / this (range)':>28}"]
        for name in self.samples:
            ratio = "" if name == self.ours else spread(self.ratios(name), "x")
            mark = " *" if ratio and self.is_best(name) else ""
            peak = self.peak_mib(name)
            lines.append(f"  {name:{width}}{self.format_speeds(name):>28}"
                         f"{'-' if peak is None else f'{peak:.0f}':>10}{ratio:>28}{mark}".rstrip())
        lines += [f"  {name:{width}}{'-':>28}{'-':>10}{'-':>28}  {why}"
                  for name, why in self.absent.items()]
        return "\n".join(lines)

    def to_json(self) -> dict:
        subjects = {}
        for name, samples in self.samples.items():
            ratios = self.ratios(name)
            subjects[name] = {
                "runs": [dataclasses.asdict(sample) for sample in samples],
                "speed": self.speed(name), "peak_mib": self.peak_mib(name),
                "group": self.groups[name], "best": self.is_best(name),
                "ratio": statistics.median(ratios) if ratios else None, "ratios": ratios}
        unit = "runs/s" if self.unit == SECONDS else self.unit
        return {"case": self.case, "description": self.description, "unit": unit,
                "subjects": subjects, "absent": self.absent}


def number(value: float) -> str:
    """At least three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"


def spread(values: list[float], suffix: str = "") -> str:
    """Median (least .. most)."""
    if not values:
        return "-"
    middle, low, high = (number(f(values)) + suffix for f in (statistics.median, min, max))
    return f"{middle} ({low} .. {high})"


def summarise(comparisons: list[Comparison]) -> str:
    """A line for each case: our figure, and of each kind of peer (the first word of its group)
    the best one's with our ratio to it; and peak memory in the same way."""
    lines = []
    for comparison in comparisons:
        names = [comparison.ours, *(name for name in comparison.samples
                                    if name != comparison.ours and comparison.is_best(name))]
        cells = []
        for name in names:
            if name not in comparison.samples:
                cells.append(f"{name} -")
                continue
            figure = comparison.format_speeds(name).split(" ")[0]
            ratio = "" if name == comparison.ours else (
                f" ({spread(comparison.ratios(name), 'x').split(' ')[0]})")
            peak = comparison.peak_mib(name)
            memory = "" if peak is None else f" {peak:.0f} MiB"
            cells.append(f"{name} {figure}{ratio}{memory}")
        lines.append(f"{comparison.case:24}  " + "; ".join(cells))
    return "\n".join(lines)


def compare(case: str, description: str, unit: str, subjects: list[Subject],
            rounds: int) -> Comparison:
    """Measures the subjects in turn. The first is clformer, which must run what it has."""
    comparison = Comparison(case, description, unit, subjects[0].name,
                            {subject.name: subject.group for subject in subjects})
    for subject in subjects:
        say(f"{case}: preparing {subject.name}")
        try:
            subject.prepare()
        except Failure as failure:
            if subject.name == comparison.ours and not isinstance(failure, Absent):
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


def environment_of_child(setup: Setup, more: dict[str, str] | None = None) -> dict[str, str]:
    threads = str(setup.threads)
    return os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads,
                         "POCL_MAX_PTHREAD_COUNT": threads,
                         "POCL_CPU_MAX_CU_COUNT": threads} | (more or {})


def end_of_child(child: subprocess.Popen, log: pathlib.Path) -> float:
    """Waits for its end and returns its peak resident memory in MiB."""
    try:
        _, status, usage = os.wait4(child.pid, 0)
    except BaseException:
        child.terminate()
        child.wait()
        raise
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        last = log.read_text(errors="replace").splitlines()[-1:]
        raise Failure(f"{pathlib.Path(child.args[0]).name} ended with {child.returncode}; "
                      f"{log}: {' '.join(last)}")
    return usage.ru_maxrss / 1024


def run_child(command: list[str | pathlib.Path], log: pathlib.Path, setup: Setup,
              more: dict[str, str] | None = None,
              text: str | pathlib.Path = os.devnull) -> float:
    """Runs a program that reads `text` and whose output goes to `log`, with `more` in its
    environment; returns its peak resident memory in MiB."""
    with log.open("wb") as output, open(text, "rb") as source:
        child = subprocess.Popen(command, stdin=source, stdout=output, stderr=subprocess.STDOUT,
                                 env=environment_of_child(setup, more))
        return end_of_child(child, log)


class Server:
    """A program that answers lines with lines until its input ends."""

    PIPE_BYTES = 1 << 20  # that a request must fit into, to arrive at once

    def __init__(self, command: list[str | pathlib.Path], log: pathlib.Path, setup: Setup):
        self.log = log
        with log.open("wb") as errors:
            self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                          stderr=errors, env=environment_of_child(setup))
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            fcntl.fcntl(self.child.stdin, fcntl.F_SETPIPE_SZ, self.PIPE_BYTES)

    def ask(self, request: bytes, count: int) -> list[bytes]:
        """Sends lines and waits for `count` of them."""
        try:
            self.child.stdin.write(request)
            self.child.stdin.flush()
        except BrokenPipeError:
            pass  # its exit code tells
        lines = [self.child.stdout.readline() for _ in range(count)]
        if not lines[-1]:
            self.close()
            raise Failure(f"{self.log}: the program ended before it had answered")
        return lines

    def close(self) -> float:
        """Ends the program's input and the program; returns its peak resident memory in MiB."""
        with contextlib.suppress(BrokenPipeError):
            self.child.stdin.close()
        try:
            return end_of_child(self.child, self.log)
        finally:
            self.child.stdout.close()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if self.child.returncode is None:
            if kind:
                self.child.terminate()
            with contextlib.suppress(Failure):
                self.close()
