"""`python -m kdprobe`."""

from kdprobe.cli import main

main()
