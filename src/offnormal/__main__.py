"""`python -m offnormal`, the same as the program `offnormal`."""

from offnormal.cli.main import main

if __name__ == "__main__":
    main()
