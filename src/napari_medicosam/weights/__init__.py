"""The registry of checkpoints, their download and verification, and loading by name."""
