"""Chat templates: the Jinja texts by which a model's makers say how turns become one text, run so that none does harm.

A template comes with a model, so it is a program by a stranger. Jinja's own sandbox has been escaped more than once,
and knows no limit on time and memory: `'x' * 10**9` is computed while the template is still being compiled. So only
Jinja's parser is used here. Its tree is walked by hand: nothing becomes Python code, values have only the methods of
`template_values`, every step is counted, and sizes are known before memory is taken. That holds on every platform and
in every thread. What a template finds is what transformers gives it: its options, `raise_exception`, `strftime_now`,
`tojson`, `{% break %}`, `{% generation %}`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jinja2 import Environment, TemplateSyntaxError, Undefined, nodes
from jinja2 import TemplateError as JinjaError
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.runtime import LoopContext

from nextword.errors import DataError, TemplateError
from nextword.text.template_limits import Budget, Limits
from nextword.text.template_values import OPERATORS, Function, Namespace, Values, plain

__all__ = ["ChatTemplate", "Limits", "Rendering"]

DEFAULTS = Limits()
MOST_CALLS = 50  # macros within macros
ARITHMETIC: dict[type[nodes.Node], str] = {
    nodes.Add: "add",
    nodes.Sub: "sub",
    nodes.Mul: "mul",
    nodes.Div: "truediv",
    nodes.FloorDiv: "floordiv",
    nodes.Mod: "mod",
    nodes.Pow: "pow",
}
WRONG = (TypeError, ValueError, ArithmeticError, LookupError, JinjaError, RecursionError)
"""What a mistake in a template raises in Jinja, or in Python's own types."""


