"""Evidence that anyone can check without us: needs ``cryptography`` and nothing else."""
