"""The Python client: every endpoint as a method, streaming transfers, waiting until done."""

from app.client.client import Lethe
from app.client.errors import ApiProblem, ClientError, DigestWrong, NotDone, Unreachable

__all__ = ["ApiProblem", "ClientError", "DigestWrong", "Lethe", "NotDone", "Unreachable"]
