"""The local copy of the DBA's database. The one process that keeps it may wait for the server; SIP workers never do."""
