"""One short script per stage: parse paths, read params, call the library, write files."""
