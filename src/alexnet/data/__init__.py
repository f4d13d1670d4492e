"""Data sets: fetched or drawn once, kept as memory-mapped uint8 arrays, cut by named splits.

``sources.open_dataset`` is the way in; ``cache`` holds the two types everybody passes around
(:class:`~alexnet.data.cache.Dataset` and :class:`~alexnet.data.cache.Pictures`), ``splits`` turns
``"train[:80%]"`` into indices, ``card`` describes. None of these import torch.
"""
