"""Native parts of a client; nothing here is for Python."""
