"""`python -m irc` is `irc`."""

from irc.cli import main

main()
