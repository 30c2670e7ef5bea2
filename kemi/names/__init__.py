"""The names of trunks' next hops, resolved before calls need them. The one process that does it may wait for name
servers; nothing else of Kamailio asks one for a SIP peer.
"""
