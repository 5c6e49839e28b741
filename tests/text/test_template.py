"""Templates give what Jinja gives, and no template does harm or runs for long."""

# Templates stand as they are.
# ruff: noqa: E501

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from datetime import datetime

import pytest
from chat_templates import CONVERSATIONS, GENERATION, TEMPLATES, TOOLS
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment

from nextword.errors import DataError, TemplateError
from nextword.text.template import ChatTemplate, Limits

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
HI = [{"role": "user", "content": "Hi"}]
TOOL_LIST = [
    {"name": "weather", "description": "of a 城市", "parameters": {"type": "object", "required": ["city"]}},
    {"name": "add", "description": "<b>numbers</b> & more"},
]
WITH_TOOLS = [
    {"role": "user", "content": "2+2?"},
    {
        "role": "assistant",
        "content": "<think>\nhm\n</think>\nlet me see",
        "tool_calls": [{"function": {"name": "add"}}],
    },
    {"role": "tool", "content": "4"},
    {"role": "assistant", "content": "四\nIt is 4."},
]


def theirs(template: str, messages: list[dict], **variables: object) -> str:
    """By transformers."""
    utils = pytest.importorskip("transformers.utils.chat_template_utils")
    variables = {"tools": None, "add_generation_prompt": False} | TOKENS | variables
    return utils.render_jinja_template(conversations=[messages], chat_template=template, **variables)[0][0]


@pytest.mark.parametrize("prompt", [True, False])
@pytest.mark.parametrize("name", TEMPLATES)
def test_known_templates_give_what_transformers_gives(name: str, prompt: bool) -> None:
    for messages in CONVERSATIONS:
        try:
            expected = theirs(TEMPLATES[name], messages, add_generation_prompt=prompt)
        except Exception as refusal:
            with pytest.raises(TemplateError, match=str(refusal)):
                ChatTemplate(TEMPLATES[name]).render(messages, tokens=TOKENS)
        else:
            found = ChatTemplate(TEMPLATES[name]).render(messages, add_generation_prompt=prompt, tokens=TOKENS)
            assert found == expected


@pytest.mark.parametrize("messages", [WITH_TOOLS, *CONVERSATIONS, []])
@pytest.mark.parametrize("tools", [TOOL_LIST, None])
def test_a_template_that_uses_much_of_the_language(messages: list[dict], tools: list[dict] | None) -> None:
    expected = theirs(TOOLS, messages, tools=tools, add_generation_prompt=True)
    found = ChatTemplate(TOOLS).render(messages, tools=tools, tokens=TOKENS, add_generation_prompt=True)
    assert found == expected


def test_generation_tags_tell_where_the_model_writes() -> None:
    rendering = ChatTemplate(GENERATION).run(CONVERSATIONS[2], TOKENS)
    assert [rendering.text[slice(*span)] for span in rendering.generated] == ["two\n\nlines </a>", "six</a>"]


# -- the same as Jinja, whatever the expression ---------------------------------------------------------------------

CONTEXT = {"xs": [3, 1, 2], "names": ["b", "A", "中"], "m": {"role": "user", "content": " 你 好 <b> "}, "n": 7}
LEAVES = [
    "'a'",
    "'中 文'",
    "0",
    "2",
    "2.5",
    "true",
    "none",
    "xs",
    "names",
    "m",
    "m.content",
    "n",
    "missing",
    "[]",
    "''",
]
FILTERS = [
    *("trim", "upper", "lower", "length", "first", "last", "list", "string", "int", "float", "abs", "tojson"),
    *("default('d')", "default('d', true)", "join('-')", "reverse|list", "sort", "unique|list", "capitalize"),
    *("title", "sum", "min", "max", "round", "replace('a', 'bc')", "indent(2)", "items|list", "dictsort"),
    *("map('string')|list", "select('odd')|list", "reject|list", "map(attribute='role')|list", "center(9)"),
    *("tojson(indent=1)", "count"),
]
SUFFIXES = [".strip()", ".split()", ".upper()", ".get('role')", "[0]", "[-1]", "[1:]", "['role']", ".role", ".nothing"]
TESTS = ["defined", "none", "string", "mapping", "iterable", "sequence", "number", "odd", "in [1, 2]", "sameas none"]


