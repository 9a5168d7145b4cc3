"""The client itself: everything the service offers, under one name."""

from collections.abc import Iterator, Sequence

from app.client.catalog import Catalog
from app.client.connection import Document
from app.client.errors import ApiProblem
from app.client.evidence import Evidence
from app.client.requests import Requests


class Lethe(Catalog, Requests, Evidence):
    """A connection to a Lethe service; close it, or use it as a context manager.

    Methods are named after what they do and answer with the service's documents; a document
    that has an entity tag carries it as ``etag``. Each raises ``ApiProblem`` when the service
    refuses and ``Unreachable`` when it does not answer.
    """

    def is_ready(self) -> bool:
        """Tell whether the service can work."""
        try:
            self.get("/readyz")
        except ApiProblem:
            return False
        return True

    def release(self) -> Document:
        """Tell which release the service is."""
        return self.get("/version")

    def openapi(self) -> Document:
        """Return the interface's description."""
        return self.get("/openapi.json")

    def metrics(self) -> str:
        """Return the figures in Prometheus' format."""
        return self._retried("GET", "/metrics").text

    def create_tenant(self, name: str, *, idempotency_key: str | None = None) -> Document:
        """Add a tenant; takes the bootstrap key."""
        return self.post("/v1/tenants", {"name": name}, idempotency_key=idempotency_key)

    def tenants(self) -> Iterator[Document]:
        """Yield the tenants this key may see."""
        return self.pages("/v1/tenants")

    def create_api_key(
        self,
        name: str,
        scopes: Sequence[str],
        *,
        expires_at: str | None = None,
        tenant_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Document:
        """Make a key; only this answer holds its secret, as ``key``."""
        body: Document = {"name": name, "scopes": list(scopes)}
        if expires_at is not None:
            body["expires_at"] = expires_at
        if tenant_id is not None:
            body["tenant_id"] = tenant_id
        return self.post("/v1/api-keys", body, idempotency_key=idempotency_key)

    def api_keys(self) -> Iterator[Document]:
        """Yield the tenant's keys."""
        return self.pages("/v1/api-keys")

    def revoke_api_key(self, api_key_id: str) -> None:
        """Revoke a key."""
        self.delete(f"/v1/api-keys/{api_key_id}")
