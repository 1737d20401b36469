"""Let an assistant search an index, by the Model Context Protocol."""