def combine(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds(
            "({} {} {})".format, parts, st.sampled_from([*"+-*/%~<", "//", "==", "!=", "in", "and", "or"]), parts
        ),
        st.builds("({}|{})".format, parts, st.sampled_from(FILTERS)),
        st.builds("{}{}".format, parts, st.sampled_from(SUFFIXES)),
        st.builds("({} is {})".format, parts, st.sampled_from(TESTS)),
        st.builds("({} if {} else {})".format, parts, parts, parts),
        st.builds("(not {})".format, parts),
    )


def jinja(template: str) -> str | None:
    from transformers.utils.chat_template_utils import _compile_jinja_template as compiled

    try:
        return compiled(template).render(**CONTEXT)
    except Exception:
        return None


def ours(template: str) -> str | None:
    try:
        return ChatTemplate(template).run([], CONTEXT).text
    except TemplateError:
        return None


@settings(max_examples=200)
@example("m|last")
@given(st.recursive(st.sampled_from(LEAVES), combine, max_leaves=5))
def test_any_expression_is_what_jinja_makes_of_it(expression: str) -> None:
    pytest.importorskip("transformers")
    expected = jinja("{{ " + expression + " }}")
    assert expected is None or " object at 0x" in expected or ours("{{ " + expression + " }}") == expected


@pytest.mark.parametrize(
    "template",
    [
        "{% set x = 1 %}{% for i in xs %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}",
        "{% if true %}{% set x = 1 %}{% endif %}{{ x }}",
        "{% for i in xs if i > 1 %}{{ loop.index }}/{{ loop.length }}{{ loop.previtem }}{% else %}none{% endfor %}",
        "{% for i in [] %}{% else %}none{% endfor %}",
        "{% for k, v in m.items() %}{{ k }}={{ v }};{% endfor %}{% for k in m %}{{ k }}{% endfor %}",
        "{% for i in xs %}{% if i == 1 %}{% continue %}{% endif %}{{ loop.cycle('a', 'b') }}{{ loop.changed(i) }}{% endfor %}",
        "{% for i in xs %}{% for j in xs %}{% if j == 1 %}{% break %}{% endif %}{{ i }}{{ j }}{% endfor %}{% endfor %}",
        "{% macro f(a, b='x', *c) %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{{ n }}{% endmacro %}{{ f(1) }}{{ f(1, 2, 3, d=4) }}",
        "{% macro f(a, b=a) %}{{ a }}{{ b }}{{ caller(a) }}{% endmacro %}{% call(v) f(2) %}<{{ v }}>{% endcall %}",
        "{% set t %}  {{ n }} {% endset %}[{{ t }}]{% set t | trim | upper %} a {% endset %}[{{ t }}]",
        "{% with a = 1, b = n %}{{ a + b }}{% endwith %}{{ a }}{% filter upper %}{% set q = 1 %}a{{ q }}{% endfilter %}{{ q }}",
        "{% set a, b = [1, 2] %}{{ a ~ b }}{% set ns = namespace(a=1, **{'b': 2}) %}{% set ns.a = 5 %}{{ ns.a + ns.b }}",
        "  {%- if n == 7 -%}  seven  {%- elif n %} other {% endif %}\n   {% if false %}\n{% endif %}\n {# note #}\nend\n",
        "{% raw %}{{ raw }}{% endraw %}{{ dict(a=1)['a'] }}{{ {'x': [1, (2, 3)]} }}{{ range(5)[1:3] | list }}{{ range(2, 8, 3) | list }}",
        "{{ missing.a }}", "{{ missing() }}", "{{ n() }}", "{% set missing.a = 1 %}", "{% for x in n %}{% endfor %}",
        "{{ xs.append(4) }}", "{{ m.update({}) }}", "{{ m['nothing'] }}|{{ xs | nothing }}",
        "{{ 'a' if false }}", "{{ [1, 2] | join(n) }}", "{{ xs | map('nothing') | list }}",
        "{{ 1 < 2 < 3 > 2 }}{{ 2 not in xs }}{{ -n ** 2 }}{{ 'ab' 'c' }}{{ 'x' is eq 'x' }}{{ 1_000 }}{{ 2 is divisibleby 2 }}",
        "{{ names | sort(reverse=true, case_sensitive=true) }}{{ names | max }}{{ [m, m] | sum(attribute='n', start=1) }}",
        "{{ [{'a': 2}, {'a': 1}] | sort(attribute='a') | map(attribute='a') | join }}{{ [m] | rejectattr('x') | list | length }}",
        "{{ 'a-b'.split('-', 1) }}{{ ','.join(names) }}{{ 'xay'.replace('a', 'b') }}{{ 'a{}'.format(n) }}{{ 'ß'.upper().title() }}",
    ],
)  # fmt: skip
def test_statements_are_what_jinja_makes_of_them(template: str) -> None:
    pytest.importorskip("transformers")
    assert ours(template) == jinja(template)


