"""Which column of a file gives which field.

A field's columns are those named with --map; where none is named, the first of its usual names that the file
has. Names match without regard to case, spaces, hyphens and underscores: `movieId` is `movie_id`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from recwire_server.importing import UsageError

ATTRIBUTE_PREFIX = "attributes."
MAX_LAYOUTS = 1000  # rows of JSONL with other keys each must not fill the memory


@dataclass(frozen=True)
class FieldNames:
    """The fields of an item or an event, each with the names that its column usually has, the likeliest
    first.

    several: fields that every matching column adds to. attributes: whether --map also takes
    `attributes.NAME`.
    """

    usual: Mapping[str, Sequence[str]]
    several: Collection[str] = ()
    attributes: bool = False


@dataclass(frozen=True)
class Layout:
    """A row's columns: `fields` has the fields that the row has, with their columns; `rest` the others."""

    fields: Mapping[str, tuple[str, ...]]
    rest: tuple[str, ...]

    def column(self, field: str) -> str | None:
        """Return the field's column; None if the row has none."""
        return self.fields.get(field, (None,))[0]


class ColumnMap:
    """Finds each row's layout.

    mapped: the --map options as given, TARGET=COLUMN. named: columns that other options name. Raises
    UsageError for a target that is not there.
    """

    def __init__(self, names: FieldNames, mapped: Iterable[str] = (), named: Iterable[str] = ()) -> None:
        self._names = names
        self._mapped = _parse_map(names, mapped)
        self._unseen = {column for columns in self._mapped.values() for column in columns} | set(named)
        self._layouts: dict[tuple[str, ...], Layout] = {}

    @property
    def unseen(self) -> list[str]:
        """The columns that were named in options and that no row had so far."""
        return sorted(self._unseen)

    def layout(self, columns: Iterable[str]) -> Layout:
        """Return the layout of a row with these columns."""
        key = tuple(columns)
        found = self._layouts.get(key)
        if found is None:
            if len(self._layouts) >= MAX_LAYOUTS:
                self._layouts.clear()
            found = self._layouts[key] = self._find(key)
            self._unseen.difference_update(key)
        return found

    def check(self, columns: Sequence[str], needed: Sequence[Sequence[str]]) -> None:
        """Raise UsageError unless a table with this header has what is needed.

        That is every column named in options and, of each group of `needed` fields, at least one.
        """
        layout = self.layout(columns)
        listed = ", ".join(column for column in columns if column)
        if self._unseen:
            missing = ", ".join(repr(column) for column in self.unseen)
            raise UsageError(f"no column {missing} in the header; its columns are: {listed}")
        for group in needed:
            if not any(field in layout.fields for field in group):
                raise UsageError(
                    f"no column for {' or '.join(group)} in the header; its columns are: {listed}"
                    f" (say which with --map {group[0]}=COLUMN)"
                )

    def _find(self, columns: tuple[str, ...]) -> Layout:
        fields = {
            field: present
            for field, named in self._mapped.items()
            if (present := tuple(column for column in named if column in columns))
        }
        used = {column for present in self._mapped.values() for column in present}
        by_name = {_plain(column): column for column in reversed(columns) if column not in used}
        for field, usual in self._names.usual.items():
            found = [by_name[plain] for name in usual if (plain := _plain(name)) in by_name]
            if field not in self._mapped and found:
                fields[field] = tuple(found if field in self._names.several else found[:1])
        used.update(column for present in fields.values() for column in present)
        return Layout(fields, tuple(column for column in columns if column and column not in used))


def _parse_map(names: FieldNames, options: Iterable[str]) -> dict[str, tuple[str, ...]]:
    mapped: dict[str, tuple[str, ...]] = {}
    for option in options:
        target, equals, column = option.partition("=")
        is_attribute = names.attributes and len(target) > len(ATTRIBUTE_PREFIX) and target.startswith(ATTRIBUTE_PREFIX)
        if not equals or not column or (target not in names.usual and not is_attribute):
            known = [*names.usual, *([f"{ATTRIBUTE_PREFIX}NAME"] if names.attributes else [])]
            raise UsageError(f"cannot use --map {option}: write TARGET=COLUMN, TARGET one of: {', '.join(known)}")
        if target in mapped and target not in names.several:
            raise UsageError(f"--map {target}=... is given twice; {target} has one column")
        mapped[target] = (*mapped.get(target, ()), column)
    return mapped


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())
