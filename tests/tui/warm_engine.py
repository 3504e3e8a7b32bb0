"""One real assistant for many tests: each would wait seconds for an import of torch otherwise."""

from collections.abc import Iterator

import pytest

from psi_tui.engine.assistant import Assistant
from psi_tui.services import services


class WarmAssistant(Assistant):
    """An assistant that outlives the apps that use it."""

    def close(self) -> None:
        """Leaves the child to the next app."""


@pytest.fixture(scope="session")
def warm_assistant() -> Iterator[WarmAssistant]:
    """The assistant."""
    assistant = WarmAssistant()
    yield assistant
    super(WarmAssistant, assistant).close()


@pytest.fixture
def warm_engine(warm_assistant: WarmAssistant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives it to every app of the test, whose lighter questions it answers as well."""
    monkeypatch.setattr(services, "Assistant", lambda: warm_assistant)
