"""What every case is given: a folder of its own, and how large it is to be."""

from pathlib import Path
from typing import Literal

from msgspec import Struct

Scale = Literal["quick", "usual", "whole"]


class Bench(Struct, frozen=True):
    """A folder for whatever a case needs, and its scale."""

    folder: Path
    scale: Scale = "usual"

    def by_scale(self, quick: int, usual: int, whole: int | None = None) -> int:
        """The number for this scale; ``whole`` is the usual one unless given."""
        return {"quick": quick, "usual": usual, "whole": usual if whole is None else whole}[self.scale]
