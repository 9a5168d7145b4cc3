"""The log, certificates and evidence, as the client sees them."""

import time
from pathlib import Path

from app.client.connection import Document
from app.client.errors import ApiProblem
from app.client.transfers import Transfers

NOT_ISSUED = "certificate-not-issued"
PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.1


class Evidence(Transfers):
    """Reads the log and fetches evidence."""

    def checkpoint(self, *, cosigned: bool = False) -> bytes:
        """Return the log's newest checkpoint, a signed note; keep it for later comparisons.

        Args:
            cosigned: The newest one that a quorum of witnesses has cosigned.
        """
        parameters = {"cosigned": "true"} if cosigned else {}
        return self._retried("GET", "/v1/log/checkpoint", params=parameters).content

    def tile(self, path: str) -> bytes:
        """Return a tile of the log, such as ``0/x001/234.p/17``."""
        return self._retried("GET", f"/v1/log/tile/{path}").content

    def export_entries(self, file: Path, *, since: int = 0) -> str:
        """Export this tenant's sealed entries from an index on; return the file's digest."""
        return self.fetch_file(f"/v1/audit/entries.ndjson?from={since}", file)

    def export_register(self, file: Path, register: str = "requests") -> str:
        """Export the register of ``requests`` or of ``processing``; return the file's digest."""
        return self.fetch_file(f"/v1/register.csv?register={register}", file)

    def log_keys(self) -> list[Document]:
        """Return the log's public keys with their times."""
        keys: list[Document] = self.get("/v1/log/keys")["items"]
        return keys

    def leaf(self, index: int) -> bytes:
        """Return the exact bytes of a leaf of this tenant."""
        return self._retried("GET", f"/v1/log/leaves/{index}").content

    def prove_inclusion(self, entry_id: str, size: int | None = None) -> Document:
        """Return the proof that an entry is in the tree."""
        return self.get("/v1/log/proof/inclusion", entry_id=entry_id, size=size)

    def prove_consistency(self, size: int, later_size: int | None = None) -> Document:
        """Return the proof that a tree continues an earlier one."""
        return self.get("/v1/log/proof/consistency", **{"from": size, "to": later_size})

    def statistics(self, year: int, regulation: str | None = None) -> Document:
        """Return what became of the requests of a year, and in how many days."""
        return self.get("/v1/statistics", year=year, regulation=regulation)

    def certificate(self, request_id: str) -> Document:
        """Return a request's certificate, a DSSE envelope."""
        return self.get(f"/v1/requests/{request_id}/certificate")

    def wait_for_certificate(self, request_id: str, timeout: float = PATIENCE_SECONDS) -> Document:
        """Wait until a request that is done has its certificate.

        Raises:
            ApiProblem: It has none when the time is over, or something else is wrong.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                return self.certificate(request_id)
            except ApiProblem as problem:
                if problem.code != NOT_ISSUED or time.monotonic() > deadline:
                    raise
            time.sleep(PAUSE_SECONDS)

    def download_evidence(self, request_id: str, file: Path) -> str:
        """Download the evidence about a request; return its digest."""
        return self.fetch_file(f"/v1/requests/{request_id}/evidence.zip", file)
