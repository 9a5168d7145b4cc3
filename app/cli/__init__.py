"""The command line: start the service, migrate its database, run the demonstration."""
