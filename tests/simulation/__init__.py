"""A deterministic simulation of the receiving side; see `tests/simulation/README.md`."""
