"""Geometry of faces: alignment templates, affine maps, warping crops and pasting them back.

Points and affine matrices live in normalised crop coordinates: (0, 0) is the outer corner of the top-left pixel and
(1, 1) that of the bottom-right one, so that nothing depends on the crop size. Matrices are (N, 2, 3) or (2, 3) and map
column points p to M[:, :2] @ p + M[:, 2].
"""
