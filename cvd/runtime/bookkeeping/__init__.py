"""DVC's own notes: written whole where DVC writes them in place, and mended where a kill has damaged them."""
