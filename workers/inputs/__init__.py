"""How raw cells become the tensors of a network: one file per kind of inputs."""
