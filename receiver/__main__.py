"""`hookledger`, and `python -m receiver`: the same, for platforms that install only requirements.txt."""

import gc

gc.disable()  # imports leave nothing to collect, and looking for it took a tenth of a start; `main` enables it again

from receiver.cli import main  # noqa: E402

__all__ = ["main"]

if __name__ == "__main__":
    main()
