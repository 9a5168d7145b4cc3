"""What the log costs, how far it grows, and whether many processes can tear it."""
