"""``quorate lock NAME -- COMMAND``, ``quorate elect NAME -- COMMAND``: a command that runs while something is held.

Waits, shows on a terminal for whom, and has the command run by a keeper (``_keeper``), which ends it in time. Without a
command both say who holds and who waits. Knows the public client; options and exit codes are flock(1)'s.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final, TypeVar

import click

from quorate.api.client import Client
from quorate.cli._client import document, opened, readable
from quorate.cli._holding import EX_TEMPFAIL, EX_UNAVAILABLE, Bell, run_held
from quorate.cli._keeper import Keeper
from quorate.cli._show import console, print_json, table, visible
from quorate.client.flow import run, seconds
from quorate.client.keys import name_of
from quorate.client.urls import VARIABLE
from quorate.errors import ConfigError, InvalidArgument, LimitExceeded, NotHappened, QuorateError, Rejected, SessionLost
from quorate.recipes.base import lease_of
from quorate.recipes.inspection import Claim, claims

__all__ = ["elect", "lock"]

F = TypeVar("F", bound=Callable[..., Any])

FOREVER: Final = 999_999_999.0
LEASE: Final = 10.0
GRACE_SHARE: Final = 0.2
"""Of the lease, unless the grace is given."""
GRACE_SHARE_MAX: Final = 0.5
"""More, and TERM would come in the middle of healthy renewals: they are a third of the lease apart."""
SHOW_SECONDS: Final = 0.5
ENDING: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


class Unavailable(click.ClickException):
    """Neither "another has it" nor a wrong call: nobody answers."""

    exit_code = EX_UNAVAILABLE


class Lost(click.ClickException):
    """It was had, or nearly."""

    exit_code = EX_TEMPFAIL


def hold_options(function: F) -> F:
    """What both commands take."""
    options = (
        click.option(
            "--url", envvar=VARIABLE, metavar="URL", help="quorate://host:port,host:port.  [default: QUORATE_URL]"
        ),
        click.option("-n", "--nb", "--nonblock", "nonblock", is_flag=True, help="Fail at once if another has it."),
        click.option(
            "-w", "--wait", "--timeout", "timeout", type=float, metavar="SECONDS",
            help="Fail if it is not had after so long.  [default: wait]",
        ),
        click.option(
            "-E", "--conflict-exit-code", type=click.IntRange(0, 255), default=1, show_default=True, metavar="N",
            help="Exit code if another has it, with --nonblock or --timeout.",
        ),
        click.option(
            "--lease", type=float, default=LEASE, show_default=True, metavar="SECONDS",
            help="How long others wait at most when this host is gone.",
        ),
        click.option(
            "--grace", type=float, metavar="SECONDS",
            help="Between TERM and KILL when it is lost; at most half of the lease.  [default: a fifth of the lease]",
        ),
        click.option("--json", "as_json", is_flag=True, help="Tell what happens as JSON, on standard error."),
    )  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


class Taken:
    """A lock or an office that we have: what the rest of this file needs of it."""

    def __init__(self, token: int, remaining: Callable[[], float], release: Callable[[], object]) -> None:
        self.token = token
        self.remaining = remaining
        self.release = release


Take = Callable[[Client, Bell, float], "Taken | None"]


class Teller:
    """What happens, for people or for programs; on standard error, because standard output is the command's."""

    def __init__(self, what: str, *, as_json: bool) -> None:
        self.what = what
        self.as_json = as_json
        self.is_terminal = sys.stderr.isatty()

    def tell(self, event: str, **fields: Any) -> None:
        """Something happened. People are told what they would not know otherwise."""
        if self.as_json:
            click.echo(json.dumps({"event": event, **fields}, ensure_ascii=False), err=True)
        elif event == "lost":
            click.echo(f"quorate: {self.what} is lost: {fields['reason']}", err=True)
        elif event == "failed":
            click.echo(f"quorate: {fields['command']}: {fields['reason']}", err=True)
        elif event == "stopped":
            click.echo(f"quorate: stopped; {self.what} is kept for {fields['lease']:g} s at most", err=True)
        elif event == "waiting" and self.is_terminal:
            holder = f", held by {fields['holder']}" if fields["holder"] else ""
            ahead = f"; {fields['ahead']} more in the queue" if fields["ahead"] else ""
            click.echo(f"waiting for {self.what}{holder}{ahead}", err=True)
        elif event == "conflict" and self.is_terminal:
            holder = f"is held by {fields['holder']}" if fields["holder"] else "was not to be had"
            click.echo(f"quorate: {self.what} {holder}", err=True)


