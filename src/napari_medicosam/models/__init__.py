"""Torch modules and checkpoints. Nothing here fetches a file or knows a network."""
