"""Ways out. Each is told only what to send; when and how often is the outbox's."""
