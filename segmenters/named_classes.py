"""Classes by name: built-in ones are files of a folder, those of users are named by a reference.

Heads and losses are both found in this way. A registry imports no class before it is asked for: a
built-in class lies in the file of its name, and any other is ``package.module:Class``, so that
every process of a study finds it.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Generic, TypeVar

from encoder_ablations.utils.config import Config
from encoder_ablations.utils.custom_code.loading import load_custom
from encoder_ablations.utils.custom_code.names import is_reference
from encoder_ablations.utils.errors import InputError, unknown


@dataclass(frozen=True)
class NamedClass:
    """A registered class.

    Attributes:
        name: the name it was registered by.
        spec: its settings.
        registered: the class.
        folder: the package of the built-in ones.
    """

    name: str
    spec: type[Any]
    registered: type[Any]
    folder: str

    def required(self, methods: tuple[str, ...]) -> tuple[str, ...]:
        """Return which of its kind's methods the class must define itself: all of them.

        Args:
            methods: those of :class:`Kind`.
        """
        return methods

    @property
    def reference(self) -> str:
        """The name by which any other process finds this class."""
        found = self.registered
        if found.__module__ == f"{self.folder}.{self.name}":
            return self.name
        return f"{found.__module__}:{found.__qualname__}"


@dataclass(frozen=True)
class Kind:
    """What is registered, in the words of messages.

    Attributes:
        key: the key in YAMLs that names one: "segmenter".
        noun: one of them: "head".
        nouns: several of them: "heads".
        decorator: the function that registers one, "register_head".
        module: where that function lies.
        folder: the package of the built-in ones.
        base: returns the class that all are derived from; its ``spec_type`` is the class that
            their settings are derived from. It is called only when a class is registered, since it
            may import PyTorch.
        methods: what every class defines itself, see :meth:`NamedClass.required`.
    """

    key: str
    noun: str
    nouns: str
    decorator: str
    module: str
    folder: str
    base: Callable[[], type[Any]]
    methods: tuple[str, ...] = ()


Entry = TypeVar("Entry", bound=NamedClass)
Settings = TypeVar("Settings", bound=Config)


class Registry(Generic[Entry, Settings]):
    """The classes of one kind, by name.

    Attributes:
        entries: those that are imported, by the name they were registered by.
    """

    def __init__(self, kind: Kind, built_in: Mapping[str, type[Settings]]) -> None:
        """Know the built-in classes, without importing any.

        Args:
            kind: what is registered.
            built_in: the settings of each built-in class, by its name.
        """
        self.kind = kind
        self.built_in = built_in
        self.entries: dict[str, Entry] = {}

    def add(self, entry: Entry) -> None:
        """Register a class; one that was reloaded may be registered again.

        Raises:
            InputError: the name is taken, the class or its settings are of another kind, it lies
                within a function, or lacks a method.
        """
        known = self.entries.get(entry.name, entry).reference
        if entry.name in self.built_in:
            known = entry.name
        if known != entry.reference:
            raise InputError(
                f"two {self.kind.nouns} are called '{entry.name}': {known} and {entry.reference}. "
                "Rename one."
            )
        self._check(entry)
        self.entries[entry.name] = entry

    def get(self, name: str) -> Entry:
        """Return the class of a name, or of a reference ``package.module:Class``.

        Raises:
            InputError: there is no such class, or its module cannot be imported.
        """
        if name not in self.entries and name in self.built_in:
            import_module(f"{self.kind.folder}.{name}")
        if name in self.entries:
            return self.entries[name]
        if is_reference(name):
            return self._referenced(name)
        raise unknown(self.kind.key, name, self.names())

    def names(self) -> list[str]:
        """Return all names known here, without importing any class."""
        return sorted({*self.built_in, *self.entries})

    def settings(self, name: str) -> tuple[type[Settings], str]:
        """Return the settings of a class, and the name by which any process finds it.

        A built-in class is not imported.

        Raises:
            InputError: there is no such class, or its module cannot be imported.
        """
        if name in self.built_in:
            return self.built_in[name], name
        entry = self.get(name)
        return entry.spec, entry.reference

    def _referenced(self, reference: str) -> Entry:
        """Return a class that its module registers when it is imported."""
        found = load_custom(reference, self.kind.key)
        for entry in self.entries.values():
            if entry.registered is found:
                return entry
        kind = self.kind
        raise InputError(
            f"{kind.key} '{reference}': '{reference.partition(':')[2]}' is no registered "
            f"{kind.noun}. Write @{kind.decorator}(name, Spec) above the class ({kind.module})."
        )

    def _check(self, entry: Entry) -> None:
        """Check that any process can find a class, and that it is of the right kind."""
        where, noun, base = f"{self.kind.key} '{entry.reference}'", self.kind.noun, self.kind.base()
        if not (isinstance(entry.registered, type) and issubclass(entry.registered, base)):
            raise InputError(f"{where}: a {noun} is a class derived from {_path(base)}.")
        wanted: type[Any] = entry.registered.spec_type
        if not (isinstance(entry.spec, type) and issubclass(entry.spec, wanted)):
            raise InputError(f"{where}: its settings are a class derived from {_path(wanted)}.")
        if "<locals>" in entry.reference:
            raise InputError(
                f"{where} is defined within a function, where other processes cannot find it. "
                "Define it at the top of its module."
            )
        inherited = vars(base)
        missing = [
            each
            for each in entry.required(self.kind.methods)
            if inspect.getattr_static(entry.registered, each) is inherited[each]
        ]
        if missing:
            raise InputError(f"{where} does not define {', '.join(missing)}.")


def _path(found: type[Any]) -> str:
    """Return the dotted name of a class of this package: "segmenters.base.Head"."""
    return f"{found.__module__}.{found.__qualname__}".removeprefix("encoder_ablations.")
