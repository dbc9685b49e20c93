"""The commit of a checkout, read from real git repositories."""

import subprocess

import pytest

from flows.runtime import git_commit


@pytest.fixture
def checkout(tmp_path):
    def git(*arguments: str) -> str:
        named = ("-c", "user.name=ada", "-c", "user.email=ada@example.org")
        done = subprocess.run(
            ["git", *named, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init", "--quiet")
    (tmp_path / "code.py").write_text("print(1)\n")
    git("add", "code.py")
    git("commit", "--quiet", "--message", "first")
    git("tag", "v1")
    return tmp_path, git("rev-parse", "HEAD")


def test_commit_is_marked_dirty_if_a_tracked_file_differs(checkout):
    folder, commit = checkout
    assert git_commit(folder) == commit
    (folder / "notes.txt").write_text("untracked")
    assert git_commit(folder) == commit
    (folder / "code.py").write_text("print(2)\n")
    assert git_commit(folder) == f"{commit}-dirty"


def test_folder_outside_a_checkout_has_no_commit(tmp_path):
    assert git_commit(tmp_path) is None
