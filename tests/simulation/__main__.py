"""`python -m tests.simulation SEED [--trace]`, or a range: `python -m tests.simulation 0:20000 --jobs 2`."""

from __future__ import annotations

import argparse
import gc
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.schedule import draw
from tests.simulation.world import Violation, World

CHUNK = 100  # seeds that one worker takes at a time


def judge(seed: int, *, trace: bool = False) -> tuple[str, World]:
    """Run a seed; what was broken, empty if nothing."""
    world = World(draw(seed), trace=trace)
    try:
        world.run()
    except Violation as violation:
        return str(violation), world
    except Exception:
        return f"the simulation itself failed: {traceback.format_exc()}", world
    return "", world


def run_range(first: int, end: int) -> list[tuple[int, str]]:
    """The failures among the seeds first … end - 1."""
    gc.disable()
    failed = []
    for seed in range(first, end):
        problem, _ = judge(seed)
        if problem:
            failed.append((seed, problem))
        if seed % 20 == 0:
            gc.collect()
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seeds", help="one seed, or FIRST:END")
    parser.add_argument("--trace", action="store_true", help="print everything that happened")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--most", type=int, default=10, help="stop after so many failures")
    arguments = parser.parse_args()
    first, colon, end = arguments.seeds.partition(":")
    if not colon:
        problem, world = judge(int(first), trace=arguments.trace)
        print(world.schedule)
        if world.trace is not None:
            print("\n".join(world.trace))
        print(f"trace {world.digest}, {world.elapsed:.1f} s simulated, {world.lives} lives")
        print(f"BROKEN: {problem}" if problem else "held")
        return bool(problem)
    begun, failures, seeds = time.perf_counter(), 0, range(int(first), int(end), CHUNK)
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for failed in pool.map(run_range, seeds, [min(start + CHUNK, int(end)) for start in seeds]):
            for seed, problem in failed:
                failures += 1
                print(f"seed {seed}: {problem}\n  again: python -m tests.simulation {seed} --trace", flush=True)
            if failures >= arguments.most:
                pool.shutdown(cancel_futures=True)
                break
    count = int(end) - int(first)
    print(f"{count} seeds, {failures} broken, {time.perf_counter() - begun:.1f} s", file=sys.stderr)
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
