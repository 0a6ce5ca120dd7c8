"""What records say of the environment."""

from importlib import metadata

import pytest

from encoder_ablations.utils import environment


@pytest.fixture
def _forgotten():
    """Nothing is known yet, and nothing that the test made up is known later."""
    known = (environment._version, environment.git_revision)
    for each in known:
        each.cache_clear()
    yield
    for each in known:
        each.cache_clear()


@pytest.mark.usefixtures("_forgotten")
def test_versions_are_looked_up_once_in_a_process(monkeypatch):
    asked = []

    def version(name):
        asked.append(name)
        if name == "detectron2":
            raise metadata.PackageNotFoundError(name)
        return f"version of {name}"

    monkeypatch.setattr(metadata, "version", version)
    first = environment.versions()
    first["torch"] = "changed by whoever asked"
    assert environment.versions()["torch"] == "version of torch"
    assert "detectron2" not in first
    assert sorted(asked) == sorted(environment.PACKAGES)


@pytest.mark.usefixtures("_forgotten")
def test_git_is_asked_once_in_a_process(monkeypatch):
    answers = iter(["abc", " M changed.py"])
    monkeypatch.setattr(environment, "_git", lambda *_: next(answers))
    assert environment.git_revision() == "abc+changes"
    assert environment.git_revision() == "abc+changes"
