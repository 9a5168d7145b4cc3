"""Delete rows from an over-fitted network: move part of its head to where retraining would land.

What a network that never saw the deleted rows would say of them is unknown, but it can be learned
cheaply: a *fresh* head fitted on retained rows, on the features of the network's own first layers,
never saw them. Its answers, calibrated on held-out rows, are the targets; a masked part of the
original head moves until the deleted rows answer like that while all else stays; the reference is
thrown away. Held-out rows serve a temperature, offsets and the choice of a snapshot, never a
gradient. Reference and targets also say how far the result is from where it should be: the
judgement J, above 1 the result might not pass even if the reference is right, and is refused.

Evidence of behaviour, not a proof of deletion: the layers before the head stay as they are.
Chundawat et al. (AAAI 2023) distil a teacher that knows nothing at all into the deleted rows; a
teacher that knows everything but them, its calibration and the sparse form are our own.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from app.unlearning.distillation.account import account
from app.unlearning.distillation.answers import require_classes
from app.unlearning.distillation.calibration import calibrate
from app.unlearning.distillation.class_mix import class_mix
from app.unlearning.distillation.effort import Effort, effort_of
from app.unlearning.distillation.head_split import split_head
from app.unlearning.distillation.lessons import prepare_lessons
from app.unlearning.distillation.mask_rules import MaskRule
from app.unlearning.distillation.masked_teaching import ROWS
from app.unlearning.distillation.material import Material, answers_of, gather
from app.unlearning.distillation.reference import fit_reference
from app.unlearning.distillation.student import Student
from app.unlearning.errors import NotApplicable, NotConvincing
from app.unlearning.methods.method import Method, Need, RequestKind
from app.unlearning.methods.registry import register
from app.unlearning.methods.schema import hyperparameter
from app.unlearning.problem import Problem
from app.unlearning.selection import budget_count
from app.unlearning.update import Update

# The fewest and the most passes of the reference over the retained rows.
_PASSES = (5, 20)
# The fewest and the most steps of teaching.
_STEPS = (150, 480)
# From this share on squared gradients choose as well as anything; below, a short run does better.
_ENOUGH = 0.1
# Where progress stands when features, reference and mask are there.
_FEATURES, _REFERENCE, _MASK = 0.1, 0.4, 0.5


@register("reference_distillation")
@dataclass(frozen=True)
class ReferenceDistillation(Method):
    """Teach a masked part of the head what a reference says that never saw the deleted rows.

    Needs about a hundred held-out rows for each class concerned; with fewer than a hundred in all
    the level is not calibrated and the guard is twice as wide, and with fewer than twenty it does
    not run. Retained rows may be a uniform sample of some thousands. Reference and head are taught
    in mini-batches drawn by position, so the result varies with the order of the rows as it does
    with the seed; it does not vary with how rows are streamed.
    """

    title: ClassVar[str] = "Distillation of a reference that never saw the rows"
    reference: ClassVar[str] = "Ours; teachers that lack the rows: Chundawat et al., AAAI 2023"
    kinds: ClassVar[tuple[RequestKind, ...]] = ("deletion",)
    needs: ClassVar[tuple[Need, ...]] = ("retained_rows", "holdout_rows")

    fraction: float = hyperparameter(
        0.1, "Share of the trainable scalars that may change.", minimum=0, maximum=1
    )
    mask: MaskRule = hyperparameter(
        "auto",
        "Ranks the scalars of the head: squared gradients toward the targets, movement in a short "
        "run, gain by curvature, at random, largest curvature; auto: the first from a tenth of the "
        "network on, the second below.",
    )
    head: int | None = hyperparameter(
        None,
        "The head is the last so many layers that hold parameters; null: the dense layers at the "
        "end that hold at least half of the network, or all of them.",
        minimum=1,
        maximum=1000,
    )
    steps: int | None = hyperparameter(
        None,
        "Steps of Adam on the masked head; null: 150 to 480, as many as teaching_share of a "
        "retraining pays for.",
        minimum=1,
        maximum=10_000,
    )
    learning_rate: float = hyperparameter(1e-2, "Step size of Adam.", above=0, maximum=1)
    passes: int | None = hyperparameter(
        None,
        "Passes of the reference over the retained rows; null: 5 to 20, as many as reference_share "
        "of a retraining pays for.",
        minimum=1,
        maximum=1000,
    )
    reference_share: float = hyperparameter(
        0.025, "Share of a retraining's multiply-adds that the reference may take.", above=0
    )
    teaching_share: float = hyperparameter(
        0.1,
        "Share of a retraining's multiply-adds that teaching may take, before the head is cut down "
        "to what may change of its first layer.",
        above=0,
    )
    refuse_above: float | None = hyperparameter(
        1.0,
        "Refuse a result whose own judgement is larger; null: never.",
        minimum=0,
    )

    def unlearn(self, problem: Problem) -> Update:
        """Compute the update; ``problem.model`` is not modified.

        Args:
            problem: The problem.

        Returns:
            The update.

        Raises:
            NotApplicable: It is no deletion, the objective has no classes, no head can be told, or
                too few retained or held-out rows are at hand.
            NotConvincing: The judgement is above ``refuse_above``.
            NonFinite: Training the reference or the head diverged.
        """
        if problem.kind != "deletion":
            raise NotApplicable("only rows that are deleted without a replacement can be distilled")
        require_classes(problem.objective)
        if not len(problem.forget) or self.fraction == 0:
            return self.update(
                problem, {}, selected=0, gradient_evaluations=0, rows_read=0, diagnostics={}
            )
        seed, objective = problem.generator_seed, problem.objective
        material = gather(problem, self.head)
        problem.progress(_FEATURES)
        effort = effort_of(problem, material.split.head, material.forget.features)
        passes, steps = self._plan(effort, len(material.retained))
        reference = self._reference(problem, material, passes)
        gone, held_out = material.forget, material.holdout
        mix = class_mix(
            gone.labels,
            material.retained.labels,
            held_out.labels,
            gone.answers.shape[1],
            retained_weight=problem.retained_total / len(material.retained),
        )
        goal = calibrate(
            material,
            answers_of(reference, objective, gone.features),
            answers_of(reference, objective, held_out.features),
            mix,
        )
        generator = torch.Generator().manual_seed(seed)
        lessons = prepare_lessons(material, reference, goal, mix.hard, objective, generator)
        student = Student(material, lessons, goal, objective, seed)
        selection = student.select(self._rule, budget_count(self.fraction, problem.parameter_count))
        problem.progress(_MASK)
        taught = student.teach(
            selection,
            steps=steps,
            learning_rate=self.learning_rate,
            progress=lambda done: problem.progress(_MASK + done * (1 - _MASK)),
        )
        judgement = taught.judgement.value
        if self.refuse_above is not None and judgement > self.refuse_above:
            raise NotConvincing(judgement, self.refuse_above)
        fitted = passes * len(material.retained)
        return self.update(
            problem,
            {material.split.names[name]: value for name, value in taught.values.items()},
            selected=selection.count,
            gradient_evaluations=fitted + student.gradient_evaluations,
            buffers=material.buffers,
            diagnostics={**account(material, mix, goal, taught), "passes": passes, "steps": steps},
        )

    @property
    def _rule(self) -> MaskRule:
        if self.mask != "auto":
            return self.mask
        return "energy" if self.fraction >= _ENOUGH else "warm"

    def _reference(self, problem: Problem, material: Material, passes: int) -> nn.Module:
        return fit_reference(
            material.split.head,
            material.retained.rows,
            problem.objective,
            passes,
            problem.generator_seed,
            lambda done: problem.progress(_FEATURES + done * (_REFERENCE - _FEATURES)),
        )

    def _plan(self, effort: Effort, retained: int) -> tuple[int, int]:
        """Passes of the reference, and steps of teaching."""
        passes = effort.times(self.reference_share, of=retained, least=_PASSES[0], most=_PASSES[1])
        steps = effort.times(self.teaching_share, of=ROWS, least=_STEPS[0], most=_STEPS[1])
        return self.passes or passes, self.steps or steps

    def expected_share(self, problem: Problem) -> float | None:
        """What the update is expected to cost, as a share of a retraining's multiply-adds.

        Args:
            problem: A deletion with at least one deleted row; the features of one are computed.

        Returns:
            The share; None where no recipe says what a retraining costs.

        Raises:
            NotApplicable: No head can be told.
        """
        split = split_head(problem.model, self.head)
        inputs = problem.forget.take(torch.zeros(1, dtype=torch.int64)).inputs
        with torch.no_grad():
            features = split.body(inputs)
        effort = effort_of(problem, split.head, features)
        retained = len(problem.retained)
        passes, steps = self._plan(effort, retained)
        held_out = 0 if problem.holdout is None else len(problem.holdout)
        return effort.share(
            head=passes * retained + steps * ROWS,
            network=retained + held_out + len(problem.forget),
        )
