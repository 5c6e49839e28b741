"""`python -m nextword` is the command `nextword`, and `torchrun -m nextword` starts several of it."""

from nextword.cli import main

if __name__ == "__main__":
    main()
