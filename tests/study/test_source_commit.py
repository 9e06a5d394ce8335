"""Against git itself, in repositories made here."""

import subprocess

import pytest

from rgbx.study.commands import find_commit


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "project/package"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("one = 1\n")
    git(tmp_path / "project", "init", "-q")
    return folder


def test_the_commit_and_whether_files_were_edited(package):
    assert find_commit(package) is None  # not tracked, as an environment inside another project
    git(package, "add", ".")
    git(package, "commit", "-qm", "first")
    git(package, "tag", "-am", "v", "v1")
    commit = git(package, "rev-parse", "HEAD")[:12]
    assert find_commit(package) == commit
    (package / "new.py").write_text("")
    assert find_commit(package) == commit
    (package / "__init__.py").write_text("one = 2\n")
    assert find_commit(package) == f"{commit}+changes"


def test_without_a_checkout_or_git(package, tmp_path, monkeypatch):
    git(package, "add", ".")
    git(package, "commit", "-qm", "first")
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "__init__.py").touch()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert find_commit(other) is None and find_commit(package) is not None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_commit(package) is None
