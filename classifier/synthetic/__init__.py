"""Stained white blood cells drawn from a seed: for the demo, the tests and load tests.

Nothing here comes from a picture, and nothing drawn here may be called real: files written with
save_jpeg carry a comment that says so.
"""

from classifier.synthetic.drawing import COMMENT, draw_cell, draw_cells, draw_field, save_jpeg

__all__ = ["COMMENT", "draw_cell", "draw_cells", "draw_field", "save_jpeg"]
