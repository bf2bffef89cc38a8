"""What the clients of a torture do: one workload a file, all of one interface (:class:`base.Workload`)."""

from quorate.testing.torture.workloads.base import Hand, Problem, Settings, Workload
from quorate.testing.torture.workloads.counters import Counters
from quorate.testing.torture.workloads.elections import Elections
from quorate.testing.torture.workloads.inserts import Inserts
from quorate.testing.torture.workloads.locks import Locks
from quorate.testing.torture.workloads.queues import Queues
from quorate.testing.torture.workloads.registers import Registers

__all__ = ["WORKLOADS", "Hand", "Problem", "Settings", "Workload"]

WORKLOADS: dict[str, type[Workload]] = {
    each.name: each for each in (Registers, Counters, Inserts, Locks, Elections, Queues)
}
