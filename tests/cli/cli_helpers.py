def nothing_left(folder, besides):
    """True when the folder holds nothing but the files named."""
    return {path.name for path in folder.iterdir()} <= besides
