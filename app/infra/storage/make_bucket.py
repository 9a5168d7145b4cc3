"""``python -m app.infra.storage.make_bucket``: make the configured bucket if it is missing.

For stores that start empty, as in the compose file; the service itself never needs the right to
make buckets.
"""

from urllib.parse import urlsplit

from app.infra.settings import settings
from app.infra.storage.opening import s3_endpoint
from app.infra.storage.s3 import connect


def make_bucket(url: str) -> bool:
    """Make the bucket of ``s3://bucket/prefix``; return whether it had been missing."""
    client = connect(s3_endpoint())
    bucket = urlsplit(url).netloc
    if bucket in {known["Name"] for known in client.list_buckets()["Buckets"]}:
        return False
    client.create_bucket(Bucket=bucket)
    return True


if __name__ == "__main__":
    make_bucket(settings().store_url)
