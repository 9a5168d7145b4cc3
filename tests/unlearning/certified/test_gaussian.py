"""The (epsilon, delta) curve of Gaussian noise against an integral, and against the older rule."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from app.unlearning.certified import delta_of, epsilon_of, gaussian_noise, largest_shift
from tests.unlearning.certified.trained import random_bytes


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 3.0])
@pytest.mark.parametrize(("shift", "deviation"), [(0.3, 1.0), (2.0, 1.0), (5.0, 10.0)])
def test_delta_is_the_hockey_stick_divergence(
    epsilon: float, shift: float, deviation: float
) -> None:
    x = torch.linspace(-15, 15, 600_001, dtype=torch.float64) * deviation

    def density(mean: float) -> torch.Tensor:
        return torch.exp(-0.5 * ((x - mean) / deviation) ** 2) / (
            deviation * math.sqrt(2 * math.pi)
        )

    excess = (density(shift) - math.exp(epsilon) * density(0.0)).clamp(min=0)
    integral = float(torch.trapezoid(excess, x))
    assert delta_of(epsilon, shift, deviation) == pytest.approx(integral, rel=1e-4, abs=1e-12)


@given(epsilon=st.floats(0.01, 20.0), delta=st.floats(1e-12, 0.1), deviation=st.floats(1e-6, 1e6))
@settings(max_examples=60, deadline=None)
def test_the_largest_shift_is_hidden_and_no_larger_one(
    epsilon: float, delta: float, deviation: float
) -> None:
    shift = largest_shift(epsilon, delta, deviation)
    assert delta_of(epsilon, shift, deviation) <= delta * (1 + 1e-9)
    assert delta_of(epsilon, 1.001 * shift, deviation) > delta
    # Where epsilon is large the curve is steep, and its inverse loses digits.
    assert epsilon_of(delta, shift, deviation) == pytest.approx(epsilon, rel=1e-5)


@pytest.mark.parametrize("epsilon", [0.05, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-5, 1e-9])
def test_the_rule_of_the_papers_asks_for_more_noise(epsilon: float, delta: float) -> None:
    """sigma = c beta / epsilon with delta = 1.5 exp(-c^2 / 2)."""
    c = math.sqrt(2 * math.log(1.5 / delta))
    assert delta_of(epsilon, epsilon / c, 1.0) < delta
    assert largest_shift(epsilon, delta, 1.0) > epsilon / c


def test_no_noise_hides_nothing_and_no_shift_needs_none() -> None:
    assert delta_of(1.0, 0.1, 0.0) == 1.0
    assert delta_of(1.0, 0.0, 0.0) == 0.0
    assert epsilon_of(1e-5, 1.0, 0.0) == math.inf
    assert epsilon_of(1e-5, 0.0, 0.0) == 0.0
    assert largest_shift(1.0, 1e-5, 0.0) == 0.0


def test_noise_is_normal_and_all_of_it_is_random() -> None:
    noise = gaussian_noise((200, 500), 3.0, random_bytes(1)) / 3.0
    # 100,000 draws: the mean is good to 0.003, the variance to 0.0045, the kurtosis to 0.015.
    assert abs(float(noise.mean())) < 0.015
    assert abs(float(noise.square().mean()) - 1) < 0.02
    assert abs(float(noise.pow(4).mean()) - 3) < 0.1
    inside = float((noise.abs() < 1).double().mean())
    assert inside == pytest.approx(math.erf(1 / math.sqrt(2)), abs=0.008)
    assert not torch.equal(gaussian_noise((4,), 1.0), gaussian_noise((4,), 1.0))
    assert gaussian_noise((0, 3), 1.0).shape == (0, 3)
