"""What a run stands on: ``device`` (hardware, precision), ``files``, ``log``, ``checkpoint``."""
