"""The web desk: pages for people, the same data as JSON for programs."""
