"""`python -m receiver`: the same as the `hookledger` command, for platforms that install only requirements.txt."""

from receiver.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
