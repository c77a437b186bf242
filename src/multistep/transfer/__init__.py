"""Meta-transfer: what and where to transfer from a source network (section 5.1)."""
