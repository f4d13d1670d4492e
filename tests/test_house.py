"""The rules that ARCHITECTURE.md states, each held by a test."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import get_args

import pytest

import alexnet
from alexnet import cli, recipe, schema, values
from alexnet.models import zoo

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "alexnet"

# From the ground up; rooms on one floor are strangers to each other.
FLOORS = (
    {"errors", "values", "intervals", "limits", "renaming"},
    {"published", "plain", "sections"},
    {"schema", "built_in"},
    {"recipe"},
    {"models", "data"},
    {"run"},
    {"evaluation", "prediction", "exploration", "exchange"},
    {"training"},
    {"studies"},
    {"reporting", "serving", "benchmark"},
)
TOP = {
    "alexnet",
    "answering",
    "cli",
    "calling",
    "benching",
    "looking",
    "studying",
    "recording",
    "options",
    "__main__",
    "terminal",
}
WITHOUT_TORCH = {
    *(
        "errors",
        "values",
        "built_in",
        "intervals",
        "limits",
        "plain",
        "published",
        "renaming",
        "sections",
        "schema",
        "recipe",
        "reporting.cards",
        "reporting.listing",
        "reporting.recipe_card",
        "reporting.speed",
        "reporting.results_page",
        "reporting.keeping",
        "reporting.verdict",
        "reporting.words",
        "reporting.published",
        "calling",
        "data.catalogue",
        "run.log",
        "run.launch",
    ),
    *("models.rows", "models.table", "models.zoo", "models.split", "models.transfer"),
    *("models.paper", "models.modern", "models.cuda_convnet", "models.small"),
    *("models.skip", "models.wiring", "models.epilogues", "models.kernel_machine"),
    *("studies.plan", "studies.cells", "studies.running", "reporting.study"),
    "exchange.torchvision",
}
DATA_WITH_TORCH = {
    *("data.augment", "data.colour", "data.preprocess", "data.loader"),
    "data.whole_levels",
}


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package by its dotted name, ``alexnet`` itself as ``alexnet``."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__").replace("__init__", "alexnet")
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(tree: ast.Module) -> Iterator[str]:
    """Every imported module in full; a name imported from ``alexnet`` may be a module itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            assert node.module
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            known = {f"alexnet.{name}" for name in modules()}
            yield from (name if name in known else node.module for name in inside)


def own_imports(name: str) -> set[str]:
    """What a module imports of the package: ``models.table``, or ``alexnet`` for the top."""
    found = {i for i in imports(modules()[name]) if i.partition(".")[0] == "alexnet"}
    return {i.removeprefix("alexnet.") for i in found}


def floor_of(name: str) -> int:
    room = name.partition(".")[0]
    if room in TOP:
        return len(FLOORS)
    return next(n for n, rooms in enumerate(FLOORS) if room in rooms)


# --- floors ----------------------------------------------------------------------------------


def test_imports_point_strictly_down():
    wrong = [
        f"{name} imports {other}"
        for name in modules()
        for other in own_imports(name)
        if name.partition(".")[0] != other.partition(".")[0]
        and floor_of(other) >= floor_of(name)
        and not {name, other} <= TOP
    ]
    assert wrong == []


def test_every_module_has_a_floor():
    known = TOP.union(*FLOORS)
    assert {name.partition(".")[0] for name in modules()} <= known


@pytest.mark.parametrize("unpacked", ["recipe", "schema", "sections"])
def test_floors_1_to_3_take_plain_arguments(unpacked):
    low = [name for name in modules() if 4 <= floor_of(name) <= 6]
    assert len(low) > 15
    assert [name for name in low if unpacked in own_imports(name)] == []


def test_where_torch_may_not_be_imported():
    dry = WITHOUT_TORCH | {n for n in modules() if n.startswith("data")} - DATA_WITH_TORCH
    taken = {name: [i for i in imports(modules()[name]) if i.startswith("torch")] for name in dry}
    assert {name: found for name, found in taken.items() if found} == {}


def test_one_module_reads_where_a_process_stands():
    """RANK and its like: ``run.launch``; everything else is told."""
    texts = {
        path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8")
        for path in PACKAGE.rglob("*.py")
    }
    readers = {p for p, text in texts.items() if re.search(r'"(LOCAL_)?RANK"|"WORLD_SIZE"', text)}
    assert readers == {"run/launch.py"}


# --- what answers at once --------------------------------------------------------------------

QUICK = [
    ["--help"],
    ["--version"],
    ["train", "--help"],
    ["list", "models"],
    ["list", "recipes"],
    ["list", "datasets"],
    ["list", "weights"],
    ["show", "keras-lab", "--sums"],
    ["show", "alexnet-2012", "--drawing"],
    ["show", "alexnet-cifar", "--json"],
    ["show", "cifar10-quick"],
    ["show", "cifar10-quick", "--drawing"],
    ["show", "tf-sgd"],
    ["study"],
    ["study", "--help"],
    ["study", "paper-ablations", "--dry-run"],
    ["show", "RUN"],
]
HEAVY = ("torch", "matplotlib", "PIL", "rich", "sklearn")
CHECKS_RECIPES = ("study",)


