"""What the service is: nouns (tables, states, queries) and, in `actions`, verbs."""
