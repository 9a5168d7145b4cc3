"""What every method is."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

from app.unlearning.problem import Problem
from app.unlearning.update import ASKED_BY_POLICY, JSON, Assurance, Update, changed_only

RequestKind = Literal["deletion", "label_correction", "feature_correction"]
Need = Literal["retained_rows", "holdout_rows", "recipe", "perturbed_training"]


class Method(ABC):
    """A way to unlearn: a frozen dataclass whose fields are its hyperparameters.

    Attributes:
        name: Registered name, set by the registry.
        control: Whether it is only ever measured beside a result; set by the registry.
        title: A few words for people.
        reference: The paper behind it, or what it is.
        kinds: Requests it can serve.
        needs: What a problem must hold.
        assurance: What may be claimed of its results.
    """

    name: ClassVar[str]
    control: ClassVar[bool]
    title: ClassVar[str]
    reference: ClassVar[str]
    kinds: ClassVar[tuple[RequestKind, ...]] = (
        "deletion",
        "label_correction",
        "feature_correction",
    )
    needs: ClassVar[tuple[Need, ...]] = ("retained_rows",)
    assurance: ClassVar[Assurance] = "empirical"

    @abstractmethod
    def unlearn(self, problem: Problem) -> Update:
        """Compute the update; ``problem.model`` is not modified.

        Args:
            problem: The problem.

        Returns:
            The update; without values if nothing was found that is better.

        Raises:
            NotApplicable: The problem lacks something the method needs, such as edited rows.
            NotConverged: The result would be half done.
            NonFinite: A gradient, a curvature or a new value is not finite.
        """

    def hyperparameters(self) -> dict[str, JSON]:
        """The values of the hyperparameters by name."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)  # type: ignore[arg-type]  # registered classes are dataclasses
        }

    def update(
        self,
        problem: Problem,
        values: Mapping[str, Tensor],
        *,
        selected: int,
        gradient_evaluations: int,
        diagnostics: Mapping[str, JSON],
        buffers: Mapping[str, Tensor] | None = None,
        rows_read: int | None = None,
        certified: Mapping[str, JSON] | None = None,
    ) -> Update:
        """Make this method's update out of what it found.

        Args:
            problem: The problem it worked on.
            values: New full tensors of parameters; those without a changed bit are left out.
            selected: Scalars it was allowed to change.
            gradient_evaluations: Gradients computed, counted per row.
            diagnostics: Facts of the run.
            buffers: New tensors of buffers.
            rows_read: Distinct rows read; None for all rows at hand.
            certified: The numbers of a proof.

        Returns:
            The update.

        Raises:
            NonFinite: A new value is infinite or not a number.
        """
        return Update(
            values=changed_only(problem.parameters, values),
            buffers=changed_only(dict(problem.model.named_buffers()), buffers or {}),
            selected=selected,
            assurance=self.assurance,
            method=self.name,
            parameters=self.hyperparameters(),
            reason=ASKED_BY_POLICY,
            gradient_evaluations=gradient_evaluations,
            rows_read=problem.rows_at_hand if rows_read is None else rows_read,
            diagnostics=dict(diagnostics),
            certified=certified,
        )
