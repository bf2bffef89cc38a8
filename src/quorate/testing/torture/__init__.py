"""Real clusters under faults that a seed decides, with every operation on record and judged: ``quorate torture``.

- :mod:`~quorate.testing.torture.schedule` draws what goes wrong when, :mod:`~quorate.testing.torture.faults` does it,
- :mod:`~quorate.testing.torture.proxy` is the network, :mod:`~quorate.testing.torture.cluster` the nodes,
- :mod:`~quorate.testing.torture.workloads` are the clients, :mod:`~quorate.testing.torture.record` what they saw,
- :mod:`~quorate.testing.torture.checks` judges a record, also one that was read from a file again,
- :mod:`~quorate.testing.torture.timeline` draws it.
"""
