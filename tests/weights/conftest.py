"""No test knows from another one whether the Hub is within reach."""

import pytest

from tempme_jax.weights import repository


@pytest.fixture(autouse=True)
def unknown_reach():
    repository.forget_reach()
    yield
    repository.forget_reach()


@pytest.fixture
def within_reach(monkeypatch):
    """The Hub is taken to be within reach, for tests that stand in for its downloads."""
    monkeypatch.setattr(repository, "find_reason", lambda *_: "")
