"""``lethe model-keys``: the keys that sign models are shown and renewed."""

from app.infra import clock
from app.infra.settings import settings
from app.infra.signing.model_keys import model_keys, rotate_model_keys


def show() -> None:
    """Print the public keys that count now, as PEM."""
    now = clock.now()
    for key, shown in zip(model_keys().keys, model_keys().document(), strict=True):
        if key.is_valid_at(now):
            print(shown["public_key"], end="")


def rotate() -> None:
    """Let a new key take over and print when each counts."""
    for item in rotate_model_keys(settings()).document():
        print(f"from {item['valid_from']} until {item['valid_until'] or 'further'}")
        print(item["public_key"], end="")
    print("restart the service: its processes have read the keys at their start")
