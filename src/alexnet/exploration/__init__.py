"""What a network makes of pictures: the outputs of any layer as vectors, and how they lie."""
