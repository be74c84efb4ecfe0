"""`python -m kflow` is `kflow`."""

from kflow.cli.main import main

main()
