"""The local copy of a server's database: kept equal to it by one process, which may wait; SIP workers never enter."""
