"""The benchmark: how fast this package is on a machine, beside `segment_anything.SamPredictor` and micro-sam."""
