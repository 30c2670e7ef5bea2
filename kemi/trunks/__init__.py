"""The DBA's trunks: their tables, one row as calls use it, and the store that finds it."""
