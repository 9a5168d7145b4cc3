"""The Gauss-Newton block of a few hundred selected coordinates, by one backward pass per output.

The block is J_S^T J_S for the matrix J_S whose rows are the derivatives of <root column, outputs>
of every data row with respect to the selected coordinates S. It is formed in one of two ways:

* J_S is gathered, one block of rows for each root column, and multiplied with itself;
* where every derivative is a product f_j g_u(j) of an input and an output gradient, the entry of
  two coordinates is sum over rows of f_i f_j M_u(i)u(j) with M_uv = sum over root columns of
  g_u g_v. Coordinates share few units u, so M is small, and the long sum runs over the rows alone
  and not over rows times columns.

Any number of dampings then costs one small Cholesky factorisation each. Up to several hundred
coordinates this is many times faster than conjugate gradients.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice

import torch
from torch import Tensor, nn

from app.unlearning.curvature.evaluation import evaluating
from app.unlearning.errors import NonFinite, NotApplicable
from app.unlearning.objective import Objective
from app.unlearning.rows import Batch, Rows, stream
from app.unlearning.selection.selection import Selection
from app.unlearning.solvers.products import Products
from app.unlearning.solvers.selected_jacobian import SelectedJacobian

_TILE = 96
"""Columns of the block that are multiplied together; only tiles on or above the diagonal are."""

_SEEDS = 16
"""Root columns whose output gradients are held together."""

_WIDE = 1 << 20
"""Scalars of weighted inputs that are held together: 8 MiB in float64."""

_HELD = 1 << 22
"""Scalars of a batch that may be held: 32 MiB in float64."""

_MOST_ROWS = 4096
_FIRST_ROWS = 2


def captured_block(
    model: nn.Module,
    objective: Objective,
    rows: Rows | Iterable[Batch],
    selection: Selection,
    *,
    parameters: Mapping[str, Tensor] | None = None,
    batch_size: int | None = None,
) -> Tensor:
    """Form H_SS: the block of the GGN of the mean loss, without weight decay.

    Memory O(|S|^2 + batch size * |S|) beyond that of a backward pass.

    Args:
        model: The network; run in eval mode, and otherwise not touched.
        objective: Its loss.
        rows: Rows, or batches; weights are respected, of labels only which tokens count.
        selection: S.
        parameters: Values to use instead of the network's own, by name, of some or all parameters.
        batch_size: Rows handled at a time; the result does not depend on it beyond rounding. None
            takes as many as fit, judged by the first rows.

    Returns:
        (|S|, |S|), in the order of the selection, positive semidefinite.

    Raises:
        NotApplicable: Nothing is selected, or there are no rows.
        NonFinite: An entry is NaN or infinite.
    """
    touched = selection.touched()
    if not touched.masks:
        raise NotApplicable("nothing is selected")
    jacobian = SelectedJacobian(model, touched, parameters or {})

    def summed() -> _Block:
        block = _Block(jacobian)
        for batch in _sized(rows, jacobian, batch_size):
            block.add(batch, objective)
        return block

    with evaluating(model):
        block = summed()
        if jacobian.is_mixed and not isinstance(rows, Iterator):
            block = summed()
    return block.mean()


def solve_damped(
    block: Tensor, right: Tensor, dampings: Sequence[float], metric: Tensor | None = None
) -> list[Tensor | None]:
    """Solve (block + damping D) x = right for several dampings, in double precision.

    Args:
        block: (k, k), symmetric.
        right: (k,).
        dampings: In the units of the block.
        metric: The diagonal of D, (k,); None for the identity.

    Returns:
        One solution (k,) per damping, of the dtype of ``right``; None where the damped block is
        not positive definite.
    """
    matrix = block.double().clone()
    diagonal = matrix.diagonal()
    plain = diagonal.clone()
    shape = torch.ones_like(plain) if metric is None else metric.double()
    solutions: list[Tensor | None] = []
    for damping in dampings:
        diagonal.copy_(plain + damping * shape)
        factor, failure = torch.linalg.cholesky_ex(matrix)
        if int(failure):
            solutions.append(None)
            continue
        solution = torch.cholesky_solve(right.double()[:, None], factor)[:, 0]
        solutions.append(solution.to(right.dtype))
    return solutions


class _Block:
    """Sums over rows; the upper triangle alone, in two orders of the coordinates."""

    def __init__(self, jacobian: SelectedJacobian) -> None:
        self._jacobian = jacobian
        self._gathered: Tensor | None = None
        self._multiplied: Tensor | None = None
        self._order: Tensor | None = None
        self._weight = 0.0

    def add(self, batch: Batch, objective: Objective) -> None:
        """Add the rows of a batch."""
        self._weight += batch.total_weight()
        recording = self._jacobian.record(batch.inputs)
        if recording is None:
            with torch.no_grad():
                outputs = self._jacobian.run(batch.inputs)
            seeds = list(_roots(objective, outputs, batch))
            for part in self._jacobian.row_by_row(batch.inputs, seeds):
                self._gathered = _add_square(self._gathered, part)
            return
        roots = _roots(objective, recording.outputs, batch)
        group = list(islice(roots, _SEEDS))
        products = recording.products if len(group) > 1 else None
        if products is not None and products.is_cheaper(len(group)):
            self._order = products.order
            while group:
                gradients = products.gradients(group)
                self._multiplied = _add_products(self._multiplied, products, gradients)
                group = list(islice(roots, _SEEDS))
            return
        for root in chain(group, roots):
            self._gathered = _add_square(self._gathered, recording.columns(root))

    def mean(self) -> Tensor:
        """Return the whole block, divided by the weight of the rows.

        Raises:
            NotApplicable: There were none.
            NonFinite: An entry is NaN or infinite.
        """
        if not self._weight > 0:
            raise NotApplicable("a curvature needs rows of positive weight")
        total: Tensor | None = None
        if self._gathered is not None:
            total = _mirrored(self._gathered)
        if self._multiplied is not None and self._order is not None:
            back = self._order.argsort()
            sorted_back = _mirrored(self._multiplied)[back][:, back]
            total = sorted_back if total is None else total + sorted_back
        if total is None:
            raise NotApplicable("a curvature needs rows of positive weight")
        if not torch.isfinite(total.div_(self._weight)).all():
            raise NonFinite("block")
        return total


def _add_square(total: Tensor | None, columns: Tensor) -> Tensor:
    """Add J^T J for J^T = ``columns``, (k, rows), to the tiles on and above the diagonal."""
    columns = _summable(columns)
    if total is None:
        total = columns.new_zeros(len(columns), len(columns))
    for start in range(0, len(columns), _TILE):
        stop = start + _TILE
        total[start:stop, start:].addmm_(columns[start:stop], columns[start:].t())
    return total


def _add_products(total: Tensor | None, products: Products, gradients: Tensor) -> Tensor:
    """Add the rows of a batch for some root columns, unit by unit.

    Args:
        total: (k, k) or None; its upper triangle is what counts.
        products: The factors, sorted by unit.
        gradients: (root columns, units, rows).

    Returns:
        The sum.
    """
    fixed, units, gradients = _summable(products.fixed), products.units, _summable(gradients)
    if total is None:
        total = fixed.new_zeros(len(fixed), len(fixed))
    ends = units.bincount(minlength=products.count).cumsum(0).tolist()
    step = min(max(64, _WIDE // len(fixed)), fixed.shape[1])
    mixed, wide = fixed.new_empty(products.count, step), fixed.new_empty(len(fixed), step)
    for some, factors in zip(gradients.split(step, 2), fixed.split(step, 1), strict=True):
        rows, start = factors.shape[1], 0
        for unit, stop in enumerate(ends):
            shared = torch.mul(some[0, unit], some[0, unit:], out=mixed[unit:, :rows])
            for column in some[1:]:
                shared.addcmul_(column[unit], column[unit:])
            spread = torch.index_select(
                mixed[:, :rows], 0, units[start:], out=wide[start:, :rows]
            ).mul_(factors[start:])
            total[start:stop, start:].addmm_(factors[start:stop], spread.t())
            start = stop
    return total


def _summable(values: Tensor) -> Tensor:
    """Return values of fewer bits in float32: long sums in bfloat16 come to a halt."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _mirrored(upper: Tensor) -> Tensor:
    return upper.triu() + upper.triu(1).t()


def _sized(
    rows: Rows | Iterable[Batch], jacobian: SelectedJacobian, batch_size: int | None
) -> Iterator[Batch]:
    """Cut the rows into batches that fit."""
    if batch_size is None:
        batch_size = _FIRST_ROWS
        if isinstance(rows, Rows) and len(rows):
            first = next(rows.batches(_FIRST_ROWS))
            jacobian.check(first.inputs)
            held = first.inputs[0].numel() + 2 * (jacobian.width + jacobian.size)
            batch_size = max(1, min(_MOST_ROWS, _HELD // held))
    return stream(rows, batch_size)


def _roots(objective: Objective, outputs: Tensor, batch: Batch) -> Iterator[Tensor]:
    columns = objective.root_columns(outputs, batch.targets)
    if batch.weights is None:
        return columns
    shape = (-1,) + (1,) * (outputs.dim() - 1)
    factor = batch.weights.sqrt().to(outputs.dtype).view(shape)
    return (column * factor for column in columns)
