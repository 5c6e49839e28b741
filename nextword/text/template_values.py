"""What a chat template may do with values: the methods, filters, tests and globals it finds, each within a budget.

Everything a template sees is a JSON value or one of the few kinds below, and whatever it makes is measured before the
memory for it is taken. What is not in a table here does not exist for it. Knows nothing of syntax.
"""

from __future__ import annotations

import json
import operator
import re
import string
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from jinja2 import Undefined, filters, tests
from jinja2.runtime import LoopContext

from nextword.errors import DataError, TemplateError
from nextword.text.template_limits import ITEM, Budget

ESCAPED = 10  # characters of "\U0001f600", the longest that Python prints in place of one
LONGEST_RANGE = 100_000  # as in Jinja's sandbox

STRING = frozenset(
    [
        *("capitalize", "casefold", "center", "count", "endswith", "find", "format", "index", "isalnum", "isalpha"),
        *("isascii", "isdecimal", "isdigit", "islower", "isnumeric", "isspace", "istitle", "isupper", "join", "ljust"),
        *("lower", "lstrip", "partition", "removeprefix", "removesuffix", "replace", "rfind", "rindex", "rjust"),
        *("rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "swapcase", "title"),
        *("upper", "zfill"),
    ]
)
METHODS: dict[type, frozenset[str]] = {
    str: STRING,
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
}
LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"  # of str.splitlines
LOOP = frozenset(
    ("index", "index0", "revindex", "revindex0", "first", "last", "length", "previtem", "nextitem", "depth", "depth0")
)
LOOP_CALLS = frozenset({"cycle", "changed"})
TESTS: dict[str, Any] = {name: test for name, test in tests.TESTS.items() if name not in ("filter", "test", "escaped")}
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    **{name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    "lteq": operator.le,
    "gteq": operator.ge,
    "in": lambda a, b: a in b,
    "notin": lambda a, b: a not in b,
}


class Function:
    """All that a template can call: its own macros, and what the tables here hold."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(*args, **kwargs)


class Namespace:
    """`namespace(...)`: the only thing a template can change."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.names: dict[str, Any] = {}
        for name, value in dict(*args, **kwargs).items():
            self.set(name, value)

    def set(self, name: Any, value: Any) -> None:
        """Keep a value under a name. Raises TemplateError for one that begins with "_"."""
        if not isinstance(name, str) or name.startswith("_"):
            raise TemplateError(f"a namespace takes no name {str(name)[:40]!r}")
        self.names[name] = value


class Values:
    """Attributes, items, calls, filters and operators, within a budget."""

    def __init__(self, budget: Budget, now: datetime | None = None) -> None:
        self.budget, self.now = budget, now
        self.globals: dict[str, Any] = {
            "range": Function(self._range),
            "dict": Function(lambda *args, **kwargs: budget.keep(dict(*args, **kwargs))),
            "namespace": Function(Namespace),
            "raise_exception": Function(_refuse),
            "strftime_now": Function(self._strftime_now),
        }
        self.filters: dict[str, Callable[..., Any]] = {
            "abs": abs,
            "capitalize": lambda s: self.text(s).capitalize(),
            "center": lambda s, width=80: self.method(self.text(s), "center", width),
            "count": len,
            "d": filters.do_default,
            "default": filters.do_default,
            "dictsort": self._dictsort,
            "e": self._escape,
            "escape": self._escape,
            "first": lambda v: next(iter(v), Undefined("there is no first item")),
            "float": filters.do_float,
            "format": lambda s, *args, **kwargs: self.binary("mod", self.text(s), kwargs or args),
            "indent": self._indent,
            "int": filters.do_int,
            "items": self._items,
            "join": self._join,
            "last": lambda v: next(reversed(v)) if len(v) else Undefined("there is no last item"),
            "length": len,
            "list": budget.walk,
            "lower": lambda s: self.text(s).lower(),
            "map": self._map,
            "max": partial(self._extreme, max),
            "min": partial(self._extreme, min),
            "reject": partial(self._select, False),
            "rejectattr": partial(self._selectattr, False),
            "replace": lambda s, old, new, count=None: self.method(
                self.text(s), "replace", self.text(old), self.text(new), -1 if count is None else count
            ),
            "reverse": lambda v: v[::-1] if isinstance(v, str) else budget.walk(v)[::-1],
            "round": self._round,
            "safe": self.text,  # a mark against HTML's escapes, which nothing here adds
            "select": partial(self._select, True),
            "selectattr": partial(self._selectattr, True),
            "sort": self._sort,
            "string": self.text,
            "sum": self._sum,
            "title": lambda s: filters.do_title(self.text(s)),
            "tojson": self._tojson,
            "trim": lambda s, chars=None: self.text(s).strip(chars),
            "unique": self._unique,
            "upper": lambda s: self.text(s).upper(),
        }

    # -- reading ---------------------------------------------------------------------------------------------------

    def attribute(self, value: Any, name: str) -> Any:
        """`value.name`: a method or a loop's figure from the tables, else the item of a dict."""
        if isinstance(value, Undefined):
            value._fail_with_undefined_error()
        if isinstance(value, Namespace) and name in value.names:
            return value.names[name]
        if isinstance(value, LoopContext):
            if name in LOOP_CALLS:
                return Function(getattr(value, name))
            return getattr(value, name) if name in LOOP else Undefined(obj=value, name=name)
        if name in METHODS.get(type(value), ()):
            return Function(partial(self.method, value, name))
        if isinstance(value, dict) and name in value:
            return value[name]
        if name.startswith("_"):
            raise TemplateError(f"it asks for {name[:40]!r}, which no template may see")
        return Undefined(obj=value, name=name)

    def item(self, value: Any, key: Any) -> Any:
        """`value[key]`, a slice too; then as `attribute`."""
        if isinstance(value, Undefined):
            value._fail_with_undefined_error()
        if isinstance(value, str | list | tuple | dict):
            try:
                found = value[key]
            except (TypeError, LookupError):
                pass
            else:
                if isinstance(key, slice):  # no heavier than the whole
                    self.budget.room(len(found) * (1 if isinstance(found, str) else ITEM))
                return found
        return self.attribute(value, key) if isinstance(key, str) else Undefined(obj=value, name=key)

    def dotted(self, value: Any, path: str | int) -> Any:
        """What `attribute="a.b.0"` of a filter means."""
        for part in str(path).split("."):
            value = self.item(value, int(part) if part.isdigit() else part)
        return value

    def call(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a Function. Raises TypeError for anything else."""
        if isinstance(function, Undefined):
            function._fail_with_undefined_error()
        if not isinstance(function, Function):
            raise TypeError(f"a {type(function).__name__} cannot be called")
        return function(*args, **kwargs)

    def text(self, value: Any) -> str:
        """A value as it is printed."""
        if isinstance(value, str):
            return value
        if isinstance(value, list | tuple | dict):
            self.budget.room(ESCAPED * self.budget.weigh(value))
        elif value is not None and not isinstance(value, int | float | Undefined):
            raise TypeError(f"a {type(value).__name__} cannot be printed")
        return str(value)

    # -- making ----------------------------------------------------------------------------------------------------

    def concat(self, parts: Iterable[Any]) -> str:
        """`a ~ b ~ c`"""
        texts = [self.text(part) for part in parts]
        self.budget.room(sum(map(len, texts)))
        return "".join(texts)

    def binary(self, name: str, a: Any, b: Any) -> Any:
        """`a + b` and its like, by the names of the module `operator`; the size is known before it is made."""
        sequence = next((v for v in (a, b) if isinstance(v, str | list | tuple)), None)
        if name == "add" and sequence is not None and type(a) is type(b):
            self.budget.room(len(a) + len(b))
        elif name == "mul" and sequence is not None:
            times = b if sequence is a else a
            each = len(sequence) if isinstance(sequence, str) else self.budget.weigh(sequence)
            self.budget.room(each * max(times, 0) if isinstance(times, int) else 0)
        elif name == "mod" and isinstance(a, str):
            if re.search(r"%\([^)]*\(|%(\([^)]*\))?[-+ #0]*(\*|\d{4}|\d*\.(\*|\d{4}))", a):
                raise TemplateError("it formats with nested names, or a width of more than 999")
            self.budget.room(len(a) + a.count("%") * (1000 + ESCAPED * self.budget.weigh(b)))
            return a % b
        elif isinstance(a, int) and isinstance(b, int):
            size = {"pow": a.bit_length() * max(b, 1), "mul": a.bit_length() + b.bit_length()}
            self.budget.small(size.get(name, 0))
        return self.budget.keep(getattr(operator, name)(a, b))

    def method(self, value: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        """A method of a string, list or dict, its result measured before it is made."""
        room = self.budget.room
        if name in ("items", "keys", "values"):
            return self.budget.walk(getattr(value, name)())
        if not isinstance(value, str):
            return getattr(value, name)(*args, **kwargs)
        match name:
            case "format":
                return _Formatter(self).vformat(value, args, kwargs)
            case "center" | "ljust" | "rjust" | "zfill":
                room(max(args[0], len(value)))
            case "join":
                args = (self.budget.walk(*args),)
                room(sum(len(part) + len(value) for part in args[0]))
            case "replace":
                most = args[2] if len(args) > 2 else kwargs.get("count", -1)
                found = value.count(args[0])
                room(len(value) + len(args[1]) * (found if most < 0 else min(found, most)))
            case "split" | "rsplit":
                separator = args[0] if args else kwargs.get("sep")
                places = (len(value) + 1) // 2 if separator is None else value.count(separator) + 1
                room(len(value) + ITEM * places)
            case "splitlines":
                room(len(value) + ITEM * (1 + sum(map(value.count, LINE_ENDS))))
            case _:
                room(len(value))
        return getattr(value, name)(*args, **kwargs)

    def filter(self, name: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        """`value | name(...)`. Raises TemplateError if there is no such filter."""
        if name not in self.filters:
            raise TemplateError(f"there is no filter {name[:40]!r}; there are {', '.join(sorted(self.filters))}")
        if isinstance(value, str):
            self.budget.room(len(value))
        return self.filters[name](value, *args, **kwargs)

    def test(self, name: str, value: Any, *args: Any, **kwargs: Any) -> bool:
        """`value is name(...)`. Raises TemplateError if there is no such test."""
        if name not in TESTS:
            raise TemplateError(f"there is no test {name[:40]!r}; there are {', '.join(sorted(TESTS))}")
        return bool(TESTS[name](value, *args, **kwargs))

    # -- filters and globals that need more than a line ------------------------------------------------------------

    def _range(self, *args: int) -> list[int]:
        if len(range(*args)) > LONGEST_RANGE:
            raise TemplateError(f"a range of more than {LONGEST_RANGE:,}")
        return self.budget.walk(range(*args))

    def _strftime_now(self, format: str) -> str:
        if len(format) > 200 or re.search(r"%(?![-#]?[A-Za-z%])", format):
            raise TemplateError(f"strftime_now does not read {format[:40]!r}")
        return (self.now or datetime.now()).strftime(format)

    def _escape(self, value: Any) -> str:
        text = self.text(value)
        self.budget.room(5 * len(text))
        for character, name in (("&", "amp"), ("<", "lt"), (">", "gt"), ("'", "#39"), ('"', "#34")):
            text = text.replace(character, f"&{name};")
        return text

    def _items(self, value: Any) -> list[Any]:
        if isinstance(value, Undefined):
            return []
        if not isinstance(value, dict):
            raise TypeError("items: expected a mapping")
        return self.budget.walk(value.items())

    def _indent(self, value: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
        text = self.text(value)
        step = width if isinstance(width, int) else len(width)
        self.budget.room(len(text) + (text.count("\n") + 2) * max(step, 1))
        return filters.do_indent(text, width, first, blank)

    def _join(self, value: Any, d: str = "", attribute: str | int | None = None) -> str:
        parts = [self.text(item) for item in self._picked(value, attribute)]
        return self.method(self.text(d), "join", parts)

    def _map(self, value: Any, *args: Any, **kwargs: Any) -> list[Any]:
        if not args and "attribute" in kwargs:
            unknown = kwargs.get("default", Undefined())
            found = [self.dotted(item, kwargs["attribute"]) for item in self.budget.walk(value or ())]
            return self.budget.keep([unknown if isinstance(item, Undefined) else item for item in found])
        name, *rest = args
        return self.budget.keep([self.filter(name, item, *rest, **kwargs) for item in self.budget.walk(value or ())])

    def _select(self, wanted: bool, value: Any, name: str = "", *args: Any) -> list[Any]:
        judge = partial(self.test, name) if name else bool
        return [item for item in self.budget.walk(value or ()) if judge(item, *args) == wanted]

    def _selectattr(self, wanted: bool, value: Any, path: str, name: str = "", *args: Any) -> list[Any]:
        judge = partial(self.test, name) if name else bool
        return [item for item in self.budget.walk(value or ()) if judge(self.dotted(item, path), *args) == wanted]

    def _picked(self, value: Any, attribute: str | int | None) -> list[Any]:
        items = self.budget.walk(value)
        return items if attribute is None else [self.dotted(item, attribute) for item in items]

    def _key(self, case_sensitive: bool, attribute: str | int | None) -> Callable[[Any], Any]:
        def key(item: Any) -> Any:
            self.budget.step()
            found = item if attribute is None else self.dotted(item, attribute)
            return found.lower() if isinstance(found, str) and not case_sensitive else found

        return key

    def _sort(
        self, value: Any, reverse: bool = False, case_sensitive: bool = False, attribute: str | int | None = None
    ) -> list[Any]:
        return sorted(self.budget.walk(value), key=self._key(case_sensitive, attribute), reverse=reverse)

    def _dictsort(self, value: Any, case_sensitive: bool = False, by: str = "key", reverse: bool = False) -> list[Any]:
        key = self._key(case_sensitive, {"key": 0, "value": 1}[by])
        return sorted(self._items(value), key=key, reverse=reverse)

    def _extreme(
        self, best: Callable[..., Any], value: Any, case_sensitive: bool = False, attribute: str | int | None = None
    ) -> Any:
        items = self.budget.walk(value)
        return best(items, key=self._key(case_sensitive, attribute)) if items else Undefined("of nothing")

    def _unique(self, value: Any, case_sensitive: bool = False, attribute: str | int | None = None) -> list[Any]:
        key, found = self._key(case_sensitive, attribute), dict[Any, Any]()
        for item in self.budget.walk(value):
            found.setdefault(key(item), item)
        return list(found.values())

    def _sum(self, value: Any, attribute: str | int | None = None, start: Any = 0) -> Any:
        for item in self._picked(value, attribute):
            start = self.binary("add", start, item)
        return start

    def _round(self, value: float, precision: int = 0, method: Any = "common") -> float:
        if abs(precision) > 100:
            raise TemplateError(f"round to {precision:.3g} digits")
        return filters.do_round(value, precision, method)

    def _tojson(
        self,
        value: Any,
        ensure_ascii: bool = False,
        indent: int | str | None = None,
        separators: Any = None,
        sort_keys: bool = False,
    ) -> str:
        """As transformers has it: nothing is escaped for HTML."""
        extras = [indent if isinstance(indent, str) else " " * min(indent or 0, 99), *(separators or ())]
        if any(len(extra) > 16 for extra in extras):
            raise TemplateError("tojson with an indentation or separators of more than 16 characters")
        pieces, size = [], 0
        encoder = json.JSONEncoder(
            ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys, default=_no_json
        )
        for piece in encoder.iterencode(value):
            size += len(piece)
            if size > self.budget.limits.size:
                break
            pieces.append(piece)
        self.budget.room(size)
        return "".join(pieces)


class _Formatter(string.Formatter):
    """str.format over plain names: no attributes, no items, no width above 999."""

    def __init__(self, values: Values) -> None:
        self.values = values

    def vformat(self, format_string: str, args: Any, kwargs: Any) -> str:
        """The formatted string, if there is room for it."""
        fields = format_string.count("{")
        self.values.budget.room(
            len(format_string) + fields * (1000 + ESCAPED * self.values.budget.weigh([*args, kwargs]))
        )
        return super().vformat(format_string, args, kwargs)

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        """A field by its number or name alone."""
        if not re.fullmatch(r"\w+", field_name):
            raise TemplateError(f"str.format does not read the field {field_name[:40]!r}")
        return self.get_value(int(field_name) if field_name.isdigit() else field_name, args, kwargs), field_name

    def convert_field(self, value: Any, conversion: str | None) -> Any:
        """Values that are no text or number are printed first."""
        value = value if isinstance(value, int | float) else self.values.text(value)
        return super().convert_field(value, conversion)

    def format_field(self, value: Any, format_spec: str) -> Any:
        """As str.format, if the width is a small one."""
        if re.search(r"\d{4}", format_spec):
            raise TemplateError("it formats with a width of more than 999")
        return super().format_field(value, format_spec)


def plain(value: Any, where: str) -> Any:
    """A copy of a JSON value, with nothing in it that has methods of its own. Raises DataError for anything else."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, Mapping):
        return {plain(key, where): plain(item, where) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, where) for item in value]
    raise DataError(f"{where} holds a {type(value).__name__}, which is no JSON value")


def _refuse(message: Any = "") -> None:
    raise TemplateError(f"it refuses this conversation: {str(message)[:200]}")


def _no_json(value: Any) -> None:
    raise TypeError(f"tojson: a {type(value).__name__} is no JSON value")
