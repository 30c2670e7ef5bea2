"""The SIP flow: every handler, from the request that comes to the last word to the caller."""
