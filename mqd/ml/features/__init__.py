"""What a model sees and learns: features, over columns and bar by bar, and labels."""
