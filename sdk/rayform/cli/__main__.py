"""`python -m rayform.cli`: the command line where the `rayform` script isn't on the path."""

from rayform.cli import main

main()