@pytest.fixture(scope="module")
def unfinished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "a"
    folder.mkdir()
    (folder / "recipe.toml").write_text(recipe.to_toml(recipe.load("cifar10-quick")))
    (folder / "metrics.jsonl").write_text(json.dumps({"epoch": 1, "step": 98, "val_loss": 1.5}))
    return folder


@pytest.mark.parametrize("arguments", QUICK, ids=" ".join)
def test_answers_at_once_without_torch(arguments, unfinished_run):
    without = HEAVY if {*arguments} & {*CHECKS_RECIPES} else (*HEAVY, "numpy", "pydantic")
    arguments = [str(unfinished_run) if a == "RUN" else a for a in arguments]
    code = (
        "import sys\n"
        "from alexnet.cli import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        f"    print(*[m for m in {without} if m in sys.modules], file=sys.stderr)\n"
    )
    before = processor_seconds()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, encoding="utf-8"
    )
    seconds = processor_seconds() - before
    assert done.returncode == 0, done.stderr
    assert done.stderr.split() == [], "imported for nothing"
    assert done.stdout
    print(f"alexnet {' '.join(arguments)}: {seconds:.2f} s of a processor")
    assert seconds < 1.5


def processor_seconds() -> float:
    """Seconds that processes started from here have computed: a busy machine adds none of them."""
    spent = os.times()
    return spent.children_user + spent.children_system


# --- complete lists --------------------------------------------------------------------------


def test_every_network_is_in_the_table_of_counts():
    tree = ast.parse((ROOT / "tests/models/test_zoo.py").read_text(encoding="utf-8"))
    tables = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == ["EXPECTED"]
    ]
    assert len(tables) == 1
    assert tables[0].keys() == zoo.NETWORKS.keys()


def test_the_public_names_are_sorted_and_complete():
    tree = modules()["alexnet"]
    defined = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
    assert alexnet.__all__ == sorted(alexnet.__all__)
    assert set(alexnet.__all__) == {n for n in defined if not n.startswith("_")} | {
        "AlexNetError",
        "__version__",
    }
    assert all(hasattr(alexnet, name) for name in alexnet.__all__)


# What a reader of the recipe wants to know and nothing computes with: `show` prints it.
FOR_THE_READER = {
    "source",
}


def test_every_recipe_key_is_read():
    read = set(chain.from_iterable(map(keys_read, modules().values())))
    every = {key: tuple(key.split(".")[-2:]) for key in recipe.keys()}  # noqa: SIM118
    assert {key for key, path in every.items() if path not in read} == FOR_THE_READER


def keys_read(tree: ast.Module) -> Iterator[tuple[str, ...]]:
    """Every ``(section, key)`` that a module reads; a key of the recipe itself is ``(key,)``.

    A name is known to hold a section by its annotation, or by what it was assigned from. A fault is
    read out of plain values too: ``fault["effect"]``.
    """
    for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)):
        holds = {a.arg: section_named(a.annotation) for a in ast.walk(function.args) if arg(a)}
        for node in ast.walk(function):
            for target, value in bindings(node):
                holds[target] = holds.get(target) or section_of(value, holds)
        for node in ast.walk(function):
            if isinstance(node, ast.Attribute) and (section := section_of(node.value, holds)):
                parent = PARENTS[section]
                yield (parent, node.attr) if parent else (node.attr,)
            if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "fault":
                yield ("fault", ast.unparse(node.slice).strip("'"))


def arg(node: ast.AST) -> bool:
    return isinstance(node, ast.arg)


def bindings(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.For) and isinstance(node.target, ast.Name):
        yield node.target.id, node.iter
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target, value = node.targets[0], node.value
        both_tuples = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
        pairs = zip(target.elts, value.elts, strict=True) if both_tuples else [(target, value)]
        yield from ((t.id, v) for t, v in pairs if isinstance(t, ast.Name))


def section_of(value: ast.expr, holds: dict[str, type | None]) -> type | None:
    """The section that an expression gives, or None."""
    if isinstance(value, ast.Name):
        return holds.get(value.id)
    if isinstance(value, ast.Attribute):
        if value.attr == "recipe":  # stage.recipe, result.recipe
            return schema.Recipe
        owner = section_of(value.value, holds)
        field = owner.model_fields.get(value.attr) if owner else None
        return section_in(field.annotation) if field else None
    if isinstance(value, ast.Call):
        given = dict.fromkeys(("load", "override", "parse"), schema.Recipe)
        given["compared"] = section_in(schema.Recipe.model_fields["published"].annotation)
        return given.get(ast.unparse(value.func).removeprefix("recipes."))
    if isinstance(value, ast.IfExp):
        return section_of(value.body, holds) or section_of(value.orelse, holds)
    return None


