"""`python -m mergeit_async`."""

import sys

if __name__ == "__main__":
    try:
        # Imports take a second, in which Ctrl-C is no error either.
        from mergeit_async.cli import main
    except KeyboardInterrupt:
        sys.exit(130)
    main()
