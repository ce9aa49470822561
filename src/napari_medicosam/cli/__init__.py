"""Console commands, one small file each."""
