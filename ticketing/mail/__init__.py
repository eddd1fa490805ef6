"""Mail in: kept raw first, then judged by an ordered list of one-question steps."""
