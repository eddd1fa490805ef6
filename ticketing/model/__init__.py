"""What a ticket is: its states and what leads from one to another. Pure."""
