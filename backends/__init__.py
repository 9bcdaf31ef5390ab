"""The built-in targets, one package each; registered through the entry points `irc.backends`."""
