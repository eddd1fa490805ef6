"""Several receiving processes on the same ports: `parent` in the service, `child` in each of them."""
