"""What a run stands on: ``device`` (hardware and precision), ``log``, ``checkpoint``."""
