from typing import Literal, final

from typing_extensions import Self

from quorate.ring._placed import Placed, _Nodes
from quorate.ring.placement import Key

@final
class Ketama(Placed):
    def __init__(
        self,
        nodes: _Nodes = (),
        *,
        dialect: Literal["libketama", "libmemcached", "uhashring"] = "libketama",
        epoch: int = 0,
    ) -> None: ...
    @property
    def dialect(self) -> str: ...
    def point(self, key: Key) -> int | None: ...
    def points(self) -> list[tuple[int, str]]: ...
    @classmethod
    def from_bytes(cls, form: Key) -> Self: ...
