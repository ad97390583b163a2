"""Which labels look wrong: out-of-fold answers from the backbone's features, ranked and counted; no drawing."""
