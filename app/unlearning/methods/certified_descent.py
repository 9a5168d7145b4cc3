"""Descend to the optimum of the edited data and add noise to the parameters: certified, and simple.

Neel, Roth and Sharifi-Malvajerdi (ALT 2021) descend on the edited data and perturb what they
publish. Here Newton's method descends, to a gradient so small that almost no noise is needed. With
mean gradient norm at most t and weight decay w the parameters are within t / w of the one optimum,
whatever they were before; Gaussian noise hides a difference of that size. Nothing is asked of the
training run, nothing accumulates, and nothing depends on what earlier versions were.
"""

from dataclasses import dataclass
from typing import ClassVar

from app.unlearning.certified import (
    convex_part,
    delta_of,
    gaussian_noise,
    largest_shift,
    perturbed_optimum,
)
from app.unlearning.errors import NotApplicable
from app.unlearning.methods.method import Method
from app.unlearning.methods.registry import register
from app.unlearning.methods.schema import hyperparameter
from app.unlearning.problem import Problem
from app.unlearning.update import JSON, Assurance, Update


@register("certified_descent")
@dataclass(frozen=True)
class CertifiedDescent(Method):
    """The optimum of the edited data plus noise.

    The claim: no outcome is more than e^epsilon times as likely, up to delta, as under training to
    the exact optimum of the edited data and adding noise of the same size. It holds for each
    version by itself and whatever was published before; it says nothing of what versions published
    before reveal.
    """

    title: ClassVar[str] = "Certified descent with noise on what is published"
    reference: ClassVar[str] = "Neel, Roth and Sharifi-Malvajerdi, ALT 2021 (output perturbation)"
    assurance: ClassVar[Assurance] = "certified"

    epsilon: float = hyperparameter(
        1.0, "Log of how much likelier any outcome may become.", above=0, maximum=100
    )
    delta: float = hyperparameter(
        1e-6,
        "Probability by which that may fail; well below one in the rows.",
        above=0,
        maximum=0.1,
    )
    tolerance: float = hyperparameter(
        1e-8,
        "Gradient norm of the mean objective to reach; the noise is in proportion to it.",
        above=0,
    )

    def unlearn(self, problem: Problem) -> Update:
        """Compute the update; ``problem.model`` is not modified.

        Args:
            problem: The problem.

        Returns:
            The update, with the numbers of the proof.

        Raises:
            NotApplicable: The model is not strongly convex, or retained rows are missing.
            NotConverged: The tolerance was not reached.
            NonFinite: A new value is not finite.
        """
        recipe = problem.recipe
        part = convex_part(
            problem.model, problem.objective, "all" if recipe is None else recipe.trained
        )
        whole = problem.with_all_retained()
        if len(whole.retained) != whole.retained_total:
            raise NotApplicable("a proof needs every retained row")
        if not whole.edited_total:
            raise NotApplicable("no edited rows are at hand")
        objective = part.summed(whole.retained, whole.replacement)
        found = perturbed_optimum(
            objective, part.theta, tolerance=self.tolerance, progress=problem.progress
        )
        # By the tolerance and not by the norm that was reached: the size of the noise must not
        # depend on the rows.
        distance = self.tolerance / part.objective.weight_decay
        noise = distance / largest_shift(self.epsilon, self.delta, 1.0)
        drawn = gaussian_noise(tuple(part.theta.shape), noise, problem.random_bytes)
        facts: dict[str, JSON] = {
            "steps": found.steps,
            "gradient_norm": found.gradient_norm / objective.count,
            "noise_over_parameters": noise * drawn.numel() ** 0.5 / float(found.theta.norm()),
        }
        return self.update(
            problem,
            part.values(found.theta + drawn.to(found.theta)),
            selected=part.theta.numel(),
            gradient_evaluations=objective.gradient_evaluations,
            rows_read=whole.rows_at_hand,
            diagnostics=facts,
            certified={
                "mechanism": "output_perturbation",
                "epsilon": self.epsilon,
                "delta": self.delta,
                "noise": noise,
                "bound": distance,
                "delta_reached": delta_of(self.epsilon, distance, noise),
            },
        )
