"""``python -m nn_any`` is the command ``nn-any``."""

from nn_any.cli import main

if __name__ == "__main__":
    main()
