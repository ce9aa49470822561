"""File formats, figures among them. The only floor that knows LPS, file headers and suffixes."""
