"""The Gauss-Newton matrix of the edited loss on a selection, weight decay included.

Positive semidefinite, and the Hessian itself for models that are linear in their parameters.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from app.unlearning.curvature import sketched_ggn_diagonal
from app.unlearning.methods.curvature_at_hand import kept_curvature
from app.unlearning.problem import Problem
from app.unlearning.rows import Rows, TensorRows
from app.unlearning.selection import Selection
from app.unlearning.solvers.captured_block import captured_block
from app.unlearning.solvers.gauss_newton_product import ggn_vector_product

# Above this many scalars conjugate gradients are faster than forming the block.
BLOCK_LIMIT = 480


class EditedCurvature:
    """``H_SS`` at some parameters, as a matrix or as a product.

    Attributes:
        gradient_evaluations: Rows passed over so far; a pass counts as one gradient for each row,
            though it costs more.
    """

    def __init__(
        self,
        problem: Problem,
        theta: Mapping[str, Tensor],
        selection: Selection,
        *,
        rows: Rows | None = None,
    ) -> None:
        """Prepare.

        Args:
            problem: The problem; its network is read, never written.
            theta: Where, for the parameters with selected scalars.
            selection: S.
            rows: Rows to take the curvature on instead of all edited rows at hand.
        """
        self._problem, self._theta, self._selection = problem, theta, selection
        self._rows = problem.edited if rows is None else rows
        self._decay = problem.objective.weight_decay
        self._product: Callable[[Tensor], Tensor] | None = None
        self._block: Tensor | None = None
        self.gradient_evaluations = 0

    @property
    def rows(self) -> int:
        """The number of rows the curvature is taken on."""
        return len(self._rows)

    def block(self) -> Tensor:
        """Form ``H_SS``, shape ``(|S|, |S|)``, once."""
        if self._block is None:
            self.gradient_evaluations += len(self._rows)
            self._block = captured_block(
                self._problem.model,
                self._problem.objective,
                self._rows,
                self._selection,
                parameters=self._theta,
            )
            self._block.diagonal().add_(self._decay)
        return self._block

    def diagonal(self) -> Tensor:
        """The diagonal of ``H_SS``, shape ``(|S|,)``, or a cheap estimate of it.

        Exact where the block has been formed; otherwise what is kept with the version, or one
        random draw for each row, in their order.
        """
        if self._block is not None:
            return self._block.diagonal()
        names = self._selection.names
        kept = kept_curvature(self._problem, names)
        if kept is None:
            self.gradient_evaluations += len(self._rows)
            moved = self._problem.at(self._theta) if self._theta else self._problem
            found = sketched_ggn_diagonal(
                moved.model, self._problem.objective, self._rows, seed=self._problem.generator_seed
            )
            kept = {name: found.values[name] for name in names}
        return self._selection.gather(kept) + self._decay

    def product(self, vector: Tensor) -> Tensor:
        """``H_SS`` times a vector of shape ``(|S|,)``."""
        if self._block is not None:
            return self._block @ vector
        if self._product is None:
            self._product = ggn_vector_product(
                self._problem.model,
                self._problem.objective,
                self._rows,
                self._selection,
                parameters=self._theta,
            )
        self.gradient_evaluations += len(self._rows)
        return self._product(vector) + self._decay * vector

    def batch_product(self, size: int, generator: torch.Generator) -> Callable[[Tensor], Tensor]:
        """Prepare products with ``H_SS`` on ``size`` rows, drawn anew for each of them."""

        def product(vector: Tensor) -> Tensor:
            drawn = torch.randint(len(self._rows), (size,), generator=generator)
            batch = self._rows.take(drawn)
            rows = TensorRows(batch.inputs, batch.targets, batch.weights)
            self.gradient_evaluations += size
            multiply = ggn_vector_product(
                self._problem.model,
                self._problem.objective,
                rows,
                self._selection,
                parameters=self._theta,
            )
            return multiply(vector) + self._decay * vector

        return product

    def along(self, vector: Tensor) -> float:
        """The curvature along a vector on S: ``v^T H v / v^T v``; 0 for the zero vector."""
        squared = float(vector.double().square().sum())
        if squared == 0:
            return 0.0
        return float(torch.dot(self.product(vector).double(), vector.double())) / squared
