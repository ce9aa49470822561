"""What an annotator labels: classes with an id, a name and a colour, in an order of their own."""

from __future__ import annotations

import operator
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Colour = tuple[int, int, int]
"""Red, green, blue, each a whole number 0..255: what every file format of label classes stores."""

MAX_CLASS_ID = 65535
"""Label maps of 16 bits hold no more."""

BY_ID: Colour = (-1, -1, -1)
"""No colour of one's own: `default_colour` of the id is taken."""

_OKABE_ITO: tuple[Colour, ...] = (
    (230, 159, 0),  # orange
    (86, 180, 233),  # sky blue
    (0, 158, 115),  # bluish green
    (240, 228, 66),  # yellow
    (0, 114, 178),  # blue
    (213, 94, 0),  # vermilion
    (204, 121, 167),  # reddish purple
)
"""Okabe and Ito's palette, made to be told apart by colour-blind eyes; without its black, which no scan shows."""

_LIGHTER, _DARKER = 0.45, 0.6
_NOT_IN_NAMES = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories that break a line or cannot be written to a file."""


def default_colour(class_id: int) -> Colour:
    """The colour of a class that has none, from its id alone: it stays when other classes come and go.

    Ids 1 to 7 get the palette; the next seven are lighter, the seven after them darker; from 22 on it begins anew.
    """
    cycle, place = divmod(class_id - 1, len(_OKABE_ITO))
    red, green, blue = _OKABE_ITO[place]
    if cycle % 3 == 0:
        return red, green, blue

    def tinted(value: int) -> int:
        return round(value + _LIGHTER * (255 - value) if cycle % 3 == 1 else value * _DARKER)

    return tinted(red), tinted(green), tinted(blue)


@dataclass(frozen=True, slots=True)
class LabelClass:
    """One class of a label map.

    Args:
        class_id: 1..65535, its number in label maps; 0 is background and no class.
        name: not empty, on one line; white space around it is dropped.
        colour: (red, green, blue), whole numbers 0..255; without one, `default_colour` of the id.

    Raises:
        InputError: for anything else.
    """

    class_id: int
    name: str
    colour: Colour = BY_ID

    def __post_init__(self) -> None:
        class_id = _whole_number(self.class_id)
        if class_id is None or not 1 <= class_id <= MAX_CLASS_ID:
            raise InputError(
                f"a class id must be a whole number 1..{MAX_CLASS_ID} (0 is background), got {self.class_id!r}"
            )
        name = self.name.strip() if isinstance(self.name, str) else ""
        if not name:
            raise InputError(f"class {class_id} needs a name that is not empty, got {self.name!r}")
        if any(unicodedata.category(character) in _NOT_IN_NAMES for character in name):
            raise InputError(
                f"the name of class {class_id} must be one line without control characters, got {name!r}"
            )
        object.__setattr__(self, "class_id", class_id)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "colour", self._checked_colour(class_id))

    def _checked_colour(self, class_id: int) -> Colour:
        given: Any = self.colour
        if given is None or given == BY_ID:
            return default_colour(class_id)
        values = [_whole_number(value) for value in given] if isinstance(given, (tuple, list)) else []
        if len(values) != 3 or not all(value is not None and 0 <= value <= 255 for value in values):
            raise InputError(
                f"the colour of class {class_id} must be (red, green, blue), whole numbers 0..255, got {given!r}"
            )
        red, green, blue = (int(value or 0) for value in values)
        return red, green, blue

    @property
    def colour_hex(self) -> str:
        """The colour as "#rrggbb"."""
        return "#{:02x}{:02x}{:02x}".format(*self.colour)

    @property
    def colour_rgba(self) -> tuple[float, float, float, float]:
        """The colour as napari takes it: red, green, blue, opacity, each 0..1; opaque."""
        red, green, blue = self.colour
        return red / 255, green / 255, blue / 255, 1.0

    def __str__(self) -> str:
        return f"{self.class_id} {self.name}"


@dataclass(frozen=True, slots=True)
class LabelClasses:
    """Classes in the order in which they are shown; never changed, every change gives a new one.

    An id stands for one class. Names may repeat, as they do in colour tables that people have: the id tells those
    classes apart, and `by_name` refuses to guess.

    Raises:
        InputError: for two classes with one id.
    """

    classes: tuple[LabelClass, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        seen: dict[int, LabelClass] = {}
        for item in self.classes:
            if item.class_id in seen:
                raise InputError(
                    f"class ids must differ, got {item.class_id} for both "
                    f"{seen[item.class_id].name!r} and {item.name!r}"
                )
            seen[item.class_id] = item

    @classmethod
    def from_names(cls, names: Iterable[str]) -> LabelClasses:
        """Classes 1, 2, ... with these names and the default colours."""
        return cls(tuple(LabelClass(class_id, name) for class_id, name in enumerate(names, start=1)))

    def __len__(self) -> int:
        return len(self.classes)

    def __iter__(self) -> Iterator[LabelClass]:
        return iter(self.classes)

    def __contains__(self, class_id: object) -> bool:
        """True when a class has this id."""
        return any(item.class_id == class_id for item in self.classes)

    @property
    def ids(self) -> tuple[int, ...]:
        """Ids, in order."""
        return tuple(item.class_id for item in self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Names, in order."""
        return tuple(item.name for item in self.classes)

    def by_id(self, class_id: int) -> LabelClass:
        """The class with this id; `InputError` when there is none."""
        for item in self.classes:
            if item.class_id == class_id:
                return item
        raise InputError(f"no class has id {class_id!r}: wanted one of {self._listed()}")

    def by_name(self, name: str) -> LabelClass:
        """The class with this name, upper and lower case told apart.

        Raises:
            InputError: when there is none, or several.
        """
        found = [item for item in self.classes if item.name == name.strip()]
        if not found:
            raise InputError(f"no class is called {name!r}: wanted one of {self._listed()}")
        if len(found) > 1:
            ids = ", ".join(str(item.class_id) for item in found)
            raise InputError(f"{len(found)} classes are called {name!r}: choose by id, one of {ids}")
        return found[0]

    def next_free_id(self) -> int:
        """An id that no class has: one above the highest, so that the id of a removed class is not used again soon.

        Raises:
            InputError: when all are taken.
        """
        highest = max(self.ids, default=0)
        if highest < MAX_CLASS_ID:
            return highest + 1
        taken = set(self.ids)
        for class_id in range(1, MAX_CLASS_ID + 1):
            if class_id not in taken:
                return class_id
        raise InputError(f"all {MAX_CLASS_ID} class ids are taken: remove a class first")

    def with_class(self, item: LabelClass) -> LabelClasses:
        """These classes and `item`, which takes the place of the one with its id or comes last."""
        if item.class_id not in self:
            return LabelClasses((*self.classes, item))
        return LabelClasses(tuple(item if old.class_id == item.class_id else old for old in self.classes))

    def without(self, class_id: int) -> LabelClasses:
        """These classes but the one with this id; `InputError` when there is none."""
        removed = self.by_id(class_id)
        return LabelClasses(tuple(item for item in self.classes if item is not removed))

    def _listed(self, at_most: int = 10) -> str:
        if not self.classes:
            return "nothing, there are no classes"
        more = f" and {len(self) - at_most} more" if len(self) > at_most else ""
        return ", ".join(str(item) for item in self.classes[:at_most]) + more


def _whole_number(value: Any) -> int | None:
    """`value` as an int when it is one, NumPy's too; None for bools, floats and everything else."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None