class _Generation(Extension):
    """`{% generation %}...{% endgeneration %}` around what the model itself writes: parsed as a Scope, which no other
    syntax gives."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


@dataclass(frozen=True)
class Rendering:
    """A conversation as one text."""

    text: str
    generated: tuple[tuple[int, int], ...]
    """(start, end) in characters of what stood between `{% generation %}` tags."""


class ChatTemplate:
    """A template, parsed. May be used by several threads at once.

    >>> template = ChatTemplate("{% for m in messages %}{{ m.role }}: {{ m.content }}\\n{% endfor %}")
    >>> template.render([{"role": "user", "content": "你好"}])
    'user: 你好\\n'
    """

    def __init__(self, source: str, limits: Limits = DEFAULTS) -> None:
        """Raises TemplateError if `source` is no template, too long, or refers to other files."""
        self.source, self.limits = source, limits
        if len(source) > limits.source:
            raise TemplateError(f"the chat template has {len(source):,} characters; at most {limits.source:,} are read")
        parser = Environment(trim_blocks=True, lstrip_blocks=True, extensions=[LoopControlExtension, _Generation])
        try:
            self._tree = parser.parse(source)
        except TemplateSyntaxError as error:
            raise _wrong(error.message or "wrong syntax", error.lineno) from None
        except WRONG as error:
            raise _wrong(_reason(error), None) from None
        unseen: list[nodes.Node] = [self._tree]
        while unseen:
            node = unseen.pop()
            if isinstance(node, nodes.Stmt) and not hasattr(_Walk, f"do_{type(node).__name__}"):
                raise _wrong(f"it uses {type(node).__name__.lower()}, but a template stands alone", node.lineno)
            unseen += node.iter_child_nodes()

    def __contains__(self, text: str) -> bool:
        return text in self.source

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tokens: Mapping[str, str] | None = None,
        now: datetime | None = None,
        **variables: Any,
    ) -> str:
        """The turns as one text; `tokens` are bos_token, eos_token and the like, as far as the tokenizer has them.

        `now` is what `strftime_now` tells, if not the clock. `variables` are others that the template knows, such as
        enable_thinking. Raises TemplateError if the template refuses the turns, goes wrong, or beyond its limits.
        """
        settings = {"add_generation_prompt": add_generation_prompt, "tools": tools, **(tokens or {}), **variables}
        return self.run(messages, settings, now).text

    def run(
        self, messages: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], now: datetime | None = None
    ) -> Rendering:
        """As `render`, with the places of what the model itself would write."""
        budget = Budget(self.limits)
        names = {"documents": None, "tools": None, **{name: plain(v, name) for name, v in settings.items()}}
        names["messages"] = [_turn(message, number) for number, message in enumerate(messages, start=1)]
        budget.weigh(names)
        walk = _Walk(Values(budget, now), names)
        try:
            walk.block(self._tree.body)
        except TemplateError as error:
            raise _wrong(error.message, walk.line) from None
        except WRONG as error:
            raise _wrong(_reason(error), walk.line) from None
        return Rendering("".join(walk.out), tuple(walk.generated))


def _turn(message: Any, number: int) -> dict[str, Any]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise DataError(
            f"turn {number} is {str(message)[:60]!r}",
            hint='Expected an object such as {"role": "user", "content": "Hi"}',
        )
    return plain(message, f"turn {number}")


def _reason(error: Exception) -> str:
    return "it nests too deeply" if isinstance(error, RecursionError) else str(error) or type(error).__name__


def _wrong(what: str, line: int | None) -> TemplateError:
    where = f"the chat template, line {line}" if line else "the chat template"
    return TemplateError(f"{where}: {' '.join(what.split())[:400]}")


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class _Walk:
    """One rendering: `do_X` runs the statement X of Jinja's tree, `get_X` evaluates the expression X."""

    def __init__(self, values: Values, names: Mapping[str, Any]) -> None:
        self.values, self.budget = values, values.budget
        self.scopes: list[dict[str, Any]] = [dict(values.globals), dict(names)]
        self.out: list[str] = []
        self.length = 0  # of `out`, in characters
        self.generated: list[tuple[int, int]] = []
        self.line = 0
        self.captures = self.calls = 0

    # -- statements ------------------------------------------------------------------------------------------------

    def block(self, statements: Sequence[nodes.Node]) -> None:
        """Run statements, one after the other."""
        for statement in statements:
            self.line = statement.lineno
            self.budget.step()
            getattr(self, f"do_{type(statement).__name__}")(statement)

    def write(self, text: str) -> None:
        """Text that comes out, or into what is being captured."""
        self.length += len(text)
        self.budget.room(len(text))
        if self.length > self.budget.limits.size:
            raise TemplateError(f"it writes more than {self.budget.limits.size:,} characters")
        self.out.append(text)

    @contextmanager
    def scope(self, **names: Any) -> Iterator[dict[str, Any]]:
        """Names that are forgotten at the end."""
        self.scopes.append(names)
        try:
            yield names
        finally:
            self.scopes.pop()

    def captured(self, statements: Sequence[nodes.Node]) -> str:
        """What statements write, not written."""
        outer = self.out, self.length
        self.out, self.length = [], 0
        self.captures += 1
        try:
            self.block(statements)
            return "".join(self.out)
        finally:
            self.captures -= 1
            self.out, self.length = outer

    def do_Output(self, node: nodes.Output) -> None:
        for part in node.nodes:
            self.write(part.data if isinstance(part, nodes.TemplateData) else self.values.text(self.get(part)))

    def do_If(self, node: nodes.If) -> None:
        for branch in (node, *node.elif_):
            if self.get(branch.test):
                return self.block(branch.body)
        self.block(node.else_)

    def do_For(self, node: nodes.For) -> None:
        if node.recursive:
            raise TemplateError("recursive loops are not read")
        items = self.budget.walk(self.get(node.iter))
        if node.test is not None:
            items = [item for item in items if self._passes(node, item)]
        for item, loop in LoopContext(items, Undefined, None):
            with self.scope(loop=loop):
                self.assign(node.target, item)
                try:
                    self.block(node.body)
                except _Continue:
                    continue
                except _Break:
                    break
        if not items:
            self.block(node.else_)

    def _passes(self, node: nodes.For, item: Any) -> bool:
        with self.scope():
            self.assign(node.target, item)
            return bool(self.get(node.test))

    def do_Break(self, node: nodes.Break) -> None:
        raise _Break

    def do_Continue(self, node: nodes.Continue) -> None:
        raise _Continue

    def do_Assign(self, node: nodes.Assign) -> None:
        self.assign(node.target, self.get(node.node))

    def do_AssignBlock(self, node: nodes.AssignBlock) -> None:
        with self.scope():
            text = self.captured(node.body)
        self.assign(node.target, text if node.filter is None else self._filtered(node.filter, text))

    def do_FilterBlock(self, node: nodes.FilterBlock) -> None:
        with self.scope():
            text = self.captured(node.body)
        self.write(self.values.text(self._filtered(node.filter, text)))

    def _filtered(self, node: nodes.Filter, text: str) -> Any:
        inner = text if node.node is None else self._filtered(node.node, text)  # type: ignore[arg-type]
        args, kwargs = self.arguments(node)
        return self.values.filter(node.name, inner, *args, **kwargs)

    def do_With(self, node: nodes.With) -> None:
        values = [self.get(value) for value in node.values]
        with self.scope():
            for target, value in zip(node.targets, values, strict=True):
                self.assign(target, value)
            self.block(node.body)

    def do_Scope(self, node: nodes.Scope) -> None:
        start = self.length
        with self.scope():
            self.block(node.body)
        if not self.captures:  # within a macro the place is not known yet
            self.generated.append((start, self.length))

    def do_Macro(self, node: nodes.Macro) -> None:
        self.scopes[-1][node.name] = self.macro(node)

    def do_CallBlock(self, node: nodes.CallBlock) -> None:
        args, kwargs = self.arguments(node.call)
        called = self.values.call(self.get(node.call.node), *args, caller=self.macro(node), **kwargs)
        self.write(self.values.text(called))

    def do_ExprStmt(self, node: nodes.ExprStmt) -> None:
        self.get(node.node)

    def macro(self, node: nodes.Macro | nodes.CallBlock) -> Function:
        """A macro as a function that returns its text; it sees the names of where it stands."""
        seen = self.scopes[:]

        def call(*args: Any, **kwargs: Any) -> str:
            names = [name.name for name in node.args]
            given = dict(zip(names, args, strict=False))
            later = {name: kwargs.pop(name) for name in names if name in kwargs}
            extra = {"varargs": list(args[len(names) :]), "kwargs": kwargs, "caller": kwargs.pop("caller", Undefined())}
            self.calls += 1
            if self.calls > MOST_CALLS:
                raise TemplateError(f"its macros call each other more than {MOST_CALLS} deep")
            outer, self.scopes = self.scopes, [*seen, extra | given | later]
            try:
                optional = names[len(names) - len(node.defaults) :]
                for name, default in zip(optional, node.defaults, strict=True):
                    if name not in self.scopes[-1]:
                        self.scopes[-1][name] = self.get(default)
                for name in names:
                    self.scopes[-1].setdefault(name, Undefined(name=name))
                return self.captured(node.body)
            finally:
                self.scopes = outer
                self.calls -= 1

        return Function(call)

    def assign(self, target: nodes.Node, value: Any) -> None:
        """Give a value its name or names."""
        if isinstance(target, nodes.Name):
            self.scopes[-1][target.name] = value
        elif isinstance(target, nodes.NSRef):
            namespace = self.name(target.name)
            if not isinstance(namespace, Namespace):
                raise TemplateError(f"{target.name} is no namespace, so {target.attr} cannot be set")
            namespace.set(target.attr, value)
        elif isinstance(target, nodes.Tuple):
            for part, item in zip(target.items, self.budget.walk(value), strict=True):
                self.assign(part, item)

    def name(self, name: str) -> Any:
        """The innermost value of that name."""
        return next((scope[name] for scope in reversed(self.scopes) if name in scope), Undefined(name=name))

    # -- expressions -----------------------------------------------------------------------------------------------

    def get(self, node: nodes.Node | None) -> Any:
        """The value of an expression; None for one that is left out."""
        if node is None:
            return None
        self.line = node.lineno
        self.budget.step()
        if isinstance(node, nodes.BinExpr) and type(node) in ARITHMETIC:
            return self.values.binary(ARITHMETIC[type(node)], self.get(node.left), self.get(node.right))
        return getattr(self, f"get_{type(node).__name__}")(node)

    def arguments(self, node: Any) -> tuple[list[Any], dict[str, Any]]:
        """Of a call, a filter or a test."""
        args = [self.get(arg) for arg in node.args]
        kwargs = {keyword.key: self.get(keyword.value) for keyword in node.kwargs}
        if node.dyn_args is not None:
            args += self.budget.walk(self.get(node.dyn_args))
        if node.dyn_kwargs is not None:
            kwargs |= self.get(node.dyn_kwargs)
        return args, kwargs

    def get_Const(self, node: nodes.Const) -> Any:
        return node.value

    def get_TemplateData(self, node: nodes.TemplateData) -> str:
        return node.data

    def get_Name(self, node: nodes.Name) -> Any:
        return self.name(node.name)

    def get_List(self, node: nodes.List) -> list[Any]:
        return self.budget.keep([self.get(item) for item in node.items])

    def get_Tuple(self, node: nodes.Tuple) -> tuple[Any, ...]:
        return self.budget.keep(tuple(self.get(item) for item in node.items))

    def get_Dict(self, node: nodes.Dict) -> dict[Any, Any]:
        return self.budget.keep({self.get(pair.key): self.get(pair.value) for pair in node.items})

    def get_Getattr(self, node: nodes.Getattr) -> Any:
        return self.values.attribute(self.get(node.node), node.attr)

    def get_Getitem(self, node: nodes.Getitem) -> Any:
        return self.values.item(self.get(node.node), self.get(node.arg))

    def get_Slice(self, node: nodes.Slice) -> slice:
        return slice(self.get(node.start), self.get(node.stop), self.get(node.step))

    def get_Call(self, node: nodes.Call) -> Any:
        function = self.get(node.node)
        args, kwargs = self.arguments(node)
        return self.values.call(function, *args, **kwargs)

    def get_Filter(self, node: nodes.Filter) -> Any:
        value = self.get(node.node)
        args, kwargs = self.arguments(node)
        return self.values.filter(node.name, value, *args, **kwargs)

    def get_Test(self, node: nodes.Test) -> bool:
        value = self.get(node.node)
        args, kwargs = self.arguments(node)
        return self.values.test(node.name, value, *args, **kwargs)

    def get_CondExpr(self, node: nodes.CondExpr) -> Any:
        if self.get(node.test):
            return self.get(node.expr1)
        return Undefined("the condition is false, and there is no else") if node.expr2 is None else self.get(node.expr2)

    def get_Compare(self, node: nodes.Compare) -> bool:
        left = self.get(node.expr)
        for operand in node.ops:
            right = self.get(operand.expr)
            if not OPERATORS[operand.op](left, right):
                return False
            left = right
        return True

    def get_And(self, node: nodes.And) -> Any:
        return self.get(node.left) and self.get(node.right)

    def get_Or(self, node: nodes.Or) -> Any:
        return self.get(node.left) or self.get(node.right)

    def get_Not(self, node: nodes.Not) -> bool:
        return not self.get(node.node)

    def get_Neg(self, node: nodes.Neg) -> Any:
        return -self.get(node.node)

    def get_Pos(self, node: nodes.Pos) -> Any:
        return +self.get(node.node)

    def get_Concat(self, node: nodes.Concat) -> str:
        return self.values.concat(self.get(part) for part in node.nodes)