def section_in(annotation: object) -> type | None:
    for inner in (annotation, *get_args(annotation)):
        if isinstance(inner, type) and issubclass(inner, values.Section):
            return inner
    return None


def section_named(annotation: ast.expr | None) -> type | None:
    return {s.__name__: s for s in PARENTS}.get(ast.unparse(annotation)) if annotation else None


def parents(section: type = schema.Recipe, name: str = "") -> dict[type, str]:
    """Every section's class with the key under which it stands."""
    found = {section: name}
    for key, field in section.model_fields.items():
        if inner := section_in(field.annotation):
            found |= parents(inner, key)
    return found


PARENTS = parents()

# --- what is never done ----------------------------------------------------------------------

UNSAFE_MODULES = {
    "pickle",
    "_pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
}
UNSAFE_CALLS = {
    "eval",
    "exec",
    "torch.load",
    "torch.save",
    "torch.hub.load",
    "torch.jit.load",
    "numpy.lib.format.read_array",
    "pd.read_pickle",
}


def test_nothing_is_unpickled_or_evaluated():
    wrong = []
    for name, tree in modules().items():
        wrong += [f"{name}: {i}" for i in imports(tree) if i.partition(".")[0] in UNSAFE_MODULES]
        for node in (n for n in ast.walk(tree) if isinstance(n, ast.Call)):
            called = ast.unparse(node.func)
            pickled = any(k.arg == "allow_pickle" and not is_false(k.value) for k in node.keywords)
            # torch's own allow-list; exchange/files.py checks the sizes before.
            tensors_only = called == "torch.load" and any(
                k.arg == "weights_only" and is_true(k.value) for k in node.keywords
            )
            if (called in UNSAFE_CALLS and not tensors_only) or pickled:
                wrong.append(f"{name}: {called}")
    assert wrong == []