class Hold:
    """One call of either command, with a COMMAND to run."""

    def __init__(
        self,
        what: str,
        name: str,
        command: tuple[str, ...],
        take: Take,
        *,
        url: str | None,
        nonblock: bool,
        timeout: float | None,
        conflict_exit_code: int,
        lease: float,
        grace: float | None,
        as_json: bool,
    ) -> None:
        self.name = name
        self.command = command
        self.take = take
        self.url = url
        self.timeout = 0.0 if nonblock else FOREVER if timeout is None else seconds(timeout)
        self.conflict_exit_code = conflict_exit_code
        self.lease = lease
        name_of(name, b"")  # what cannot be right is told before anything is asked
        lease_of(lease)
        self.grace = lease * GRACE_SHARE if grace is None else seconds(grace)
        if self.grace > lease * GRACE_SHARE_MAX:
            raise InvalidArgument(
                f"a grace of {self.grace:g} s is more than half of the lease of {lease:g} s: renewals come every third "
                "of it, and the command has to be ended before it is over; make the lease longer"
            )
        self.teller = Teller(what, as_json=as_json)
        self.what = what

    def run(self) -> int:
        """Everything; the exit code."""
        with Keeper() as keeper, Bell() as bell:  # the keeper is forked, so nothing may have begun a thread
            try:
                with _ended_by_signals(), opened(self.url) as client:
                    taken = self._wait(client, bell)
                    if taken is None:
                        return self.conflict_exit_code
                    code = self._run_command(keeper, bell, taken)
                    # What ended well may have gone on for a moment without the lock.
                    return code if self._release(taken, told=code == EX_TEMPFAIL) else EX_TEMPFAIL
            except (InvalidArgument, LimitExceeded, ConfigError):
                raise
            except Rejected as error:
                raise click.UsageError(str(error)) from error
            except SessionLost as error:
                raise Lost(str(error)) from error
            except QuorateError as error:
                raise Unavailable(str(error)) from error

    def _wait(self, client: Client, bell: Bell) -> Taken | None:
        # Whether anybody answers is known before the wait begins, which may be a long one.
        client.wait_ready(client._core.timeout)
        begin = time.monotonic()
        with self._shown(client):
            taken = self.take(client, bell, self.timeout)
        if taken is None:
            self.teller.tell("conflict", holder=_first(self._look(client)))
        else:
            self.teller.tell("held", token=taken.token, waited=round(time.monotonic() - begin, 3))
        return taken

    def _run_command(self, keeper: Keeper, bell: Bell, taken: Taken) -> int:
        environment = {"QUORATE_LOCK_NAME": self.name, "QUORATE_LOCK_TOKEN": str(taken.token)}
        url = self.url or os.environ.get(VARIABLE)
        if url:
            environment[VARIABLE] = url
        return run_held(
            keeper, bell, self.command, environment=environment, remaining=taken.remaining,
            lease=self.lease, grace=self.grace, tell=self.teller.tell,
        )  # fmt: skip

    def _release(self, taken: Taken, *, told: bool) -> bool:
        """Whether it was held until now, as far as anybody knows. ``told``: that it was not, was said before."""
        try:
            taken.release()
        except SessionLost as error:
            if not told:
                self.teller.tell("lost", reason=str(error))
            return False
        except QuorateError as error:
            click.echo(f"quorate: {self.what} was not released, and is free when its lease is over: {error}", err=True)
        return True

    @contextlib.contextmanager
    def _shown(self, client: Client) -> Iterator[None]:
        """Says who has it, while we wait for longer than a moment, and whenever that changes."""
        if not (self.teller.is_terminal or self.teller.as_json) or not self.timeout:
            yield
            return
        over = threading.Event()

        def show() -> None:
            before = None
            while not over.wait(SHOW_SECONDS):
                found = self._look(client)
                now = (_first(found), max(sum(each.waiting for each in found) - 1, 0))
                if now != before and not over.is_set():
                    self.teller.tell("waiting", holder=now[0], ahead=now[1])
                before = now

        shower = threading.Thread(target=show, daemon=True)
        shower.start()
        try:
            yield
        finally:
            over.set()

    def _look(self, client: Client) -> list[Claim]:
        try:
            return _claims(client, self.name)
        except QuorateError:
            return []


