"""Kamailio in SIP's terms: the only importers of KSR.

Facts come out, edits go in; nothing is decided here. KEMI functions answer 1 or more for yes, less for no
(src/core/kemi.c). A value that is not UTF-8 raises UnicodeDecodeError when it is read. Header edits reach the wire with
the next relay and are not seen by later reads of the same message.
"""
