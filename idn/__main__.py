"""`python -m idn` is `idn`."""

from idn.cli import main

if __name__ == "__main__":
    main()
