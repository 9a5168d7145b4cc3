"""Learn a correction with all of the last layers, and give back all but a few scalars on the way.

A mask chosen beforehand does not know where the correction will need it: whatever ranks the scalars
at the start (curvature, gradient, decrement) brings back little more than a random draw where many
labels were wrong. Here the last layers are trained on the edited data, on features that the layers
before them give once, while the mask shrinks to the share asked for around what has moved and
matters (:mod:`app.unlearning.methods.shrinking_descent`). The share of a retraining that this takes
is chosen beforehand, counted in multiply-adds.

What makes the difference is that the mask follows the training. Weighing movement by curvature is
free where a diagonal was kept; it brought back a little more than movement alone where a fifth of
the labels of a small training set were wrong, and no more elsewhere. Rebuilding the change of the
whole head by least squares from few of its features (by the curvature of a layer, as Hassibi and
Stork 1993), refitted and distilled, brought back no more either.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from app.unlearning.distillation.effort import multiply_adds
from app.unlearning.edited_loss import EditedLoss
from app.unlearning.errors import NotApplicable
from app.unlearning.methods.curvature_at_hand import curvature_at_hand
from app.unlearning.methods.method import Method, RequestKind
from app.unlearning.methods.registry import register
from app.unlearning.methods.schema import hyperparameter
from app.unlearning.methods.shrinking_descent import shrinking_descent
from app.unlearning.problem import Problem
from app.unlearning.rows import TensorRows, empty, gathered
from app.unlearning.sampling import judging_rows
from app.unlearning.selection import budget_count
from app.unlearning.truncation import tail_names, truncate
from app.unlearning.update import Update

Ranking = Literal["curvature", "movement"]

# Candidates are the last layers that hold this share of the network.
_CANDIDATES = 0.5
# Rows on which a diagonal is taken where none was kept with the version.
_CURVATURE_ROWS = 1024
_FEWEST_STEPS, _MOST_STEPS = 100, 5000
# Passes over the edited rows where no recipe says what a retraining costs.
_PASSES = 10


@register("shrinking_mask")
@dataclass(frozen=True)
class ShrinkingMask(Method):
    """Minimise the edited loss over a mask that shrinks to the chosen share.

    Never raises the edited loss on the rows it is judged on. Empirical: it says nothing about what
    the scalars outside the mask remember. Mini-batches are drawn by position, so the order of the
    rows matters as the seed does; and no closed form says where a descent ends, so a correction
    there and back does not return.
    """

    title: ClassVar[str] = "Relearning under a shrinking mask"
    reference: ClassVar[str] = (
        "Ours; schedule of Zhu and Gupta 2017, saliency of LeCun et al. 1990, sparse differences "
        "of Guo et al. 2021"
    )
    kinds: ClassVar[tuple[RequestKind, ...]] = ("label_correction", "feature_correction")

    fraction: float = hyperparameter(
        0.02, "Share of the trainable scalars that may change.", minimum=0, maximum=1
    )
    ranking: Ranking = hyperparameter(
        "curvature",
        "What the scalars that stay are chosen by: their movement in units of their curvature, or "
        "their movement alone.",
    )
    learning_rate: float = hyperparameter(5e-3, "Step size of Adam.", above=0, maximum=1)
    batch_size: int = hyperparameter(128, "Rows of a step.", minimum=1, maximum=65536)
    steps: int | None = hyperparameter(
        None,
        "Steps of Adam; null: as many as effort pays for, or ten passes without a recipe.",
        minimum=1,
        maximum=100_000,
    )
    effort: float = hyperparameter(
        0.025, "Share of a retraining's multiply-adds that the steps may take.", above=0, maximum=1
    )
    every_row: bool = hyperparameter(
        True,
        "Learn from every retained row, where they can be opened and their features fit into "
        "memory; otherwise from the sample at hand.",
    )

    def unlearn(self, problem: Problem) -> Update:
        """Compute the update; ``problem.model`` is not modified.

        Args:
            problem: The problem.

        Returns:
            The update; empty if it would not lower the edited loss.

        Raises:
            NotApplicable: Rows are deleted, or no edited row is at hand.
            NonFinite: The curvature or a new value is not finite.
        """
        if problem.kind == "deletion" or problem.deletes:
            raise NotApplicable("rows that are deleted without a replacement teach nothing")
        count = budget_count(self.fraction, problem.parameter_count)
        if count == 0 or problem.nothing_changes:
            return self._nothing(problem, count)
        names = tail_names(
            problem.model, max(count, budget_count(_CANDIDATES, problem.parameter_count))
        )
        whole, part = self._parts(problem, names)
        strengths, estimator, evaluations = self._strengths(part, names)
        steps = self.steps or self._steps(whole, part)
        shrunk = shrinking_descent(
            part,
            strengths,
            count,
            learning_rate=self.learning_rate,
            steps=steps,
            batch_size=self.batch_size,
            # Features are in memory already; in one piece they are read twice as fast.
            rows=part.edited if part is whole else gathered(part.edited),
            progress=problem.progress,
        )
        generator = torch.Generator().manual_seed(problem.generator_seed)
        judge = EditedLoss(part, rows=judging_rows(part, generator))
        before = judge.loss({name: part.parameters[name] for name in shrunk.values})
        after = judge.loss(shrunk.values)
        return self.update(
            problem,
            # A descent that diverged is for the update to find: no comparison holds for it.
            {} if after >= before else shrunk.values,
            selected=shrunk.selection.count,
            gradient_evaluations=evaluations + shrunk.gradient_evaluations,
            rows_read=whole.rows_at_hand,
            diagnostics={
                "estimator": estimator,
                "first_layers_run_once": len(part.parameters) < len(problem.parameters),
                "all_retained_rows": len(whole.retained) == problem.retained_total,
                "steps": steps,
                "edited_loss_before": before,
                "edited_loss_after": after,
            },
        )

    def _nothing(self, problem: Problem, count: int) -> Update:
        return self.update(
            problem,
            {},
            selected=count,
            gradient_evaluations=0,
            rows_read=0,
            diagnostics={"steps": 0},
        )

    def _parts(self, problem: Problem, names: tuple[str, ...]) -> tuple[Problem, Problem]:
        """The problem on as many retained rows as can be had, and the last layers of it."""
        opened = problem.with_all_retained() if self.every_row else problem
        part = truncate(opened, names)
        if part is opened and opened is not problem:
            sample = truncate(problem, names)
            # What can be cut for a sample only has features too large for all rows.
            if sample is not problem:
                return problem, sample
        return opened, part

    def _strengths(
        self, part: Problem, names: tuple[str, ...]
    ) -> tuple[dict[str, Tensor], str, int]:
        """By what movement is multiplied, where it came from, and the gradients it cost."""
        own = {name: part.parameters[name] for name in names}
        if self.ranking == "movement":
            return {n: torch.ones_like(t) for n, t in own.items()}, "none", 0
        found = curvature_at_hand(_sampled(part), names)
        roots = {n: h.clamp(min=0).sqrt() for n, h in found.values.items()}
        return roots, found.estimator, found.gradient_evaluations

    def _steps(self, whole: Problem, part: Problem) -> int:
        """As many as the share of a retraining pays for."""
        rows, size = len(whole.edited), min(self.batch_size, len(whole.edited))
        if whole.recipe is None:
            return _bounded(_PASSES * rows / size)
        one = torch.zeros(1, dtype=torch.int64)
        of_all, of_part = (multiply_adds(p.model, p.edited.take(one).inputs) for p in (whole, part))
        share = of_part / of_all if of_all and of_part else 1.0
        retraining = whole.recipe.epochs * whole.edited_total
        return _bounded(self.effort * retraining / share / size)


def _bounded(steps: float) -> int:
    return max(_FEWEST_STEPS, min(_MOST_STEPS, int(steps)))


def _sampled(part: Problem) -> Problem:
    """The problem on few edited rows, for a diagonal that does not depend on which."""
    rows, generator = part.edited, torch.Generator().manual_seed(part.generator_seed)
    batch = rows.take(
        torch.randperm(len(rows), generator=generator)[:_CURVATURE_ROWS].sort().values
    )
    sample = TensorRows(batch.inputs, batch.targets, batch.weights)
    return replace(part, retained=sample, retained_total=len(sample), replacement=empty())
