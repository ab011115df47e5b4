"""The rules of the house: what a program can check in the text of the repository. Tests apply them; so does `-m`."""
