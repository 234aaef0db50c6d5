"""`python -m scanner` is `minescan`."""

from scanner.cli import main

if __name__ == "__main__":
    main()
