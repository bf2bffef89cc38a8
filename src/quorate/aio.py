"""The same names as `quorate`, for asyncio: ``async with quorate.aio.connect() as client: await client.put(...)``."""

from quorate.api.aio_client import Client, Session, Transaction, Watch, connect
from quorate.api.aio_node import Node, local
from quorate.api.distributed_lock import AsyncDistributedLock as DistributedLock
from quorate.recipes.barrier import AsyncBarrier as Barrier
from quorate.recipes.counter import AsyncCounter as Counter
from quorate.recipes.double_barrier import AsyncDoubleBarrier as DoubleBarrier
from quorate.recipes.election import AsyncElection as Election
from quorate.recipes.election import AsyncObservation as Observation
from quorate.recipes.election import AsyncTerm as Term
from quorate.recipes.election import Leader
from quorate.recipes.group import AsyncGroup as Group
from quorate.recipes.group import AsyncGroupWatch as GroupWatch
from quorate.recipes.group import AsyncMembership as Membership
from quorate.recipes.held import AsyncTakeable as Takeable
from quorate.recipes.lock import AsyncLock as Lock
from quorate.recipes.multi_lock import AsyncMultiLock as MultiLock
from quorate.recipes.queue import AsyncItem as Item
from quorate.recipes.queue import AsyncQueue as Queue
from quorate.recipes.ring import AsyncLiveRing as LiveRing
from quorate.recipes.rwlock import AsyncRWLock as RWLock
from quorate.recipes.semaphore import AsyncPermits as Permits
from quorate.recipes.semaphore import AsyncSemaphore as Semaphore
from quorate.recipes.sticky import AsyncStickyLock as StickyLock

__all__ = [
    "Barrier",
    "Client",
    "Counter",
    "DistributedLock",
    "DoubleBarrier",
    "Election",
    "Group",
    "GroupWatch",
    "Item",
    "Leader",
    "LiveRing",
    "Lock",
    "Membership",
    "MultiLock",
    "Node",
    "Observation",
    "Permits",
    "Queue",
    "RWLock",
    "Semaphore",
    "Session",
    "StickyLock",
    "Takeable",
    "Term",
    "Transaction",
    "Watch",
    "connect",
    "local",
]
