"""What networks are built of: layers, blocks and the parts that families share."""
