"""The way from a caller to a cluster: flows that sync and asyncio share, and the backends that they run on."""
