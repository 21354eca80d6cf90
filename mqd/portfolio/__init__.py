"""From signals to order plans: sizing, netting of several strategies, and attribution."""
