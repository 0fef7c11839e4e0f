"""The soak, `make chaos`: runs that are disturbed and damaged at random, and must end bit-equal."""
