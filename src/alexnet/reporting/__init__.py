"""What a person looks at: pictures of a run and plain text tables.

The drawing functions take plain numbers and arrays, never a run or a recipe; ``cards``, ``scores``
and ``run_pictures`` bring them together with what the package has. matplotlib is imported by the
drawing functions themselves, and nothing is imported here, so that a table costs no numpy.
"""
