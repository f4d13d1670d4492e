"""What has become of a picture: a number that outlives a killed process."""

WAITING, STORED, UNREADABLE = 0, 1, 2
