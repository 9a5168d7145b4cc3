"""Measurements of an update, with intervals, and the gates that judge them.

before = observe(old, objective, sets)
after = observe(new, objective, sets)
judgement = judge(measure(before, after), {"holdout_accuracy_drop": 0.02})
"""

from app.unlearning.verification.evaluation import Evaluated, baseline, evaluate
from app.unlearning.verification.gates import GATES, Gate, Judgement, Verdict, judge
from app.unlearning.verification.intervals import Interval, clopper_pearson
from app.unlearning.verification.measurements import (
    Failure,
    Measurement,
    Observation,
    RowSets,
    measure,
    observe,
)

__all__ = [
    "GATES",
    "Evaluated",
    "Failure",
    "Gate",
    "Interval",
    "Judgement",
    "Measurement",
    "Observation",
    "RowSets",
    "Verdict",
    "baseline",
    "clopper_pearson",
    "evaluate",
    "judge",
    "measure",
    "observe",
]
