"""The lake: every stored event once more, in columns. Parquet files below one directory, listed in the table of segments."""
