"""Newton-type minimisation of the edited loss over the scalars that gain most by it.

The selection takes each scalar's own Newton decrement ``g^2 / (h + damping)`` on the edited data;
large curvature alone, offered for comparison, marks scalars that move least. On convex models the
greedy rule keeps scalars that gain the same thing from being chosen together, in several rounds. On
the selection the edited loss is minimised by whatever suits its size: a few hundred scalars by
damped Newton steps on the explicit Gauss-Newton block (Mehta et al. 2022 restrict the removal step
of Sekhari et al. 2021 to a block in this way), more by limited-memory quasi-Newton or Adam steps,
which need one gradient each. Whatever does not lower the edited loss is not taken.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from app.unlearning.convexity import is_convex
from app.unlearning.methods.by_curvature import ByCurvature
from app.unlearning.methods.masked_minimisation import Minimised, Solver, minimise, suited
from app.unlearning.methods.ranking import Chosen, Rule, Scope, select_ranked
from app.unlearning.methods.registry import register
from app.unlearning.methods.schema import hyperparameter
from app.unlearning.problem import Problem
from app.unlearning.selection import Budget, Selection, budget_count
from app.unlearning.truncation import tail_names, truncate
from app.unlearning.update import Update

# Candidates are the last layers that hold this many times what may change: enough to choose from,
# and everything below is run only once.
_CANDIDATES = 4
# Times a selection on a convex model is completed; more gain next to nothing.
_COMPLETED = 4

Select = Literal["auto", Rule]


@register("sparse_newton")
@dataclass(frozen=True)
class SparseNewton(ByCurvature):
    """Minimise the edited loss over the scalars of largest Newton decrement.

    Never raises the edited loss on the rows it is judged on. Empirical: it says nothing about what
    the scalars outside the selection remember. A correction there and back returns only if the
    whole network may change: the way back begins elsewhere and selects other scalars.
    """

    title: ClassVar[str] = "Sparse Newton update"
    reference: ClassVar[str] = "Sekhari et al. 2021 (removal step); Mehta et al. 2022 (block)"

    fraction: float = hyperparameter(
        0.05, "Share of the trainable scalars that may change.", minimum=0, maximum=1
    )
    select: Select = hyperparameter(
        "auto",
        "Ranks the candidates: each scalar's own Newton decrement; greedily what each gains beside "
        "those chosen before it, by the curvature between up to 2048 of them; the magnitude of its "
        "gradient; or its curvature alone, the largest or the smallest first. Auto is greedy on a "
        "convex model and takes the decrement on a network.",
    )
    budget: Budget = hyperparameter(
        "global", "Rank all candidates together, or give each layer or tensor its share."
    )
    scope: Scope = hyperparameter(
        "tail",
        "Candidates: the last layers that hold several times what may change (the layers before "
        "them are run once), or all parameters.",
    )
    solver: Solver = hyperparameter(
        "auto",
        "Quasi-Newton steps to the optimum of a convex model, Newton steps on the explicit block, "
        "L-BFGS, Adam, or what suits the model and the size of the problem.",
    )
    iterations: int | None = hyperparameter(
        None,
        "Most Newton steps, L-BFGS iterations or Adam steps; null: what suits the solver.",
        minimum=1,
        maximum=100_000,
    )
    damping: float = hyperparameter(
        1e-2, "Smallest damping, in units of the mean curvature of the candidates.", minimum=0
    )
    learning_rate: float = hyperparameter(1e-2, "Step size of Adam.", above=0, maximum=1)
    batch_size: int = hyperparameter(128, "Rows of an Adam step.", minimum=1, maximum=65536)
    reselections: int | None = hyperparameter(
        None,
        "Times the selection is completed at the point reached; the share is split evenly. Null: 4 "
        "on a convex model, none on a network.",
        minimum=0,
        maximum=100,
    )

    def unlearn(self, problem: Problem) -> Update:
        """Compute the update; ``problem.model`` is not modified.

        Args:
            problem: The problem.

        Returns:
            The update; empty if nothing lowers the edited loss.

        Raises:
            NonFinite: A gradient, the curvature or a new value is not finite.
            NotApplicable: The optimum of a model that is not convex is asked for.
            NotConverged: A convex model's optimum was not reached.
        """
        convex = is_convex(problem.model, problem.objective)
        solver = suited(self.solver, problem)
        if solver == "optimum":
            problem = problem.with_all_retained()
        count = budget_count(self.fraction, problem.parameter_count)
        names = tuple(problem.parameters)
        if self.scope == "tail":
            names = tail_names(problem.model, _CANDIDATES * count)
        rule, rounds = self._rule(convex), self._rounds(convex, count, problem)
        part = truncate(problem, names) if rounds else problem
        selection = Selection({})
        evaluations = 0
        choices: list[Chosen] = []
        minima: list[Minimised] = []
        for i in range(rounds):
            chosen = select_ranked(
                part,
                names,
                count * (i + 1) // rounds,
                self.budget,
                self.damping,
                selection,
                rule=rule,
                how=self.estimating,
            )
            selection = chosen.selection
            minimum = minimise(
                part,
                selection,
                solver=solver,
                iterations=self.iterations,
                damping=self.damping,
                learning_rate=self.learning_rate,
                batch_size=self.batch_size,
                progress=lambda done, i=i: problem.progress((i + done) / rounds),  # type: ignore[misc]
            )
            part = part.at(minimum.values)
            evaluations += chosen.gradient_evaluations + minimum.gradient_evaluations
            minima.append(minimum)
            choices.append(chosen)
        values = {name: part.parameters[name] for name in selection.names}
        return self.update(
            problem,
            values,
            selected=selection.count,
            gradient_evaluations=evaluations,
            rows_read=problem.rows_at_hand if rounds else 0,
            diagnostics={
                "estimator": choices[-1].estimator if choices else "",
                "curvature_fallbacks": list(choices[-1].fallbacks) if choices else [],
                "selected_by": rule,
                "first_layers_run_once": len(part.parameters) < len(problem.parameters),
                "solvers": [m.solver for m in minima],
                "steps": [m.steps for m in minima],
                "dampings": [list(m.dampings) for m in minima],
                "edited_loss_before": minima[0].loss_before if minima else None,
                "edited_loss_after": minima[-1].loss_after if minima else None,
            },
        )

    def _rule(self, convex: bool) -> Rule:
        if self.select != "auto":
            return self.select
        return "greedy" if convex else "decrement"

    def _rounds(self, convex: bool, count: int, problem: Problem) -> int:
        """Return how often scalars are selected; every round adds at least one."""
        if problem.nothing_changes:
            return 0
        again = self.reselections
        if again is None:
            # Where all may change there is nothing to choose.
            again = _COMPLETED if convex and count < problem.parameter_count else 0
        return min(count, 1 + again)