# -- no harm --------------------------------------------------------------------------------------------------------

HOSTILE = {  # the first four: shared/cases/hostile_cases.json, from CVE-2024-34359, vllm#50300, llama.cpp#24140
    "{{ ''.__class__.__mro__[1].__subclasses__() }}": "no template may see",
    "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}": "steps|seconds",
    "{% for i in range(1000000000) %}{% endfor %}": "range",
    "{% include '/etc/passwd' %}": "stands alone",
    "{% import 'os' as os %}": "stands alone",
    "{% extends 'x' %}": "stands alone",
    "{{ self.__init__.__globals__ }}": "undefined|no template may see",
    "{{ messages|attr('__class__') }}": "no filter",
    "{{ messages | map(attribute='__class__') | list }}": "no template may see",
    "{{ namespace(__class__=1) }}": "takes no name",
    "{{ '{0.__class__}'.format(messages) }}": "does not read",
    "{{ '{0[role]}'.format(messages[0]) }}": "does not read",
    "{{ raise_exception.__globals__ }}": "no template may see",
    "{{ cycler.__init__ }}": "undefined",
    "{{ 'x' * 10**9 }}": "characters",
    "{{ [1] * 10**9 }}": "characters",
    "{{ 10**9 * 'x' }}": "characters",
    "{{ 'x'.center(10**9) }}": "characters",
    "{{ 'x'|center(10**9) }}": "characters",
    "{{ 'x'.zfill(10**9) }}": "characters",
    "{{ 'x'|indent(10**9, true) }}": "characters",
    "{{ [1]|tojson(indent=10**9) }}": "16 characters",
    "{{ '%1000000000d' % 1 }}": "999",
    "{{ '%*d' % (1000000000, 1) }}": "999",
    "{{ '%((a)b)1000000000d' % {'(a)b': 1} }}": "nested names",
    "{{ '%.1000000000f' | format(1.5) }}": "999",
    "{{ '{:1000000000}'.format(1) }}": "999",
    "{{ '{:{}}'.format(1, 1000000000) }}": "999",
    "{{ 9 ** 9 ** 9 ** 9 ** 9 }}": "bits",
    "{{ 1.5 | round(10**9, 'ceil') }}": "digits",
    "{{ strftime_now('%999999999Y') }}": "does not read",
    "{% set n = namespace(x='abcdefgh') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}": "characters",
    "{% set n = namespace(x='abcdefgh') %}{% for i in range(60) %}{% set n.x = n.x.replace('', n.x) %}{% endfor %}": "char",
    "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}": "characters|deep",
    "{% set n = namespace(x=[1]) %}{% for i in range(9999) %}{% set n.x = [n.x] %}{% endfor %}": "deep",
    "{% set n = namespace() %}{% set n.x = 7 %}{% for i in range(60) %}{% set n.x = n.x * n.x %}{% endfor %}": "bits",
    "{% for i in range(90000) %}{{ 'x' * 1000000 }}{% endfor %}": "characters",
    "{% set x %}{% for i in range(90000) %}" + "x" * 9999 + "{% endfor %}{% endset %}": "characters",
    "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}": "macros",
    "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(40) }}": "steps|seconds",
    "{{ " + "(" * 20000 + "1" + ")" * 20000 + " }}": "deep",
    "{{ a" + ".b" * 20000 + " }}": "deep|undefined",
    "{% if true %}" * 3000 + "{% endif %}" * 3000: "deep",
    "{{ messages | unknown }}": "no filter 'unknown'",
    "{{ messages is unknown }}": "no test 'unknown'",
    "{% unknown %}": "unknown tag",
    "{% for": "line 1",
    "line\n{{ 1 / 0 }}": "line 2: division by zero",
    "x" * 200_000: "200,000 characters",
    "{{ messages }}{{ raise_exception('a\nb') }}": "refuses this conversation: a b",
}  # fmt: skip


