"""Names for the things that a user chooses by name: activations, losses, initialisers, layers."""

from dataclasses import fields, is_dataclass, replace
from typing import Any, Generic, TypeVar

from nn_any.core.errors import InvalidTypeError, InvalidValueError

T = TypeVar("T")


class Named:
    """What a registry holds: things of a name that are equal if their class and settings are, wherever they were made.

    Attributes
    ----------
    name : str
        The name under which it is registered.
    """

    name: str = ""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), *sorted(vars(self).items())))


class Registry(Generic[T]):
    """A table from names to things of one kind.

    Parameters
    ----------
    kind : str
        What the table holds, for its error messages: ``"activation"``.
    base : type
        The class of which every entry is an instance.
    module : str
        The module of `nn_any` that owns the table, likewise: ``"activations"``.

    Examples
    --------
    >>> from nn_any.core import activations
    >>> activations.get("sigmoid")
    <activation sigmoid>
    """

    def __init__(self, kind: str, base: type, module: str) -> None:
        self.kind = kind
        self._module = f"nn_any.{module}"
        self._base = base
        self._entries: dict[str, T] = {}

    def register(self, name: str, entry: T) -> T:
        """Enter `entry` under `name`; a name is taken once only.

        Raises
        ------
        ValueError
            If the name belongs to another entry.
        """
        if not isinstance(name, str) or not name:
            raise InvalidValueError(f"name of a new {self.kind}: expected a non-empty string, got {name!r}")
        if not isinstance(entry, self._base):
            raise InvalidTypeError(
                f"{self.kind} {name!r}: expected an instance of {self._module}.{self._base.__name__}, got {entry!r}"
            )
        if (own := getattr(entry, "name", name)) != name:
            raise InvalidValueError(f"{self.kind} {name!r}: expected an entry with that name, got name = {own!r}")
        old = self._entries.get(name)
        if old is not None and old != entry and not _made_again(type(old), type(entry)):
            raise InvalidValueError(f"{self.kind} {name!r} is registered already; choose another name")
        self._entries[name] = entry
        return entry

    def get(self, choice: str | T) -> T:
        """The entry called `choice`, or `choice` itself if it is one already.

        Raises
        ------
        ValueError
            If no entry has that name.
        TypeError
            If `choice` is neither a name nor an entry.
        """
        if isinstance(choice, str):
            if choice not in self._entries:
                raise InvalidValueError(
                    f"{self.kind}: expected one of {', '.join(self.names)}, got {choice!r}; "
                    f"register your own with {self._module}.register(name, ...)"
                )
            return self._entries[choice]
        if not isinstance(choice, self._base):
            raise InvalidTypeError(
                f"{self.kind}: expected a name ({', '.join(self.names)}) or an instance of "
                f"{self._module}.{self._base.__name__}, got {choice!r}"
            )
        return choice

    @property
    def names(self) -> tuple[str, ...]:
        """The registered names, in alphabetical order."""
        return tuple(sorted(self._entries))

    def to_config(self, entry: T) -> str | dict[str, Any]:
        """What JSON can hold of an entry: its name, with its settings if they differ from the registered ones.

        Raises
        ------
        ValueError
            If its kind is not registered, so that `from_config` could not make it.
        """
        name = getattr(entry, "name", "")
        known = self._entries.get(name)
        if entry == known:
            return str(name)
        if type(entry) is not type(known) or not is_dataclass(entry):
            raise InvalidValueError(
                f"{self.kind}: {entry!r} is not registered; call {self._module}.register({name!r}, ...) first"
            )
        return {"name": name} | {f.name: getattr(entry, f.name) for f in fields(entry)}

    def from_config(self, config: str | dict[str, Any]) -> T:
        """The entry that `to_config` described."""
        if isinstance(config, str):
            return self.get(config)
        settings = dict(config)
        return replace(self.get(settings.pop("name", "")), **settings)  # type: ignore[type-var]


def _made_again(old: type, new: type) -> bool:
    """Whether a class is another one defined anew, as when a notebook's cell is run again."""
    return old is not new and (old.__module__, old.__qualname__) == (new.__module__, new.__qualname__)


def named(entry: Any) -> str:
    """An entry's name, and its settings in brackets."""
    settings = [f"{f.name}={getattr(entry, f.name)!r}" for f in fields(entry)] if is_dataclass(entry) else []
    return f"{entry.name}({', '.join(settings)})" if settings else str(entry.name)
