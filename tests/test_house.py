"""What the style asks of every file, where a linter has no rule for it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("bench", "mover", "scheduler", "transports")
SOURCES = [path for floor in FLOORS for path in sorted((ROOT / floor).rglob("*.py"))]
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70

UNBOUNDED = {"Queue", "LifoQueue", "PriorityQueue", "SimpleQueue"}
LOOSE_CHILDREN = {"gather", "ensure_future", "wait", "as_completed", "run_coroutine_threadsafe"}

ALLOWED = {
    # A caller's filesystem lives in fsspec's own loop: its coroutines must run there. A thread
    # cannot be cancelled, so a cancelled call waits until the thread has left the buffer alone.
    # The loop in a thread of its own; a cancelled call waits until its coroutine there has ended.
    "transports/side_loop.py": {"asyncio.run_coroutine_threadsafe"},
    "transports/filesystem_calls.py": {"asyncio.run_coroutine_threadsafe", "asyncio.wait"},
}
"""Exceptions to the rule on children, each with its reason."""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def dotted(node: ast.expr) -> str:
    return ast.unparse(node)


def groups_of(tree: ast.AST) -> set[str]:
    """Names bound to a ``TaskGroup``: by ``async with``, by annotation, by assignment."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.withitem) and node.optional_vars is not None:
            value, target = node.context_expr, node.optional_vars
        elif isinstance(node, ast.AnnAssign):
            value, target = node.annotation, node.target
        elif isinstance(node, ast.Assign):
            value, target = node.value, node.targets[0]
        elif isinstance(node, ast.arg) and node.annotation is not None:
            value, target = node.annotation, ast.Name(node.arg)
        else:
            continue
        if "TaskGroup" in dotted(value) or dotted(value).split(".")[-1] in found:
            found.add(dotted(target).split(".")[-1])
    return found


def loose_children(tree: ast.AST) -> list[str]:
    groups = groups_of(tree)
    found = []
    for call in calls(tree):
        owner, _, verb = dotted(call.func).rpartition(".")
        if (verb in LOOSE_CHILDREN and owner in ("asyncio", "loop", "")) or (
            verb == "create_task" and owner.split(".")[-1] not in groups
        ):
            found.append(f"line {call.lineno}: {dotted(call.func)}")
    return found


def unbounded_queues(tree: ast.AST) -> list[str]:
    found = []
    for call in calls(tree):
        _, _, name = dotted(
            call.func.value if isinstance(call.func, ast.Subscript) else call.func
        ).rpartition(".")
        bounded = bool(call.args) or any(word.arg == "maxsize" for word in call.keywords)
        if name in UNBOUNDED and not bounded:
            found.append(f"line {call.lineno}: {dotted(call.func)}")
    return found


def long_functions(tree: ast.AST) -> list[str]:
    return [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= FUNCTION_LINES_MAX
    ]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_house(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) <= FILE_LINES_MAX, "split it by responsibility"
    assert long_functions(tree) == []
    allowed = ALLOWED.get(name_of(path), set())
    loose = [each for each in loose_children(tree) if each.split(": ")[1] not in allowed]
    assert loose == [], "children are born in a TaskGroup"
    assert unbounded_queues(tree) == [], "every queue has a limit"


@pytest.mark.parametrize(
    "package", [path for path in SOURCES if path.name == "__init__.py"], ids=name_of
)
def test_every_package_has_a_charter(package: Path) -> None:
    assert ast.get_docstring(ast.parse(package.read_text()))


@pytest.mark.parametrize(
    ("code", "children", "queues"),
    [
        ("asyncio.gather(a, b)", 1, 0),
        ("asyncio.create_task(a)", 1, 0),
        ("loop.create_task(a)", 1, 0),
        ("asyncio.ensure_future(a)", 1, 0),
        ("await asyncio.wait([a])", 1, 0),
        ("await event.wait()", 0, 0),
        ("await asyncio.wait_for(a, 1)", 0, 0),
        ("async def f():\n async with asyncio.TaskGroup() as g:\n  g.create_task(a)", 0, 0),
        ("def f(crew: asyncio.TaskGroup):\n crew.create_task(a)", 0, 0),
        ("asyncio.Queue()", 0, 1),
        ("asyncio.Queue[int]()", 0, 1),
        ("asyncio.Queue(maxsize=3)", 0, 0),
        ("queue.SimpleQueue()", 0, 1),
    ],
)
def test_the_house_test_sees_what_it_looks_for(code: str, children: int, queues: int) -> None:
    tree = ast.parse(code)
    assert (len(loose_children(tree)), len(unbounded_queues(tree))) == (children, queues)