def _claims(client: Client, name: str) -> list[Claim]:
    """Who holds and who waits, in the order in which they will be served."""
    core = client._core
    return run(claims(core, name_of(name, core.prefix), core.timeout))


def _first(found: list[Claim]) -> str | None:
    return f"{_who(found[0])} since {_when(found[0])}" if found and not found[0].waiting else None


def _who(claim: Claim) -> str:
    return visible(claim.label) or f"session {claim.session}"


def _when(claim: Claim) -> str:
    return f"{claim.since.astimezone():%Y-%m-%d %H:%M:%S}"


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Signals end the wait like an error, so that it is withdrawn; with the exit code that shells use."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.getsignal(number) for number in ENDING}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@click.command()
@click.argument("name")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@hold_options
@click.option("--force-release", metavar="REASON", help="Take the lock away from whoever has it, who is told why.")
def lock(name: str, command: tuple[str, ...], force_release: str | None, **options: Any) -> None:
    """Run COMMAND while holding the lock NAME; without a COMMAND, show who has it and who waits.

    COMMAND finds the token in QUORATE_LOCK_TOKEN, the name in QUORATE_LOCK_NAME, the cluster in QUORATE_URL. It is
    ended (TERM, then KILL) when the lock is lost, before anybody else can have it, and killed if this process is.
    Signals go on to it. What it leaves running in the background is not protected.

    Exit codes: COMMAND's own; 126 it cannot be run, 127 it is not there, 128+N signal N ended it; 1 another has the
    lock (--nonblock, --timeout); 2 called wrongly; 69 nobody answers; 75 the lock was lost, and COMMAND was ended.
    """

    def take(client: Client, bell: Bell, timeout: float) -> Taken | None:
        made = client.lock(name, lease=options["lease"], timeout=timeout, on_lost=bell.ring)
        return Taken(made.token, lambda: made.remaining, made.release) if made.acquire() else None

    if force_release is not None:
        if command:
            raise click.UsageError(
                "--force-release stands alone: it is for a lock that another has, and runs no COMMAND"
            )
        with opened(options["url"]) as client:
            client.lock(name).force_release(force_release)
    elif command:
        raise SystemExit(Hold(f"the lock {readable(name.encode())!r}", name, command, take, **options).run())
    else:
        _show(name, options)


@click.command()
@click.argument("name")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@hold_options
@click.option("--value", metavar="TEXT", help="What others see of the leader.  [default: host name and process]")
def elect(name: str, command: tuple[str, ...], value: str | None, **options: Any) -> None:
    """Run COMMAND while having the office NAME; without a COMMAND, show who has it and who waits.

    For services of which exactly one replica is to run: start it on every host, with a supervisor that starts it again.
    Everything else is as for `quorate lock`, the exit codes too.
    """
    mine = (f"{socket.gethostname()}:{os.getpid()}" if value is None else value).encode()

    def take(client: Client, bell: Bell, timeout: float) -> Taken | None:
        election = client.election(name, lease=options["lease"], on_lost=bell.ring)
        try:
            term = election.campaign(mine, timeout=timeout)
        except NotHappened as error:
            if type(error) is NotHappened:  # it is led by another
                return None
            raise
        return Taken(term.token, lambda: term.remaining, term.resign)

    if command:
        raise SystemExit(Hold(f"the office {readable(name.encode())!r}", name, command, take, **options).run())
    _show(name, options)


def _show(name: str, options: dict[str, Any]) -> None:
    """Who holds it and who waits."""
    with opened(options["url"]) as client:
        found = _claims(client, name)
    if options["as_json"]:
        print_json(
            {
                "holders": [_described(each) for each in found if not each.waiting],
                "waiters": [_described(each) for each in found if each.waiting],
            }
        )
        return
    if not found:
        click.echo("nobody has it")
        return
    columns = ["", "who", "value"] if any(each.value for each in found) else ["", "who"]
    out = console()
    rows = table(out, *columns, "token", "since", left=len(columns))
    for each in found:
        value = [readable(each.value[:60])] if "value" in columns else []
        rows.add_row("waits" if each.waiting else "holds", _who(each), *value, str(each.token or ""), _when(each))
    out.print(rows, markup=False)


def _described(claim: Claim) -> dict[str, Any]:
    value = document(value=claim.value) if claim.value else {}
    token = {} if claim.waiting else {"token": claim.token}
    return {"who": claim.label, "session": claim.session, **token, "since": claim.since.timestamp(), **value}
