"""Many processes that run one study: how they meet, what they tell each other, how they end.

Every process runs the same program on the same numbers. Only the first (rank 0) owns the run's
folder, its lock and its checkpoints, and prints; the others work in folders of their own that hold
a copy of what the first one's decisions are made of, and vanish with them. So no file is read while
another writes it, and no file system need be shared.
"""
