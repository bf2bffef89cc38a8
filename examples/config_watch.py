"""Follows the settings of a service: shows what they are, then every change as it comes, also through elections.

    quorate up                                    # in one terminal
    python examples/config_watch.py               # in another
    quorate put config/rate 100                   # in a third, with QUORATE_URL as `quorate up` shows it

The first read and the watch fit together without a gap: the watch begins behind the revision of the read.
"""

from __future__ import annotations

import argparse
import contextlib
import os

import quorate

HERE = "quorate://127.0.0.1:7400,127.0.0.1:7401,127.0.0.1:7402"
"""What `quorate up` starts if it is told nothing else."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prefix", default="config/")
    parser.add_argument("--url", default=os.environ.get("QUORATE_URL", HERE))
    parser.add_argument("--count", type=int, help="end after so many changes")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt), quorate.connect(options.url) as client:
        known = client.range(prefix=options.prefix)
        settings = {each.key.decode(): each.value for each in known}
        for name, value in settings.items():
            print(f"{name} = {value.decode(errors='replace')}", flush=True)
        print(f"{len(settings)} settings at revision {known.revision}; waiting for changes", flush=True)
        with client.watch(options.prefix, prefix=True, revision=known.revision) as changes:
            for number, change in enumerate(changes, 1):
                name = change.key.decode()
                if change.kind is quorate.EventKind.PUT:
                    settings[name] = change.value
                    print(f"{name} = {change.value.decode(errors='replace')}  (revision {change.revision})", flush=True)
                else:
                    settings.pop(name, None)
                    print(f"{name} is gone  (revision {change.revision})", flush=True)
                if number == options.count:
                    break


if __name__ == "__main__":
    main()
