"""What is said about a ticket, to and fro: messages, what they quote, and their attachments."""
