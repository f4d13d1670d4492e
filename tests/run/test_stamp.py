"""The commit in a record is that of the code that ran."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from alexnet.run.stamp import commit, today

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def checkout(tmp_path):
    """A checkout with a package, a document beside it, and one commit."""
    (tmp_path / "src" / "own").mkdir(parents=True)
    for name in ("src/own/__init__.py", "src/own/a.toml", "README.md", ".gitignore"):
        (tmp_path / name).write_text("*.pyc\n" if name == ".gitignore" else "1\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    return tmp_path


def git(folder, *words):
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def test_a_clean_checkout_is_its_commit(checkout):
    assert re.fullmatch(r"[0-9a-f]{10}", commit(checkout / "src" / "own"))


@pytest.mark.parametrize("name", ["README.md", "benchmarks.json", "src/own/kept.pyc"])
def test_what_is_not_the_packages_code_makes_nothing_dirty(checkout, name):
    before = commit(checkout / "src" / "own")
    (checkout / name).write_text("2\n")
    assert commit(checkout / "src" / "own") == before


@pytest.mark.parametrize("name", ["src/own/__init__.py", "src/own/a.toml", "src/own/new.py"])
def test_a_file_of_the_package_that_differs_does(checkout, name):
    before = commit(checkout / "src" / "own")
    (checkout / name).write_text("2\n")
    assert commit(checkout / "src" / "own") == f"{before}-dirty"


def test_a_package_that_git_does_not_know_has_none(checkout, tmp_path_factory):
    shutil.copytree(checkout / "src" / "own", checkout / "site-packages" / "own")
    assert commit(checkout / "site-packages" / "own") == ""
    assert commit(tmp_path_factory.mktemp("nowhere")) == ""


def test_no_git_is_no_commit(checkout, monkeypatch):
    monkeypatch.setenv("PATH", str(checkout))
    assert commit(checkout / "src" / "own") == ""


def test_a_day_is_written_as_a_date():
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", today())
