"""The same names as `quorate`, for asyncio: ``async with quorate.aio.connect() as client: await client.put(...)``."""

from quorate.api.aio_client import Client, Session, Transaction, Watch, connect
from quorate.api.aio_node import Node, local
from quorate.recipes.counter import AsyncCounter as Counter

__all__ = ["Client", "Counter", "Node", "Session", "Transaction", "Watch", "connect", "local"]
