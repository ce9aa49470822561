"""napari widgets and layers. The only floor that knows Qt."""
