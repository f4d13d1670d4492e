"""Training: ``loop`` tells the story, ``optim`` has the update rules, ``schedule`` the rates."""
