"""What every command does around its work: errors, files, locks, threads, vocabulary, parameters, start-up."""
