"""Diagonals of the curvature beside BackPACK, opacus and vmap, as multiples of a training pass.

A training pass is one forward and one backward pass over the same batch, without an optimiser step.
All methods run in turns in one process, on one thread; the medians of their processor times count,
so that other processes do not. In each turn a short call is preceded by one that is not timed, so
that no method is measured by what its predecessor left in the caches. Ours are measured as batches
of a stream, whose sums exist and are zeroed each time.

The error is the relative distance to the diagonal from single rows in double precision; that of
single rows in single precision is the rounding that no method can avoid. Where it says "in double"
the network itself was run in double precision. Peak memory: see ``diagonals.allocations``.

    python -m pip install -e '.[benchmarks]'
    python -m benchmarks.curvature
    python -m benchmarks.curvature --audit     # and the table of ``diagonals.optimum``
    python -m benchmarks.curvature --quick
"""

import argparse
import copy
import statistics
import sys
import time
import warnings

import torch
from torch import nn

from app.unlearning.rows import Batch
from benchmarks.diagonals import optimum
from benchmarks.diagonals.allocations import peak_bytes
from benchmarks.diagonals.methods import Diagonal, Method, ours, peers, single_rows, training_pass
from benchmarks.diagonals.networks import CASES, Case

ERROR, MEMORY = 1e-6, 1.25
"""Largest error of exact diagonals, and peak memory of the Fisher's in those of a training pass."""
GGN_BAR, SKETCH_BAR = 2.2, 1.25
"""Training passes of the exact GGN diagonal and of R(1) on the dense network."""
SHORT = 0.05
"""Seconds below which a call is preceded by one that is not timed."""


def distance(found: Diagonal, expected: Diagonal) -> float:
    """Return the norm of the difference over the norm of what is expected."""
    pairs = list(zip(found, expected, strict=True))
    gap = sum(float((a.detach().double() - b.double()).square().sum()) for a, b in pairs)
    size = sum(float(b.double().square().sum()) for _, b in pairs)
    return float((gap / size) ** 0.5)


def in_double(model: nn.Module, batch: Batch) -> tuple[nn.Module, Batch]:
    """Return copies of a network and a batch in double precision."""
    inputs = batch.inputs.double() if batch.inputs.is_floating_point() else batch.inputs
    return copy.deepcopy(model).double(), Batch(inputs, batch.targets)


def take_turns(methods: list[Method], turns: int) -> None:
    """Time every method once in each turn."""
    for _ in range(turns):
        for method in methods:
            start = time.process_time()
            method.run()
            if time.process_time() - start < SHORT:
                start = time.process_time()
                method.run()
            method.seconds.append(time.process_time() - start)


def compare(case: Case, rows: int, turns: int, *, timed: bool) -> list[str]:
    """Measure all methods on one network and print the table; return the bars that are missed."""
    torch.manual_seed(0)
    model = case.build().eval()
    batch = case.batch(rows)
    print(f"\n{case.name}, batch of {rows}")
    if case.shape is None:
        print("  exact GGN: one column for each token of the vocabulary at each position; left out")
    train = Method("forward + backward", lambda: training_pass(model, batch))
    twin, precise = in_double(model, batch)
    references: dict[str, Diagonal] = {}
    methods = [train]
    own = list(ours(model, batch))
    for method in (*own, *peers(model, batch)):
        # The GGN of a language model has too many columns to be known.
        is_known = case.shape is not None or method.target == "fisher"
        if is_known and method.target not in references:
            references[method.target] = single_rows(twin, precise, method.target)
        try:
            found = method.run()
        except Exception as refusal:
            if method in own:
                raise
            print(f"  {method.name}: does not support the network ({type(refusal).__name__})")
            continue
        method.error = distance(found, references[method.target]) if is_known else None
        methods.append(method)
    for method in methods:
        method.peak = peak_bytes(method.whole or method.run)
    doubled = [
        (method.name, distance(method.run(), references[method.target]))
        for method in ours(twin, precise)
        if method.exact
    ]
    take_turns(methods, turns)
    show(train, methods[1:])
    for name, error in doubled:
        print(f"  {name + ', in double':40} {error:25.1e}")
    return missed(case, train, methods, timed=timed)


def passes(method: Method, train: Method) -> float:
    """Return the median processor time in those of a training pass."""
    return statistics.median(method.seconds) / statistics.median(train.seconds)


def show(train: Method, methods: list[Method]) -> None:
    """Print the table."""
    unit, size = statistics.median(train.seconds), train.peak / 2**20
    print(f"  one training pass: {1e3 * unit:.2f} ms, at most {size:.1f} MiB")
    print(f"  {'':40} {'passes':>8} {'error':>16} {'peak memory':>12}")
    for method in methods:
        ratio, memory = passes(method, train), method.peak / train.peak
        error = "-" if method.error is None else f"{method.error:.1e}"
        print(f"  {method.name:40} {ratio:8.2f} {error:>16} {memory:12.2f}")


def missed(case: Case, train: Method, methods: list[Method], *, timed: bool) -> list[str]:
    """Return a sentence for each bar that is missed; processor times count if ``timed``."""
    found = []
    for method in methods:
        if method.exact and (method.error is None or not method.error <= ERROR):
            found.append(f"{case.name}: {method.name}: error {method.error} > {ERROR}")
        if method.exact and method.target == "fisher" and timed:
            memory = method.peak / train.peak
            if memory > MEMORY:
                found.append(f"{case.name}: {method.name}: memory {memory:.2f} > {MEMORY}")
    bars = {"ours: empirical Fisher": case.bar}
    if case is CASES[0]:
        bars |= {"ours: GGN, exact": GGN_BAR, "ours: R(1), an estimate": SKETCH_BAR}
    for method in methods if timed else []:
        ratio = passes(method, train)
        if ratio > bars.get(method.name, ratio):
            found.append(f"{case.name}: {method.name}: {ratio:.2f} passes > {bars[method.name]}")
    return found


def main() -> int:
    """Run the comparison; return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description="Curvature diagonals beside their peers.")
    parser.add_argument("--only", default="", help="networks whose names contain this")
    parser.add_argument("--turns", type=int, help="turns of measuring, for all networks")
    parser.add_argument("--audit", action="store_true", help="the estimates at an optimum as well")
    parser.add_argument("--quick", action="store_true", help="few rows, times not judged, for CI")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    # Peers warn about hooks and deprecations, which is theirs to mend.
    warnings.simplefilter("ignore")
    bars = []
    for case in CASES:
        if arguments.only in case.name:
            rows, turns = (
                (2, 2) if arguments.quick else (case.rows, arguments.turns or case.repeats)
            )
            bars += compare(case, rows, turns, timed=not arguments.quick)
    if arguments.audit:
        bars += optimum.audit(quick=arguments.quick)
    print("\n" + "\n".join([f"MISSED {bar}" for bar in bars] or ["all bars are met"]))
    return 1 if bars else 0


if __name__ == "__main__":
    sys.exit(main())
