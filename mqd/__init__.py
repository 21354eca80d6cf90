"""mqd: one quant's desk. The public names are imported when they are first used."""
