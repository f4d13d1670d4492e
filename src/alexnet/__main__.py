"""``python -m alexnet`` is the command line; torchrun starts it this way."""

from alexnet.cli import main

main()
