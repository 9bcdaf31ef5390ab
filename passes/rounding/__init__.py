"""Weights become numbers of an alphabet: which numbers, with which scale, and which weight takes which."""
