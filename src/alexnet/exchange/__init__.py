"""Weights from other programs, and to them: names, files, pretrained networks by name."""
