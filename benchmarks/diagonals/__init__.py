"""Networks, methods and measures of the comparison of curvature diagonals."""
