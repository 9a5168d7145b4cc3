"""The networks of the correction study: trained, or taken from a folder."""

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

from torch import nn

from app.unlearning.recipe import Recipe
from app.unlearning.rows import TensorRows
from benchmarks.quality.correction_cases import DataSet, Training, trained
from benchmarks.quality.kept_networks import trained_or_kept

TIMED_EPOCHS = 3


@dataclass(frozen=True)
class Networks:
    """Networks of one data set, trained or taken from a folder.

    Attributes:
        data: The data set.
        training: How they are trained.
        folder: Where they are kept; None: nowhere.
        name: Of the data set.
    """

    data: DataSet
    training: Training
    folder: Path | None
    name: str

    def one(self, case: str, rows: TensorRows, recipe: Recipe) -> nn.Module:
        """The network of a recipe, trained on ``rows``: those of the case."""
        parts = (self.name, case, len(rows), self.training.schedule, recipe.epochs, recipe.seed)
        train = partial(trained, self.data, rows, recipe)
        name = "-".join(map(str, parts))
        return trained_or_kept(self.folder, name, self.data.build, train)

    def retrained(self, seeds: int) -> list[nn.Module]:
        """Those trained on right labels, once for all cases."""
        recipes = [self.training.recipe(100 + seed) for seed in range(seeds)]
        return [self.one("right", self.data.training, recipe) for recipe in recipes]

    def seconds(self) -> float:
        """Of the processor that a retraining takes, by the median of a few epochs now.

        What is compared with it must run on the same machine under the same load, so that the
        seconds that a kept network once took do not serve.
        """
        recipe = self.training.recipe(100)
        found = []
        for _ in range(TIMED_EPOCHS):
            started = time.process_time()
            trained(self.data, self.data.training, replace(recipe, epochs=1))
            found.append(time.process_time() - started)
        return recipe.epochs * median(found)
