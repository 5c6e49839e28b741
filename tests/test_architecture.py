"""The map in ARCHITECTURE.md, enforced: who may import whom, and what may not occur anywhere."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "nextword"
SOURCES = sorted(PACKAGE.rglob("*.py"))


def read_floors(text: str) -> dict[str, int]:
    """Room -> floor, from the tree in ARCHITECTURE.md, where a number stands before the first room of its floor."""
    tree = text.split("nextword/\n", 1)[1].split("tests/", 1)[0]
    floors, floor = {}, 0
    for line in tree.splitlines():
        match = re.match(r" (\d| ) (\w+)(?:/|\.py) ", line)
        if match and match[2] != "__init__":
            floor = int(match[1]) if match[1] != " " else floor
            floors[match[2]] = floor
    return floors


FLOOR = read_floors((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))
FOUNDATION = ("errors", "config", "files", "strict_json")  # what every room stands on, those of floor 0 too

# Importer -> what it never imports, beyond what the floors forbid.
NEVER = {
    "nextword.models": ("nextword.text", "nextword.corpora", "nextword.tokenizers"),
    "nextword.decoding": (
        "nextword.models.blocks",
        "nextword.models.recurrent",
        "nextword.models.transformer",
        "nextword.tokenizers",
    ),
    "nextword.training": ("nextword.decoding",),
    "nextword.text": ("torch",),
    "nextword.corpora": ("torch",),
    "nextword.tokenizers": ("torch",),
    "nextword.decoding.config": ("torch",),
    "nextword.training.config": ("torch",),
    "nextword.metrics": ("torch",),
    "nextword.verse": ("torch",),
    "nextword.tasks": ("torch",),
    **{f"nextword.training.doctor.{name}": ("torch",) for name in ("findings", "corpus", "plan", "vitals", "after")},
}
EVERYWHERE_NEVER = (
    *("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"),
    *("runpy", "code", "codeop", "imp", "yaml", "torch.hub", "torch.package"),
    *("torch.load", "torch.save", "torch.jit.load", "jinja2.Environment", "jinja2.Template"),
)
"""What can run what a file says."""
PARSED = ("nextword.text.template", "jinja2.Environment")
"""The one exception: there Jinja parses templates by strangers, and makes no Python of them."""
UNSAFE_CALLS = ("eval", "exec", "compile", "__import__", "os.system", "os.popen", "builtins.eval", "builtins.exec")
UNSAFE_ENDS = (
    *("torch.load", "torch.save", "torch.jit.load", "hub.load", "yaml.load", "yaml.unsafe_load", "pickle.loads"),
    *("jinja2.Environment", "jinja2.Template", ".exec_module", ".create_subprocess_shell"),
    *(".from_string", ".get_template", ".compile_expression", ".compile_templates"),
)


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str, module: str, is_package: bool = False) -> Iterator[tuple[int, str]]:
    """(line, what is imported), `if TYPE_CHECKING:` and imports inside functions included.

    `from nextword.a import b` counts as nextword.a.b: b may be a module, and a prefix test covers the other case.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = module.split(".")[: len(module.split(".")) - node.level + is_package]
                base = ".".join([*up, *([base] if base else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def room(name: str) -> str:
    """The room of a dotted name: nextword.training.logs is in training."""
    return [*name.split("."), ""][1]


def breaches(source: str, module: str, is_package: bool = False) -> list[str]:
    """What in `source` goes against the map; one line each."""
    found = []
    for line, name in imports(source, module, is_package):
        where = f"{module}:{line} imports {name}"
        if any(within(name, banned) for banned in EVERYWHERE_NEVER) and (module, name) != PARSED:
            found.append(where)
        for importer, banned_names in NEVER.items():
            if within(module, importer) and any(within(name, banned) for banned in banned_names):
                found.append(f"{where}, which {importer} never does")
        if not within(name, "nextword") or module == "nextword":
            continue
        here, there = room(module), room(name)
        if there == "__version__" or (here == "cli" and there == ""):
            continue  # the command line may use the public names
        if here not in FLOOR or there not in FLOOR:
            found.append(f"{where}: not a room of ARCHITECTURE.md")
        elif here in FOUNDATION and there in FOUNDATION:
            if there not in ("errors", here):
                found.append(f"{where}: of the foundation, all may import errors, and no more")
        elif here != there and there not in FOUNDATION and FLOOR[here] <= FLOOR[there]:
            found.append(f"{where}: from floor {FLOOR[here]} to floor {FLOOR[there]}")
    return found


def unsafe(source: str) -> list[str]:
    """Calls that can run what a file says, as lines."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name in UNSAFE_CALLS or name.endswith(UNSAFE_ENDS):
            found.append(f"line {node.lineno}: {name}")
        for keyword in node.keywords:
            value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
            safe = {"shell": False, "allow_pickle": False, "trust_remote_code": False, "weights_only": True}
            if keyword.arg in safe and value is not safe[keyword.arg]:  # a variable is not safe either
                found.append(f"line {node.lineno}: {name}({keyword.arg}={ast.unparse(keyword.value)})")
    return found


def test_the_map_is_read() -> None:
    assert FLOOR["errors"] == FLOOR["text"] == 0
    assert FLOOR["cli"] > FLOOR["report"] > FLOOR["training"] > FLOOR["loss"] > FLOOR["models"] > 0


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("nextword.models.base", "from nextword.loss import next_token_loss"),
        ("nextword.models.base", "import nextword.text.records"),
        ("nextword.models.base", "from nextword import tokenizers"),
        ("nextword.models.base", "from ..data import batches"),
        ("nextword.tokenizers.char", "def f():\n    import torch"),
        ("nextword.tokenizers.char", "if TYPE_CHECKING:\n    from torch import Tensor"),
        ("nextword.decoding.sampling", "from nextword.models.recurrent import Recurrent"),
        ("nextword.training.trainer", "from nextword.decoding.config import GenerationConfig"),
        ("nextword.training.config", "import torch"),
        ("nextword.scoring", "from nextword.generator import TextGenerator"),
        ("nextword.scoring", "import nextword"),
        ("nextword.files", "from nextword.text import records"),
        ("nextword.errors", "from nextword.files import sha256"),
        ("nextword.loss", "import pickle"),
        ("nextword.loss", "from torch import load"),
        ("nextword.interop.foreign", "def f():\n    from jinja2 import Environment"),
        ("nextword.cli.train", "from nextword.nowhere import x"),
    ],
)
def test_a_breach_is_seen(module: str, source: str) -> None:
    assert breaches(source, module)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("nextword.text.records", "from nextword.errors import DataError\nfrom . import clean"),
        ("nextword.models.base", "import torch\nfrom nextword.config import Config"),
        ("nextword.training.trainer", "from nextword.loss import x\nfrom nextword.training.logs import y"),
        ("nextword.cli.train", "from nextword.report.curves import write_report"),
    ],
)
def test_what_the_map_allows_is_allowed(module: str, source: str) -> None:
    assert not breaches(source, module)


@pytest.mark.parametrize(
    "call",
    [
        *("eval(x)", "exec(x)", "compile(x, 'f', 'exec')", "torch.load(p)", "torch.load(p, weights_only=True)"),
        *("run(x, shell=True)", "run(x, shell=on)", "np.load(p, allow_pickle=True)", "jinja2.Environment()"),
        *("load(p, trust_remote_code=given)", "torch.hub.load(p)", "spec.loader.exec_module(m)"),
    ],
)
def test_an_unsafe_call_is_seen(call: str) -> None:
    assert unsafe(call)


@pytest.mark.parametrize(
    "call",
    [
        *("model.eval()", "run(x, shell=False)", "safetensors.torch.load_file(p)", "re.compile(p)", "torch.compile(m)"),
        *("jinja2.sandbox.ImmutableSandboxedEnvironment()", "load(p, trust_remote_code=False)"),
    ],
)
def test_a_harmless_call_is_not(call: str) -> None:
    assert not unsafe(call)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: module_of(path))
def test_every_module_keeps_to_its_floor(path: Path) -> None:
    assert breaches(path.read_text(encoding="utf-8"), module_of(path), path.name == "__init__.py") == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: module_of(path))
def test_nothing_runs_what_a_file_says(path: Path) -> None:
    assert unsafe(path.read_text(encoding="utf-8")) == []


def test_only_the_command_line_prints() -> None:
    printing = [
        f"{module_of(path)}:{node.lineno}"
        for path in SOURCES
        if room(module_of(path)) != "cli"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.stdout.write")
    ]
    assert printing == []


def undocumented(tree: ast.Module) -> Iterator[str]:
    """Public functions and classes, and public methods of classes that inherit no docstring, without one."""
    documented = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in tree.body:
        if not isinstance(node, documented) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield f"{node.name} (line {node.lineno})"
        if isinstance(node, ast.ClassDef) and not node.bases:
            for method in node.body:
                if isinstance(method, documented) and method.name[0] != "_" and not ast.get_docstring(method):
                    yield f"{node.name}.{method.name} (line {method.lineno})"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: module_of(path))
def test_what_is_public_is_documented(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not tree.body or ast.get_docstring(tree) or path.name == "__init__.py", "the file needs an opening paragraph"
    assert list(undocumented(tree)) == []


def test_what_must_start_fast_loads_no_torch() -> None:
    rooms = ("errors", "config", "files", "text", "corpora", "metrics", "verse", "tokenizers", "cli")
    alone = (
        "nextword",
        "nextword.decoding.config",
        "nextword.training.config",
        "nextword.training.logs",
        "nextword.training.doctor.corpus",
        "nextword.training.doctor.plan",
        "nextword.training.doctor.after",
        "nextword.report.curves",
    )
    names = [m for m in map(module_of, SOURCES) if room(m) in rooms or m in alone]
    script = (
        "import importlib, sys\n"
        f"for name in {names}:\n"
        "    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules: sys.exit(f'{name} loads torch')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_no_name_of_the_place_where_it_was_made() -> None:
    folders = [PACKAGE, ROOT / "docs", ROOT / "recipes", ROOT / "scripts"]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    files += [path for path in ROOT.iterdir() if path.suffix in (".md", ".toml")]
    names = [b"/wo" + b"rk/", b".lib" + b"rary", b"../sha" + b"red"]
    found = [(str(path), name) for path in files for name in names if name in path.read_bytes()]
    assert found == []
