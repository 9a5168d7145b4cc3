"""A witness: a small process of somebody else that cosigns a log's checkpoints (C2SP tlog-witness).

It knows nothing of the service but the public keys of its log, and needs none of its secrets,
its database or its data folder. Run it where the operator of the log cannot reach.
"""
