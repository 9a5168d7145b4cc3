"""The network of the demonstration: a small convolutional one, 151 306 parameters."""

from torch import nn

from app.cli.demo.training import Plan

ARCHITECTURE = {
    "builder": "sequential",
    "config": {
        "layers": [
            {
                "type": "conv2d",
                "in_channels": 1,
                "out_channels": 32,
                "kernel_size": 3,
                "padding": 1,
            },
            {"type": "relu"},
            {
                "type": "conv2d",
                "in_channels": 32,
                "out_channels": 64,
                "kernel_size": 3,
                "padding": 1,
            },
            {"type": "relu"},
            {"type": "max_pool2d", "kernel_size": 2},
            {"type": "flatten"},
            {"type": "linear", "in_features": 1024, "out_features": 128},
            {"type": "relu"},
            {"type": "linear", "in_features": 128, "out_features": 10},
        ]
    },
}
LEARNING_RATE = 3e-4
BATCH_ROWS = 32


def network() -> nn.Sequential:
    """Build the network that ``ARCHITECTURE`` describes, with fresh parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(1024, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def plan(seed: int) -> Plan:
    """Return how it is trained."""
    return Plan(network, LEARNING_RATE, BATCH_ROWS, seed)
