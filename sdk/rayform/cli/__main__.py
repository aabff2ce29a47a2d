"""`python -m rayform.cli`: runs the command line if the `rayform` script isn't on PATH."""

from rayform.cli import main

main()
