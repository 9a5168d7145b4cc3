"""Every use of a parameter, against differentiating one row after the other."""

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from app.unlearning.curvature.tape import Known, Tape


def _check(model: nn.Module, inputs: Tensor) -> None:
    """Compare squares, per-row gradients and selected columns of every use with autograd."""
    torch.manual_seed(0)
    model = model.double()
    names = [name for name, _ in model.named_parameters()]
    parameters = [model.get_parameter(name) for name in names]
    rows = len(inputs)
    seed = torch.randn_like(model(inputs)).detach()
    expected = [
        torch.autograd.grad(model(inputs[r : r + 1]), parameters, seed[r : r + 1])
        for r in range(rows)
    ]
    tape = Tape(parameters, torch.empty(rows, 0), Known())
    with tape:
        outputs = model(inputs)
    assert not tape.escaped(outputs)
    assert sorted(use.slot for use in tape.uses) == list(range(len(parameters)))
    gradients: dict[int, Tensor] = {}
    tape.backward(
        outputs,
        seed,
        lambda uses, gradient: gradients.update({use.slot: gradient for use in uses}),
        keep=False,
    )
    for use in tape.uses:
        gradient, slot = gradients[use.slot], use.slot
        wanted = torch.stack([row[slot] for row in expected])
        total = torch.zeros_like(parameters[slot]).detach()
        use.add_squares(gradient, total)
        assert_close(total, wanted.square().sum(0))
        for _ in range(3):
            use.fold(gradient, total)
        use.finish(total)
        assert_close(total, 4 * wanted.square().sum(0))
        assert_close(use.row_gradients(gradient, 1, rows), wanted[1:])
        index = torch.randperm(total.numel())[:7]
        assert_close(use.columns(index)(gradient), wanted.flatten(1)[:, index])


@given(
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 1)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 3)),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    groups=st.integers(1, 3),
    bias=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_convolutions_of_any_geometry(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    channels: tuple[int, int],
    groups: int,
    bias: bool,
) -> None:
    assume(all(d * (k - 1) < 7 + 2 * p for d, k, p in zip(dilation, kernel, padding, strict=True)))
    incoming, outgoing = (groups * c for c in channels)
    layer = nn.Conv2d(incoming, outgoing, kernel, stride, padding, dilation, groups, bias=bias)
    torch.manual_seed(1)
    _check(layer, torch.randn(3, incoming, 7, 8, dtype=torch.float64))


@given(
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 2),
    groups=st.integers(1, 2),
)
@settings(max_examples=20, deadline=None)
def test_convolutions_in_one_dimension(
    kernel: int, stride: int, padding: int, dilation: int, groups: int
) -> None:
    layer = nn.Conv1d(2 * groups, 3 * groups, kernel, stride, padding, dilation, groups)
    torch.manual_seed(1)
    _check(layer, torch.randn(3, 2 * groups, 9, dtype=torch.float64))


@given(between=st.lists(st.integers(1, 4), max_size=2), bias=st.booleans())
@settings(max_examples=12, deadline=None)
def test_linear_layers_with_any_number_of_positions(between: list[int], bias: bool) -> None:
    layer = nn.Linear(4, 3, bias=bias)
    torch.manual_seed(1)
    _check(layer, torch.randn(3, *between, 4, dtype=torch.float64))


@given(between=st.lists(st.integers(1, 4), max_size=2), padding=st.none() | st.integers(-6, 5))
@settings(max_examples=12, deadline=None)
def test_embeddings_with_repeated_tokens(between: list[int], padding: int | None) -> None:
    table = nn.Embedding(6, 3, padding_idx=padding)
    torch.manual_seed(1)
    _check(table, torch.randint(0, 6, (4, *between)))


@given(space=st.lists(st.integers(1, 4), max_size=2))
@settings(max_examples=10, deadline=None)
def test_norms_of_any_rank(space: list[int]) -> None:
    torch.manual_seed(1)
    inputs = torch.randn(3, 4, *space, dtype=torch.float64)
    _check(_randomised(nn.GroupNorm(2, 4)), inputs)
    _check(_randomised(nn.LayerNorm(inputs.shape[-1])), inputs)
    _check(_randomised(nn.LayerNorm(inputs.shape[1:])), inputs)
    batch_norms: list[type[nn.Module]] = [nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d]
    _check(_randomised(batch_norms[len(space)](4)).eval(), inputs)


def test_a_batch_norm_computes_what_torch_computes() -> None:
    norm = _randomised(nn.BatchNorm2d(4)).double().eval()
    torch.manual_seed(1)
    inputs = torch.randn(3, 4, 2, 2, dtype=torch.float64)
    with Tape(list(norm.parameters()), torch.empty(3, 0), Known()):
        recorded = norm(inputs)
    assert_close(recorded, norm(inputs))


def _randomised(norm: nn.Module) -> nn.Module:
    for tensor in norm.state_dict().values():
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 1.5)
    return norm
