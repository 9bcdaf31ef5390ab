"""The passes that ship with irc: one step a file, grouped in folders by purpose."""
