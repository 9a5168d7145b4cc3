"""Deletion with a proof: what is left of the data is hidden by noise of a known size.

Everything here is about one linear layer with weight decay (a whole model, or the head of a network
whose other layers are fixed) and counts in *sums* over rows, not in means: the noise, the residual
and the budget have the units of a gradient of the summed loss.
"""

from app.unlearning.certified.bounds import remainder, unsolved, worst_case
from app.unlearning.certified.convex_part import ConvexPart, convex_part
from app.unlearning.certified.gaussian import delta_of, epsilon_of, largest_shift
from app.unlearning.certified.noise import gaussian_noise, require_plausible
from app.unlearning.certified.setting import Setting, setting_of
from app.unlearning.certified.spending import Promise, Spending
from app.unlearning.certified.summed_objective import SummedObjective
from app.unlearning.certified.training import Perturbed, perturbed_optimum

__all__ = [
    "ConvexPart",
    "Perturbed",
    "Promise",
    "Setting",
    "Spending",
    "SummedObjective",
    "convex_part",
    "delta_of",
    "epsilon_of",
    "gaussian_noise",
    "largest_shift",
    "perturbed_optimum",
    "remainder",
    "require_plausible",
    "setting_of",
    "unsolved",
    "worst_case",
]
