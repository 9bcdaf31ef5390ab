"""Equal ranges for channels that only one factor ties together."""
