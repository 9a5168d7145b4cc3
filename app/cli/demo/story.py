"""One seed: a correction and a deletion through the service, checked from outside.

What the service publishes is downloaded, loaded in plain torch and measured again; whatever does
not agree with the service's own report is a fault.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.progress import Progress
from safetensors.torch import load_file, save
from torch import nn

from app.cli.demo.digits import COLUMNS, INPUTS
from app.cli.demo.evidence import prove
from app.cli.demo.figures import Figures, after_correction, after_deletion
from app.cli.demo.network import ARCHITECTURE, network, plan
from app.cli.demo.preparation import Prepared
from app.cli.demo.training import Trained, changed_share
from app.cli.steps import (
    fulfil,
    jobs_of,
    measured,
    register_dataset,
    register_version,
    seconds_of,
    wait_for_curvature,
)
from app.client import ApiProblem, Lethe
from app.client.connection import Document

VERIFICATION = {"verification": {"reference": "retrain"}}
CORRECTION_POLICY = VERIFICATION | {"gates": {"holdout_accuracy_drop": 0.02}}
DELETION_POLICY = VERIFICATION | {
    "gates": {"holdout_accuracy_drop": 0.02, "membership_auc_to_reference": 0.05}
}
ACCURACY_TOLERANCE = 0.003
"""One held-out row of 360: sums in another order may tip a row that stands on the edge."""
LOSS_TOLERANCE = 1e-3
"""Relative, for the same reason."""

Measure = Callable[[Prepared, nn.Module], Figures]


@dataclass(frozen=True)
class Outcome:
    """What one request did to one network.

    Attributes:
        before: The network as it was deployed.
        after: The network that the service published.
        retrained: The network trained from scratch on the edited data.
        seconds: What the service spent, jobs that were not published included.
        retraining_seconds: What training from scratch takes.
        changed_share: Share of the parameters whose value changed.
        report: The service's report on the published result.
        setbacks: Why earlier attempts were not published.
        faults: What is not as it should be.
    """

    before: Figures
    after: Figures
    retrained: Figures
    seconds: float
    retraining_seconds: float
    changed_share: float
    report: Mapping[str, Any]
    setbacks: Sequence[str] = ()
    faults: list[str] = field(default_factory=list)

    @property
    def restored_share(self) -> float:
        """Share of the lost held-out accuracy that is back; retraining counts as 1."""
        lost = self.retrained.accuracy - self.before.accuracy
        return (self.after.accuracy - self.before.accuracy) / lost


@dataclass(frozen=True)
class Told:
    """The story of one seed, to its end.

    Attributes:
        seed: Of the story.
        correction: Outcome of the label correction.
        deletion: Outcome of the deletion.
        entries: The audit entries of the deletion.
        evidence: What the offline verifier said, a line each.
    """

    seed: int
    correction: Outcome
    deletion: Outcome
    entries: list[Document]
    evidence: tuple[str, ...] = ()


def tell(client: Lethe, prepared: Prepared, folder: Path, progress: Progress) -> Told:
    """Register, correct, delete, and measure everything again.

    Args:
        client: Of the service.
        prepared: Data and networks.
        folder: For the files on their way; they stay there.
        progress: Gets the bars.

    Returns:
        The outcomes.
    """
    chapter = _Chapter(client, prepared, folder, progress)
    model_id, dataset_id, version = chapter.register()
    order = client.submit_correction(
        dataset_id, corrections=prepared.digits.corrections(), reference="wrong labels"
    )
    correction, version, model = chapter.carry_out(
        order, version, prepared.flipped.model, after_correction, prepared.corrected
    )
    client.put_policy(model_id, DELETION_POLICY)
    writer = prepared.digits.subject_id(prepared.digits.leaving_writer())
    order = client.submit_deletion(
        dataset_id, subject_ids=[writer], regulation="gdpr", reference="erasure"
    )
    deletion, version, _ = chapter.carry_out(
        order, version, model, after_deletion, prepared.without_writer
    )
    erased = client.revision(dataset_id, 1)["erased_rows"]
    if erased != int(prepared.is_of_writer.sum()):
        deletion.faults.append(f"{erased} rows were erased")
    proof = prove(client, order["id"], folder / f"{version['id']}.safetensors", folder)
    deletion.faults.extend(proof.faults)
    entries = list(client.events(order["id"]))
    return Told(prepared.seed, correction, deletion, entries, proof.lines)


@dataclass(frozen=True)
class _Chapter:
    client: Lethe
    prepared: Prepared
    folder: Path
    progress: Progress

    def register(self) -> tuple[str, str, Document]:
        """Register the data with its wrong labels and the network trained on them."""
        seed, flipped = self.prepared.seed, self.prepared.flipped
        file = self.folder / f"digits-{seed}.parquet"
        self.prepared.digits.write(file)
        dataset_id = register_dataset(self.client, f"digits {seed}", COLUMNS, file, self.progress)
        model_id = self.client.create_model(f"reader {seed}", CORRECTION_POLICY)["id"]
        order = {
            "dataset_id": dataset_id,
            "training_split": "train",
            "holdout_split": "test",
            "architecture": ARCHITECTURE,
            "inputs": INPUTS,
            "objective": "cross_entropy",
            "recipe": plan(seed).recipe(flipped.epochs),
        }
        weights = save(flipped.model.state_dict())
        version = register_version(self.client, model_id, order, weights, self.progress)
        return model_id, dataset_id, version

    def carry_out(
        self,
        request: Document,
        version: Document,
        model: nn.Module,
        measure: Measure,
        reference: Trained,
    ) -> tuple[Outcome, Document, nn.Module]:
        """Wait for a request; return its outcome, the new version and its network."""
        title = f"seed {self.prepared.seed}: {request['kind']}"
        request = fulfil(self.client, request, title, self.progress)
        jobs = jobs_of(self.client, request, version["id"])
        model_id, result_id = version["model_id"], jobs[-1]["result_version_id"]
        file = self.folder / f"{result_id}.safetensors"
        digest = self.client.download_weights(model_id, result_id, file)
        result = self.client.version(model_id, result_id)
        after = network()
        after.load_state_dict(load_file(file))
        outcome = Outcome(
            before=measure(self.prepared, model),
            after=measure(self.prepared, after.eval()),
            retrained=measure(self.prepared, reference.model),
            seconds=seconds_of(jobs),
            retraining_seconds=reference.seconds,
            changed_share=changed_share(model, after),
            report=jobs[-1]["report"],
            setbacks=[setback_of(job) for job in jobs[:-1]],
        )
        outcome.faults.extend(disagreements(outcome))
        if digest != result["digest"]:
            outcome.faults.append("the downloaded weights are not the published ones")
        if not self._is_withdrawn(version):
            outcome.faults.append("the old weights can still be downloaded")
        wait_for_curvature(self.client, result_id)
        return outcome, result, after

    def _is_withdrawn(self, version: Document) -> bool:
        try:
            self.client.download_weights(
                version["model_id"], version["id"], self.folder / "withdrawn.safetensors"
            )
        except ApiProblem as problem:
            return problem.status == 410
        return False


def setback_of(job: Document) -> str:
    """Say why a job's result was not published."""
    if job["report"] is None:
        return f"{job['method']} failed: {job['error']['detail']}"
    missed = [
        f"{gate['name']} {gate['value']:.3f}, limit {gate['limit']}"
        for gate in job["report"]["gates"]
        if gate["verdict"] != "passed" and gate["value"] is not None
    ]
    return f"{job['report']['method']} was not published: {'; '.join(missed)}"


def disagreements(outcome: Outcome) -> list[str]:
    """Name the figures of the service's report that were not found outside."""
    report, own = outcome.report, outcome.after
    cost = report["cost"]
    said = {
        "parameters changed": cost["parameters_changed"] / cost["parameters_total"],
        "holdout_accuracy": _said(report, "holdout_accuracy"),
        "holdout_loss": _said(report, "holdout_loss"),
        "membership_auc": _said(report, "membership_auc"),
    }
    seen = {
        "parameters changed": (outcome.changed_share, 1e-9),
        "holdout_accuracy": (own.accuracy, ACCURACY_TOLERANCE),
        "holdout_loss": (own.loss, LOSS_TOLERANCE * own.loss),
        "membership_auc": (own.auc, ACCURACY_TOLERANCE),
    }
    return [
        f"{name}: the report says {value:.5f}, outside it is {seen[name][0]:.5f}"
        for name, value in said.items()
        # A correction's report has no membership AUC.
        if value is not None and abs(value - seen[name][0]) > seen[name][1]
    ]


def _said(report: Mapping[str, Any], name: str) -> float | None:
    found = measured(report, name)
    return None if found is None else found["after"]
