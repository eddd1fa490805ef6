"""The store: PostgreSQL, embedded or any other, written by binary COPY."""
