"""Data sets: fetched, drawn or taken in once, kept as memory-mapped uint8 arrays, cut by named splits.

``sources.open_dataset`` is the way in; ``cache`` holds the two types everybody passes around
(:class:`~alexnet.data.cache.Dataset` and :class:`~alexnet.data.cache.Pictures`), ``splits`` turns
``"train[:80%]"`` into indices, ``card`` describes. Photographs: ``trees`` has the files where they
lie, ``folders`` tells which are of what class, ``intake`` looks at all of them, ``report`` tells.
None of these import torch.
"""
