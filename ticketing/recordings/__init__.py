"""Recordings of calls: who may hear them, who did, and until when they are kept."""
