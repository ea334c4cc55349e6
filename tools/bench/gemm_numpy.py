# SPDX-License-Identifier: MIT
"""OpenBLAS's side of gemm.py: reads lines "ROWS K N" and answers each with the seconds of one
product. Usage: gemm_numpy.py THREADS (plain | transposed)"""

import statistics
import sys
import time

import numpy
import threadpoolctl

REPEATS = 5
REPEAT = 0.03  # seconds of products in a row, at least


def seconds_of(x: numpy.ndarray, w: numpy.ndarray, y: numpy.ndarray, calls: int) -> float:
    begin = time.perf_counter()
    for _ in range(calls):
        numpy.dot(x, w, out=y)
    return (time.perf_counter() - begin) / calls


def median_seconds(rows: int, k: int, n: int, transposed: bool) -> float:
    draw = numpy.random.default_rng(1)
    x = draw.random((rows, k), dtype=numpy.float32)
    w = draw.random((n, k), dtype=numpy.float32).T if transposed else draw.random(
        (k, n), dtype=numpy.float32)
    y = numpy.empty((rows, n), dtype=numpy.float32)
    seconds_of(x, w, y, 1)
    calls = 1 + int(REPEAT / seconds_of(x, w, y, 1))
    return statistics.median(seconds_of(x, w, y, calls) for _ in range(REPEATS))


def main() -> None:
    threads, layout = int(sys.argv[1]), sys.argv[2]
    with threadpoolctl.threadpool_limits(limits=threads):
        if not any(pool["internal_api"] == "openblas" and pool["num_threads"] == threads
                   for pool in threadpoolctl.threadpool_info()):
            sys.exit(f"numpy has no OpenBLAS with {threads} threads")
        for line in sys.stdin:
            rows, k, n = map(int, line.split())
            print(f"{median_seconds(rows, k, n, layout == 'transposed'):.9f}", flush=True)


if __name__ == "__main__":
    main()
