"""Photographs: listed where they lie, looked at once, in parallel, into the cache, and reported.

``listing`` and ``folders`` find them, ``intake`` decodes them with the processes of ``pool`` and
``worker``, ``report`` says what was found; ``imagenette`` and ``imagenet`` are known by name.
"""
