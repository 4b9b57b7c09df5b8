"""The recorder, made once where it can be made."""

import os
from pathlib import Path

import pytest

from tests.crash.recording import CannotRecord, compile_recorder


@pytest.fixture(scope="session")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library to preload. Where it cannot be made the test is skipped; under CI it fails, and says the fix."""
    try:
        return compile_recorder(tmp_path_factory.mktemp("recorder"))
    except CannotRecord as reason:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(reason))