def is_true(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is True


def is_false(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is False


def test_no_module_is_a_drawer_for_odds_and_ends():
    rooms = {part for name in modules() for part in name.split(".")}
    assert not rooms & {"utils", "util", "helpers", "misc", "common"}


# --- sizes -----------------------------------------------------------------------------------


def test_files_are_short():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in PACKAGE.rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 300
    }
    assert long == {}


def test_functions_are_short():
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    every = [n for tree in modules().values() for n in ast.walk(tree) if isinstance(n, kinds)]
    lengths = sorted((n.end_lineno or n.lineno) - n.lineno + 1 for n in every)
    median, ninetieth = statistics.median(lengths), lengths[int(0.9 * len(lengths))]
    print(f"{len(lengths)} functions, median {median} lines, 90th percentile {ninetieth}")
    assert median <= 12
    assert ninetieth < 40


# --- what no file may hold -------------------------------------------------------------------


def files() -> list[Path]:
    """The files of the project that git knows or would add; outside git, the tree itself."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
    )
    if listed.returncode:
        return [p for part in ("src", "tests") for p in (ROOT / part).rglob("*.py")]
    return [path for line in listed.stdout.splitlines() if (path := ROOT / line).is_file()]


# Written in two halves, so that this file does not hold them itself.
FORBIDDEN = [
    "/wo" + "rk/",
    "/tmp" + "/w/",
    "/ho" + "me/[a-z]",
    "/Us" + "ers/",
    "/ro" + "ot/",
    r"registry\.npm" + r"js\.org",
    "py" + r"pi\.org",
    "files\\.python" + "hosted",
    r"npm" + r"mirror",
    "artif" + "actory",
    r"https?://(10|172|192)" + r"\.\d+",
]


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_no_machine_path_and_no_registry_host_in_any_file(pattern):
    found = []
    for path in files():
        text = path.read_bytes().decode("utf-8", errors="replace")
        found += [f"{path.relative_to(ROOT)}: {m[0]}" for m in re.finditer(pattern, text)]
    assert found == []


# --- the documents ---------------------------------------------------------------------------

TINY = [
    *("--set", "data.name=shapes", "--set", "data.train=train[:100]"),
    *("--set", "data.validation=train[100:150]", "--set", "data.test=test[:50]"),
    *("--set", "model.network=alexnet-cifar", "--set", "input.size=32"),
    *("--set", "train.batch=50", "--set", "train.epochs=1", "--set", "train.precision=float32"),
]


def commands(document: str) -> list[list[str]]:
    """The commands of a document: what follows ``alexnet`` in its console, sh and bash blocks."""
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:console|sh|bash|shell)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    starts = re.compile(r"(?:[\w./]*bin/|python -m )?alexnet(?= |$)")
    return [
        shlex.split(line, comments=True)[3 if line.startswith("python") else 1 :]
        for line in lines
        if starts.match(line)
    ]


def test_the_readme_has_commands():
    verbs = {arguments[0] for arguments in commands("README.md") if arguments}
    assert {"train", "eval", "predict", "show"} <= verbs


def test_the_lab_is_the_same_in_both_languages():
    here, there = (
        [c for c in commands(f"docs/lab{of}.md") if c[0] != "report"] for of in ("", ".ko")
    )
    assert len(here) > 12
    assert here == there


@pytest.mark.slow
@pytest.mark.timeout(500)
@pytest.mark.usefixtures("denormals")
@pytest.mark.parametrize("document", ["README.md", "docs/lab.md"])
def test_the_commands_of_a_document_run(tmp_path, monkeypatch, capsys, document):
    """In order, each as it is written; a data set that is not shapes becomes a little of shapes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALEXNET_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("COLUMNS", raising=False)
    for arguments in commands(document):
        monkeypatch.setattr(sys, "argv", ["alexnet", *light(arguments)])
        try:
            cli.main()
            status: object = 0
        except SystemExit as end:
            status = end.code
        said = capsys.readouterr()
        assert status in (0, None), f"alexnet {shlex.join(arguments)}\n{said.err}"


def light(arguments: list[str]) -> list[str]:
    """The same command at a size that a test can afford, on what the test has."""
    arguments = [a.replace("cifar10/", "shapes/") for a in arguments]
    verb, *rest = arguments or [""]
    if verb == "train":
        rest = ["cifar10-quick" if a in recipe.names() else a for a in rest]
        for own in (Path(a) for a in rest if a.endswith(".toml")):
            own.write_text(recipe.to_toml(recipe.load("cifar10-quick")), encoding="utf-8")
        if rest[0].endswith("/"):  # a folder of photographs of the reader's own
            photographs(Path(rest[0]))
            small = ("train.batch=4", "train.epochs=1", "train.precision=float32")
            return [verb, *rest, *(a for key in small for a in ("--set", key)), "--device", "cpu"]
        rest = ["shapes" if a.endswith("/") else a for a in rest]  # a recipe's photographs
        tiny = TINY[2:] if "shapes" in rest else TINY
        return [verb, *drop(rest, "--data", "--source"), *tiny, "--device", "cpu"]
    if verb == "bench" and rest and rest[0] not in ("step", *filter(is_option, rest)):
        return [verb, rest[0], "--help"]  # tests/test_benchmark_suites.py runs them
    if verb == "bench":
        return [verb, *rest, "--network", "alexnet-cifar", "--batch", "2", "--rounds", "1"]
    if verb == "data" and rest[0].endswith("/"):
        photographs(Path(rest[0]))
        return arguments
    if verb in ("data", "show") and "cifar10" in rest:
        return [
            verb,
            *drop(["shapes" if a == "cifar10" else a for a in rest], "--source", "--data"),
        ]
    if verb == "eval" and not any("/" in a for a in rest[1:]):
        return [verb, *rest, "shapes/test[:50]"]
    if verb == "predict":
        for own in (Path(a) for a in rest if a.endswith("/")):
            photographs(own)
        return [verb, *[a if not is_picture(a) or Path(a).exists() else picture(a) for a in rest]]
    return arguments


def is_option(argument: str) -> bool:
    return argument.startswith("-")


def drop(arguments: list[str], *options: str) -> list[str]:
    """Leave out options with their values."""
    pairs = zip(["", *arguments], arguments, strict=False)
    return [a for before, a in pairs if a not in options and before not in options]


def is_picture(argument: str) -> bool:
    return argument.lower().endswith((".jpg", ".jpeg", ".png", ".webp", ".bmp"))


def picture(name: str) -> str:
    """Draw a picture of that name, where the reader of the README has one of their own."""
    from PIL import Image

    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Image.effect_mandelbrot((90, 60), (-2, -1, 1, 1), 20).convert("RGB").save(name)
    return name


def photographs(folder: Path) -> None:
    """Make a folder of two classes, twelve pictures each, unless it is there."""
    for kind in ("cat", "dog"):
        for n in range(12):
            name = folder / kind / f"{n}.png"
            if not name.exists():
                picture(str(name))
                vary(name, 10 * n + (kind == "dog"))


def vary(name: Path, level: int) -> None:
    """Make a picture differ from the others of its folder."""
    from PIL import Image

    with Image.open(name) as image:
        shifted = image.point(lambda v: (v + level) % 256)
    shifted.save(name)


def test_environment_of_the_suite_is_not_changed_by_importing_the_package():
    code = "import os; before = dict(os.environ); import alexnet.cli; print(before == os.environ)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.stdout.split() == ["True"], done.stderr
