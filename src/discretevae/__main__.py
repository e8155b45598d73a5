"""``python -m discretevae``."""

from discretevae.cli import main

if __name__ == "__main__":
    main()
