"""Incidents, tickets, channels and the desk. Imports detectors.verdicts only."""
