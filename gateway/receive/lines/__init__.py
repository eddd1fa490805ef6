"""Serial lines, where the gateway asks: ports, buses, pollers, and how readings reach the pipeline."""
