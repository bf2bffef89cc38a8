"""Native rules of the protocol; nothing here is for Python."""
