"""The uses of codes: packing, clusters, outliers, search, compression."""
