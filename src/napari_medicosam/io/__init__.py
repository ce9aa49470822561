"""File formats. The only floor that knows LPS, file headers and suffixes."""
