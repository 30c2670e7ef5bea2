"""Inside a dialog: its mark, its CSeq, and a 200 that comes late. Pure."""
