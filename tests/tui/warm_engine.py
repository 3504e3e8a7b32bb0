"""One real child for many tests: each would wait seconds for an import of torch otherwise."""

from collections.abc import Iterator

import pytest

from psi_tui.engine.client import Client
from psi_tui.services import services


class WarmClient(Client):
    """A client that outlives the apps that use it."""

    def close(self) -> None:
        """Leaves the child to the next app."""


@pytest.fixture(scope="session")
def warm_client() -> Iterator[WarmClient]:
    """The client."""
    client = WarmClient()
    yield client
    super(WarmClient, client).close()


@pytest.fixture
def warm_engine(warm_client: WarmClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives it to every app of the test, whose lighter questions it answers as well."""
    monkeypatch.setattr(services, "Client", lambda: warm_client)
