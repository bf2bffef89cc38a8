from typing_extensions import Buffer

from quorate.raft._events import Event
from quorate.raft._messages import Message
from quorate.raft._update import Update

EVENT_CLASSES: tuple[type[Event] | None, ...]

def encode(it: Message | Event | Update, /) -> bytes: ...
def decode(data: Buffer, /) -> Message | Event | Update: ...
