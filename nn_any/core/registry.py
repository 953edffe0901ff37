"""Names for what users choose by name: activations, losses and initialisers, and the classes of layers."""

from dataclasses import fields, is_dataclass, replace
from typing import Any, Generic, TypeVar

from nn_any.core.errors import InvalidTypeError, InvalidValueError
from nn_any.core.options import closest

T = TypeVar("T")
C = TypeVar("C", bound=type)


class Named:
    """What a `Registry` holds. Two of them are equal if their classes and their settings are."""

    kind: str
    """What it is: ``"activation"``, ``"loss"`` or ``"initializer"``."""
    name: str = ""
    """The name under which it is registered."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), *sorted(vars(self).items())))

    def __repr__(self) -> str:
        settings = ", ".join(f"{field}={value!r}" for field, value in _settings(self).items())
        return f"<{self.kind} {self.name}({settings})>" if settings else f"<{self.kind} {self.name}>"


N = TypeVar("N", bound=Named)


class Table(Generic[T]):
    """Unique names and what they stand for; error messages name its kind, base class and module (``"losses"``)."""

    def __init__(self, kind: str, base: type, module: str) -> None:
        self.kind, self.base = kind, base
        self._module, self._base_name = f"nn_any.{module}", f"nn_any.{module}.{base.__name__}"
        self._entries: dict[str, T] = {}

    def names(self) -> tuple[str, ...]:
        """Return the registered names in alphabetical order."""
        return tuple(sorted(self._entries))

    def _enter(self, name: str, entry: T) -> None:
        old = self._entries.get(name, entry)
        if old != entry and not _defined_again(old, entry):
            raise InvalidValueError(f"{self.kind} {name!r} is registered already; choose another name")
        self._entries[name] = entry


class Registry(Table[N]):
    """A table of `Named` objects.

    Examples
    --------
    >>> from nn_any.core import activations
    >>> activations.get("sigmoid")
    <activation sigmoid>
    """

    def __init__(self, base: type[N], module: str, *entries: N) -> None:
        super().__init__(base.kind, base, module)
        for entry in entries:
            self.register(entry.name, entry)

    def register(self, name: str, entry: N) -> N:
        """Register `entry` under `name` and return it.

        Raises
        ------
        ValueError, TypeError
            If the name is empty, is not the entry's own, or belongs to another; if `entry` is of another kind.
        """
        if not isinstance(name, str) or not name:
            raise InvalidValueError(f"name of a new {self.kind}: expected a non-empty string, got {name!r}")
        if not isinstance(entry, self.base):
            raise InvalidTypeError(f"{self.kind} {name!r}: expected an instance of {self._base_name}, got {entry!r}")
        if entry.name != name:
            raise InvalidValueError(
                f"{self.kind} {name!r}: expected an entry with that name, got name = {entry.name!r}; use the same twice"
            )
        self._enter(name, entry)
        return entry

    def get(self, choice: str | N) -> N:
        """Return the entry called `choice`, or `choice` itself if it is an instance.

        Raises
        ------
        ValueError, TypeError
            If no entry has that name, or `choice` is neither a name nor an instance.
        """
        if isinstance(choice, str):
            if choice not in self._entries:
                raise InvalidValueError(
                    f"{self.kind}: expected one of {', '.join(self.names())}, got {choice!r}; register your own with "
                    f"{self._module}.register(name, ...){closest(choice, self.names())}"
                )
            return self._entries[choice]
        if not isinstance(choice, self.base):
            raise InvalidTypeError(
                f"{self.kind}: expected a name ({', '.join(self.names())}) or an instance of {self._base_name}, "
                f"got {choice!r}"
            )
        return choice

    def to_config(self, entry: N) -> str | dict[str, Any]:
        """Return what JSON can hold of an entry: its name, with its settings if they differ from the registered ones.

        Raises
        ------
        ValueError
            If `from_config` could not make it, since no entry of its class has its name.
        """
        known, settings = self._entries.get(entry.name), _settings(entry)
        if entry == known:
            return entry.name
        if type(entry) is not type(known) or not settings:
            free = entry.name and known is None
            advice, name = ("", repr(entry.name)) if free else ("give it a name of its own, and ", "name")
            raise InvalidValueError(
                f"{self.kind}: {entry!r} is not registered; {advice}call {self._module}.register({name}, ...) first"
            )
        return {"name": entry.name, **settings}

    def from_config(self, config: str | dict[str, Any]) -> N:
        """Return the entry that `to_config` described."""
        if isinstance(config, str):
            return self.get(config)
        settings = dict(config)
        return replace(self.get(settings.pop("name", "")), **settings)  # type: ignore[type-var]


class ClassRegistry(Table[type[T]]):
    """A table of frozen dataclasses, for configurations of their instances.

    `parts` maps the names of fields to the registries whose entries they hold.
    """

    def __init__(self, kind: str, base: type[T], module: str, parts: dict[str, Registry[Any]]) -> None:
        super().__init__(kind, base, module)
        self._parts = parts

    def register(self, new_class: C) -> C:
        """Let model files hold instances of this class, a frozen dataclass; usable as a decorator."""
        derived = isinstance(new_class, type) and issubclass(new_class, self.base)
        if not derived or "__dataclass_fields__" not in vars(new_class):
            raise InvalidTypeError(
                f"{self.kind}_class: expected a frozen dataclass derived from {self._base_name}, got {new_class!r}"
            )
        self._enter(new_class.__name__, new_class)
        return new_class

    def to_config(self, instance: T) -> dict[str, Any]:
        """Return what JSON can hold of an instance of a registered class: the class's name and the fields."""
        name = type(instance).__name__
        if self._entries.get(name) is not type(instance):
            raise InvalidValueError(
                f"{self.kind} {instance!r}: expected one of a registered class; "
                f"call {self._module}.register({name}) first"
            )
        return {"type": name, **{field: self._part(value) for field, value in _settings(instance).items()}}

    def from_config(self, config: dict[str, Any]) -> T:
        """Return the instance that `to_config` described; only registered classes are built."""
        settings = dict(config)
        name = settings.pop("type", None)
        if name not in self._entries:
            raise InvalidValueError(
                f"{self.kind}: expected one of {', '.join(self.names())}, got {name!r}; "
                f"if it is your own, call {self._module}.register first"
            )
        for field, registry in self._parts.items():
            if isinstance(settings.get(field), dict):
                settings[field] = registry.from_config(settings[field])
        return self._entries[name](**{field: _hashable(value) for field, value in settings.items()})

    def _part(self, value: Any) -> Any:
        """Return the configuration of a value that one of the registries knows, and any other value as it is."""
        registry = next((part for part in self._parts.values() if isinstance(value, part.base)), None)
        return value if registry is None else registry.to_config(value)


def _defined_again(old: Any, new: Any) -> bool:
    """Return whether a class was defined anew, as when a notebook's cell runs again."""
    before, now = (entry if isinstance(entry, type) else type(entry) for entry in (old, new))
    return before is not now and (before.__module__, before.__qualname__) == (now.__module__, now.__qualname__)


def _settings(entry: Any) -> dict[str, Any]:
    """Return the fields of a dataclass by name; of any other object none."""
    return {field.name: getattr(entry, field.name) for field in fields(entry)} if is_dataclass(entry) else {}


def _hashable(value: Any) -> Any:
    """Return JSON's lists as the tuples that they were."""
    return tuple(_hashable(entry) for entry in value) if isinstance(value, list) else value
