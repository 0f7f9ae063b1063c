"""What ``python -m dse.cli`` starts."""

from dse.cli import main

if __name__ == "__main__":
    main()
