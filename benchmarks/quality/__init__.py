"""Studies of how near updates come to retraining, in this process and without the service."""
