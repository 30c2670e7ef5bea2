"""The process that watches shared memory and TCP connections."""
