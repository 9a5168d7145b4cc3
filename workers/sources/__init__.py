"""Where rows come from: files are imported once into a row store."""
