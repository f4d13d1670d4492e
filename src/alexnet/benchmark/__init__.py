"""Speed beside its limit, measured in the same run: ``step``, ``intake``, ``stream``."""