@pytest.mark.parametrize("template", HOSTILE, ids=lambda template: template[:50])
def test_a_hostile_template_ends_in_one_line(template: str) -> None:
    began = time.thread_time()
    with pytest.raises(TemplateError, match=HOSTILE[template]) as caught:
        ChatTemplate(template).render(HI)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert time.thread_time() - began < 5


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel for a limit on memory")
def test_little_memory_is_enough_to_refuse_them_all() -> None:
    script = (
        "import json, resource, sys\n"
        "from nextword.errors import TemplateError\n"
        "from nextword.text.template import ChatTemplate\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n"
        "for template in json.load(sys.stdin):\n"
        "    try: ChatTemplate(template).render([{'role': 'user', 'content': 'Hi'}]); sys.exit(template)\n"
        "    except TemplateError: pass\n"
    )
    hungry = [template for template in HOSTILE if "**" in template or "99999" in template or "(60)" in template]
    done = subprocess.run([sys.executable, "-c", script], input=json.dumps(hungry), text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_the_clock_stops_what_the_steps_do_not() -> None:
    slow = "{% for i in range(100000) %}{% set x = 'ab' * 500000 %}{{ 'b' * 9 in x }}{% endfor %}"
    with pytest.raises(TemplateError, match=r"0\.2 seconds"):
        ChatTemplate(slow, Limits(seconds=0.2, total=2**50)).render(HI)


def test_limits_hold_in_a_thread() -> None:
    caught = []

    def work() -> None:
        try:
            ChatTemplate("{% for i in range(100000) %}" * 3 + "{% endfor %}" * 3).render(HI)
        except TemplateError as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(5)
    assert len(caught) == 1


def test_a_long_conversation_is_well_within_the_limits() -> None:
    messages = [{"role": role, "content": "字" * 400} for _ in range(1000) for role in ("user", "assistant")]
    assert len(ChatTemplate(TEMPLATES["smollm2"]).render(messages)) > 800_000


@settings(max_examples=150)
@given(st.text(st.sampled_from("{}%#'\"|.()[]~*=-+ \n12aforinsetdfx_"), max_size=60))
def test_no_text_is_a_template_that_ends_otherwise(text: str) -> None:
    rendered: object = ""
    with contextlib.suppress(TemplateError):
        rendered = ChatTemplate(text).render(HI)
    assert isinstance(rendered, str)


@pytest.mark.parametrize(
    "messages", [["Hi"], [{"content": "Hi"}], [{"role": 1}], [{"role": "user", "content": object()}]]
)
def test_turns_that_are_none(messages: list) -> None:
    with pytest.raises(DataError, match="turn 1"):
        ChatTemplate(TEMPLATES["chatml"]).render(messages)


def test_what_the_caller_gave_is_left_as_it_was() -> None:
    messages = [{"role": "user", "content": "Hi", "extra": {"a": [1]}}]
    ChatTemplate("{% for m in messages %}{% set m = 1 %}{{ m }}{% endfor %}").render(messages)
    assert messages == [{"role": "user", "content": "Hi", "extra": {"a": [1]}}]


def test_the_clock_can_be_set() -> None:
    template = ChatTemplate("{{ strftime_now('%Y-%m-%d') }}")
    assert template.render([], now=datetime(2024, 2, 29)) == "2024-02-29"


def test_the_reference_itself_is_sandboxed() -> None:
    """A reminder why the hand-made walk: the sandbox computes this while it compiles."""
    assert len(ImmutableSandboxedEnvironment().from_string("{{ 'x' * 10**6 }}").render()) == 10**6
