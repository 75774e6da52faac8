"""What the packages offer is what they say that they offer."""

from __future__ import annotations

import ast
from types import ModuleType

import pytest

import gateway
from gateway import _core
from support.pages import page

STUB = ast.parse(page("python/gateway/_core.pyi"))
CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}
PYTHON = {
    "Caller", "Decision", "Engine", "LimitTable", "PolicyError", "PolicySet", "Settings",
    "create_app",
}  # fmt: skip
"""What users import. A name may come; one that goes breaks them."""


def public(module: ModuleType) -> set[str]:
    return {name for name in vars(module) if not name.startswith("_")}


def test_the_package_offers_what_users_import() -> None:
    assert set(gateway.__all__) == PYTHON
    for name in gateway.__all__:
        assert getattr(gateway, name).__name__ == name


def test_there_is_nothing_else_to_import() -> None:
    with pytest.raises(AttributeError, match="has no attribute `Listener`"):
        _ = gateway.Listener  # type: ignore[attr-defined]


def stub_all() -> set[str]:
    (listed,) = (
        node.value
        for node in STUB.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    return set(ast.literal_eval(listed))


def test_the_extension_offers_what_its_stub_lists() -> None:
    assert public(_core) == stub_all() - {"__version__"}
    assert isinstance(_core.__version__, str)


def declared(node: ast.ClassDef) -> set[str]:
    """The public members that a class of the stub has."""
    found = set()
    for member in node.body:
        if isinstance(member, ast.FunctionDef):
            found.add(member.name)
        elif isinstance(member, ast.AnnAssign):
            found.add(ast.unparse(member.target))
    return {name for name in found if not name.startswith("_")}


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_a_class_has_the_members_of_its_stub(name: str) -> None:
    there = {member for member in vars(getattr(_core, name)) if not member.startswith("_")} | (
        {"diagnostics"} if name == "PolicyError" else set()
    )
    assert there == declared(CLASSES[name])


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_a_class_and_its_members_are_described(name: str) -> None:
    assert ast.get_docstring(CLASSES[name])


def test_a_policy_error_carries_its_diagnostics() -> None:
    with pytest.raises(_core.PolicyError) as caught:
        _core.PolicySet.parse(b"{}", name="p.json")
    assert [problem.code for problem in caught.value.diagnostics] == ["missing-key"] * 2
    assert isinstance(caught.value, ValueError)
