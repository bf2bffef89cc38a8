"""A client in a process of its own that holds a session: ``python holder.py ADDRESS TTL``.

Says the session's number. The line ``leave`` on its standard input closes the
connection without a goodbye, and the process lives on.
"""

from __future__ import annotations

import os
import struct
import sys

from quorate.client._remote import Remote
from quorate.runtime._processes import own_birth
from quorate.store import commands
from quorate.store.views import Result


def main() -> None:
    address, ttl = sys.argv[1:]
    assert own_birth() or sys.platform != "linux"
    with Remote(address, follow=False) as remote:
        opening = commands.session_open(os.urandom(16), int(float(ttl) * 1000))
        result = Result.decode(remote.propose(opening, 20.0).wait()[1] or b"")
        renewed = remote.ask(6, struct.pack("<HQ", 1, result.number), 20.0).wait()[1]
        assert renewed == b"\0", renewed
        print(result.number, flush=True)
        sys.stdin.readline()
    print("left", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main()
