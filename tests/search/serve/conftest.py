"""A service of a fake index, which one file of tests shares."""

import pytest
from fake_index import HERE, FakeIndex
from starlette.testclient import TestClient

from tempme_jax.search.serve import server


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return FakeIndex(tmp_path_factory.mktemp("top") / "videos")


@pytest.fixture(scope="module")
def client(index):
    with TestClient(server.create_application(index), base_url=HERE) as client:
        yield client
