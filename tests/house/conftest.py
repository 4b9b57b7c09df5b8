"""One sandbox and one receiver for the whole run, as real commands; each test brings ids of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.commands import Running, accounts, configured, playing, serving

LOCK_WAIT = "[ledger]\nlock_wait = '100ms'\n"  # 'migrate' waits for so long before it reads what the holder made


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The providers, pretended: a task takes a fifth of a second."""
    with playing(tmp_path_factory.mktemp("sandbox"), "--pace", "0.1", "--task-seconds", "0.2") as running:
        yield running
        assert 0 == running.end()


@pytest.fixture(scope="session")
def receiver(tmp_path_factory: pytest.TempPathFactory, sandbox: Running) -> Iterator[Running]:
    """A receiver that has accounts at the sandbox."""
    folder = configured(tmp_path_factory.mktemp("receiver"), accounts(sandbox.address) + LOCK_WAIT)
    with serving(folder) as running:
        yield running
        assert 0 == running.end()


@pytest.fixture
def folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of another test, or of whoever runs it, lies where configurations are looked for."""
    monkeypatch.chdir(tmp_path)
