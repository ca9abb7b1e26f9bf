"""`python -m mergeit_async`."""

from mergeit_async.cli import main

if __name__ == "__main__":
    main()
