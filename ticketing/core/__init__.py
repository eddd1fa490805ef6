"""What every feature stands on: database, journal, numbers, outbox, errors. It knows no feature."""
