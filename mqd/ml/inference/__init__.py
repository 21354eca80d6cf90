"""Who is asked, who answers, and how a strategy asks."""
