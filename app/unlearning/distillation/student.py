"""One head about to be taught: which of its scalars may change, and how far it has come."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from app.unlearning.distillation.answers import evaluated, log_probabilities
from app.unlearning.distillation.calibration import Calibration
from app.unlearning.distillation.judgement import Figures, Judgement, doubted, figures_of, judge
from app.unlearning.distillation.lessons import Lessons
from app.unlearning.distillation.mask_rules import (
    MaskRule,
    curvature_scores,
    energy_scores,
    gain_scores,
    movement_scores,
)
from app.unlearning.distillation.masked_teaching import Taught, teach
from app.unlearning.distillation.material import Material
from app.unlearning.distillation.narrowed import confined, narrow_head
from app.unlearning.objective import Objective
from app.unlearning.problem import unreported
from app.unlearning.rows import TensorRows
from app.unlearning.selection import Selection, random_scores, select_extreme
from app.unlearning.verification.evaluation import Evaluated

# Retained rows on which curvature is taken.
_CURVATURE_ROWS = 1024
# Rules whose ranking may be confined to the best columns; the others are controls.
_CONFINED = ("energy", "warm", "decrement")
# A short run with a wide mask, which shows where a narrow one should be.
_WARM_SHARE, _WARM_STEPS, _WARM_RATE = 0.4, 40, 3e-3


class Student:
    """A head, its lessons and its targets.

    Attributes:
        gradient_evaluations: Row gradients of the head so far.
    """

    def __init__(
        self,
        material: Material,
        lessons: Lessons,
        goal: Calibration,
        objective: Objective,
        seed: int,
    ) -> None:
        """Take in what is to be taught.

        Args:
            material: The rows as the head sees them.
            lessons: What is taught.
            goal: The targets.
            objective: How outputs are read.
            seed: Of every draw.
        """
        self._head = material.split.head
        self._material, self._lessons, self._goal = material, lessons, goal
        self._objective, self._seed = objective, seed
        self.gradient_evaluations = 0

    def select(self, rule: MaskRule, count: int) -> Selection:
        """Rank the head's scalars by a rule and take the best.

        Args:
            rule: Any but ``auto``.
            count: How many; all of the head if it has fewer.

        Returns:
            The selection, by the head's own names.
        """
        scores = self._scores(rule, count)
        if rule in _CONFINED:
            first, _ = next(iter(self._head.named_children()))
            scores = confined(scores, f"{first}.weight", count)
        return select_extreme(scores, count)

    def teach(
        self,
        selection: Selection,
        *,
        steps: int,
        learning_rate: float,
        progress: Callable[[float], None] = unreported,
    ) -> Taught:
        """Move the selected scalars; see :func:`teach`.

        Args:
            selection: What may change.
            steps: Steps of Adam.
            learning_rate: Its step size.
            progress: Told the fraction done.

        Returns:
            The best snapshot.

        Raises:
            NonFinite: The descent diverged.
        """
        gone, seen = self._material.forget, self._material.holdout
        narrowed = narrow_head(self._head, gone.features, selection)
        views = [narrowed.features(rows.features) for rows in (gone, seen)]
        taught = teach(
            narrowed.head,
            narrowed.selection(selection),
            narrowed.lessons(self._lessons),
            self._objective,
            lambda theta: self._judge(narrowed.head, theta, *views),
            steps=steps,
            learning_rate=learning_rate,
            generator=torch.Generator().manual_seed(self._seed),
            progress=progress,
        )
        self.gradient_evaluations += taught.gradient_evaluations
        final = [
            self._answers(narrowed.head, taught.values, view, rows.labels)
            for view, rows in zip(views, (gone, seen), strict=True)
        ]
        judgement = doubted(
            taught.judgement,
            (final[0], final[1]),
            (evaluated(self._goal.answers, gone.labels), self._goal.holdout),
            evaluated(seen.answers, seen.labels),
            self._seed,
        )
        return replace(taught, values=narrowed.widen(taught.values), judgement=judgement)

    def _answers(
        self, head: nn.Module, theta: Mapping[str, Tensor], view: Tensor, labels: Tensor
    ) -> Evaluated:
        with torch.no_grad():
            outputs = functional_call(head, dict(theta), (view,))
            return evaluated(log_probabilities(self._objective, outputs), labels)

    def _judge(
        self, head: nn.Module, theta: Mapping[str, Tensor], forget: Tensor, holdout: Tensor
    ) -> tuple[Judgement, Figures]:
        """Judge a head with some values changed, on its views of both sets of rows."""
        gone, seen = self._material.forget, self._material.holdout
        with torch.no_grad():
            forget, holdout = (
                log_probabilities(self._objective, functional_call(head, dict(theta), (view,)))
                for view in (forget, holdout)
            )
        new = figures_of(forget, gone.labels, holdout, seen.labels)
        old, wanted = self._goal.old, self._goal.wanted
        judgement = judge(new, old, wanted, forgotten=len(gone), held_out=len(seen))
        return judgement, new

    def _scores(self, rule: MaskRule, count: int) -> Mapping[str, Tensor]:
        if rule == "random":
            own = {n: p.detach() for n, p in self._head.named_parameters() if p.requires_grad}
            return random_scores(own, self._seed)
        if rule in ("energy", "warm"):
            self.gradient_evaluations += len(self._lessons.forget)
            energy = energy_scores(self._head, self._objective, self._lessons.forget)
            return energy if rule == "energy" else self._warm(energy, count)
        rows = self._material.retained.rows
        batch = rows.take(torch.arange(min(len(rows), _CURVATURE_ROWS)))
        sample = TensorRows(batch.inputs, batch.targets, batch.weights)
        self.gradient_evaluations += len(sample)
        curvature = curvature_scores(self._head, self._objective, sample, self._seed)
        if rule == "curvature":
            return curvature
        self.gradient_evaluations += len(self._lessons.forget)
        return gain_scores(self._head, self._objective, self._lessons.forget, curvature)

    def _warm(self, energy: Mapping[str, Tensor], count: int) -> Mapping[str, Tensor]:
        size = sum(score.numel() for score in energy.values())
        wide = select_extreme(energy, max(count, int(_WARM_SHARE * size)))
        moved = self.teach(wide, steps=_WARM_STEPS, learning_rate=_WARM_RATE)
        return movement_scores(self._head, moved.values, self._material.forget.features)
