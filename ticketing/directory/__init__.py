"""Routes and pages of people: organisations, contacts, vehicles, users, the own account, settings."""
