"""What the tests of this room share."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from kflow.store.postgres import Connection
from kflow.store.sessions import NewSession
from kflow.testing.postgres import Database


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    """An autocommit connection to a fresh database with kflow's schema."""
    with database.connect(autocommit=True) as connection:
        yield connection


@pytest.fixture
def new_session() -> NewSession:
    return NewSession(
        uuid=uuid4(),
        started_ns=1_735_689_600_000_000_000,
        environment="local",
        use_yes_price=False,
        sample_rate=1,
        kflow_version="0.1.0",
        host="here",
        journal_dir="/data/journal/x",
        selection={"markets": ["INXD-25JAN03-B5000"]},
    )
