"""What users set: read once from file, environment and defaults into typed settings."""
