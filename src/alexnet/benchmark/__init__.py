"""Speed beside its limit, measured in the same run.

``step``, ``accuracy``, ``input`` (with ``intake``), ``stream`` (with ``disk``), ``inference``,
``start``: a suite each. ``record`` is what they leave.
"""
