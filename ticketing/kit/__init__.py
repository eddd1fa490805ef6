"""What all pages and routes of the desk share."""
