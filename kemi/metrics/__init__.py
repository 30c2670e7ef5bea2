"""What is counted, and how Prometheus reads it: counters in memory that all processes share, a page, a server."""
